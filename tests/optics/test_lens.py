from __future__ import annotations

import math

import numpy as np
import pytest

from mattingmfif.errors import UserError
from mattingmfif.optics import Aperture, ThinLens

LENS = ThinLens(50.0, 2.8, 36.0)


def test_radii_equal_those_of_the_circle_of_confusion_package() -> None:
    """Golden: PyPI circle-of-confusion 0.3.0 for f 50 mm, N 2.8, focus 2 m, 36 mm over 3840 px."""
    radii = LENS.blur_radius_px(np.array([0.5, 1.0, 3.0, 10.0]), 2.0, 3840)
    np.testing.assert_allclose(radii, [-73.26, -24.42, 8.14, 19.536], atol=5e-4)


def test_the_radius_is_half_the_textbook_diameter_with_a_sign() -> None:
    f, n, w, width, s = 85.0, 1.8, 23.5, 6000, 1.7
    lens = ThinLens(f, n, w)
    for z in (0.4, 1.2, 1.7, 2.5, 40.0):
        diameter_mm = (f / n) * f / (s * 1000 - f) * abs(1 - s / z)
        assert lens.blur_radius_px(z, s, width) == pytest.approx(math.copysign(diameter_mm / 2 / w * width, z - s))


def test_radius_is_affine_in_inverse_distance() -> None:
    dioptres = np.linspace(0.0, 3.0, 7)
    radii = [LENS.blur_radius_px(math.inf if d == 0 else 1 / d, 1.3, 4000) for d in dioptres]
    np.testing.assert_allclose(np.diff(radii), -0.5 * LENS.blur_per_dioptre_px(1.3, 4000), rtol=1e-9)


def test_infinity_is_a_distance_and_a_focus() -> None:
    assert LENS.blur_radius_px(math.inf, math.inf, 3840) == 0.0
    limit_mm = 50.0**2 / (2 * 2.8 * 1950.0)
    assert LENS.blur_radius_px(math.inf, 2.0, 3840) == pytest.approx(limit_mm / 36 * 3840)
    assert LENS.blur_radius_px(1.0, math.inf, 3840) == pytest.approx(-(50.0**2) / (2 * 2.8 * 1000) / 36 * 3840)


def test_scalars_give_floats_and_arrays_give_float32() -> None:
    assert isinstance(LENS.blur_radius_px(1.0, 2.0, 100), float)
    radii = LENS.blur_radius_px(np.full((2, 3), 1.0), 2.0, 100)
    assert radii.dtype == np.float32
    assert radii.shape == (2, 3)


@pytest.mark.parametrize("focus", [0.05, 0.01, 0.0, -1.0, math.nan])
def test_focus_inside_the_focal_length_is_refused(focus: float) -> None:
    with pytest.raises(UserError, match="focus_distance_m"):
        LENS.blur_radius_px(1.0, focus, 3840)


@pytest.mark.parametrize("distance", [0.0, -1.0, math.nan])
def test_distances_that_are_not_positive_are_refused(distance: float) -> None:
    with pytest.raises(UserError, match="distance_m"):
        LENS.blur_radius_px(distance, 2.0, 3840)
    with pytest.raises(UserError, match="distance_m"):
        LENS.blur_radius_px(np.array([1.0, distance]), 2.0, 3840)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((0, 2.8, 36), "focal_length_mm"), ((50, 0, 36), "f_number"), ((50, 2.8, math.inf), "sensor_width_mm")],
)
def test_impossible_lenses_are_refused_by_name(arguments: tuple[float, ...], name: str) -> None:
    with pytest.raises(UserError, match=name):
        ThinLens(*arguments)


@pytest.mark.parametrize("blades", [-1, 1, 2, 2.5])
def test_impossible_blades_are_refused(blades: float) -> None:
    with pytest.raises(UserError, match="blades"):
        Aperture(blades=blades)  # type: ignore[arg-type]


def test_registered_magnification_in_macro_is_the_change_of_image_distance() -> None:
    lens = ThinLens(100.0, 2.8, 36.0)
    ratio = lens.image_distance_mm(0.30) / lens.image_distance_mm(0.40)
    assert ratio == pytest.approx(1.125)
