from __future__ import annotations

import math

import numpy as np
import pytest

from mattingmfif.errors import UserError
from mattingmfif.optics import Aperture, Layer, Scene, ThinLens, psf, render

LENS = ThinLens(50.0, 2.8, 36.0)


def moments(kernel: np.ndarray) -> tuple[float, float, float, float]:
    half = kernel.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    cx, cy = (kernel * x).sum(), (kernel * y).sum()
    return cx, cy, (kernel * x**2).sum() - cx**2, (kernel * y**2).sum() - cy**2


@pytest.mark.parametrize("radius", [0.25, 0.3, 0.5, 1.0, 2.5, 7.3, 22.8, 60.0, 119.5])
def test_the_kernel_is_the_disc_convolved_with_the_tent(radius: float) -> None:
    """Its second moment is r^2/4 + 1/6: a disc's and a unit tent's (for r an integer number of steps, on average)."""
    kernel = psf(LENS, radius)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    cx, cy, vx, vy = moments(kernel.astype(np.float64))
    assert abs(cx) < 2e-3
    assert abs(cy) < 2e-3
    if radius >= 1.0:  # below that the tent's moment depends on where the points fall between pixels
        for variance in (vx, vy):
            radius_seen = 2 * math.sqrt(variance - 1 / 6)
            assert radius_seen == pytest.approx(radius, abs=0.025)  # the diameter to 0.05 px


def test_small_kernels_equal_the_integral_worked_out_by_hand() -> None:
    """For r < 1 the middle is the mean of (1 - |x|)(1 - |y|) over the disc: 1 - 8r/(3 pi) + r^2/(2 pi)."""
    for r in (0.3, 0.6, 0.95):
        assert psf(LENS, r)[1, 1] == pytest.approx(1 - 8 * r / (3 * math.pi) + r * r / (2 * math.pi), abs=2e-4)


def test_the_inside_of_a_large_disc_is_flat_at_one_over_its_area() -> None:
    kernel = psf(LENS, 20.0)
    half = kernel.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    inside = np.hypot(x, y) < 18
    assert kernel[inside].mean() == pytest.approx(1 / (math.pi * 400), rel=2e-3)
    assert kernel[inside].std() < 0.02 / (math.pi * 400)
    assert kernel[np.hypot(x, y) > 21.5].max() == 0


def test_radius_zero_is_one_pixel() -> None:
    np.testing.assert_array_equal(psf(LENS, 0.0), [[1.0]])


def test_behind_the_focus_the_aperture_is_upright_and_in_front_it_is_turned() -> None:
    lens = ThinLens(50.0, 2.8, 36.0, Aperture(blades=3, rotation_deg=90.0))  # a corner at the bottom
    behind, ahead = psf(lens, 15.0), psf(lens, -15.0)
    np.testing.assert_allclose(ahead, behind[::-1, ::-1], atol=3e-5)
    widths = (behind > behind.max() / 2).sum(axis=1)
    rows = np.flatnonzero(widths)
    assert widths[rows[1]] > 3 * widths[rows[-2]]  # wide on top, narrow at the bottom


def test_a_rendered_point_is_the_psf() -> None:
    for radius_sign, distance in ((1, 6.0), (-1, 1.2)):
        lens = ThinLens(50.0, 2.8, 36.0, Aperture(blades=5, rotation_deg=10.0))
        colour = np.zeros((65, 65, 3), np.float32)
        colour[32, 32] = 1.0
        scene = Scene([Layer(colour, np.ones((65, 65), np.float32), distance)])
        radius = lens.blur_radius_px(distance, 2.0, 1200)
        assert math.copysign(1, radius) == radius_sign
        image = render(scene, lens, 2.0, image_width_px=1200)[..., 1]
        kernel = psf(lens, radius)
        half = kernel.shape[0] // 2
        np.testing.assert_allclose(image[32 - half : 33 + half, 32 - half : 33 + half], kernel, atol=1e-6)


def test_kernels_sum_to_one_at_every_field_position() -> None:
    lens = ThinLens(50.0, 2.8, 36.0, Aperture(blades=6, cats_eye=0.7, spherical=-0.5))
    for field in ((0.0, 0.0), (1.0, 1.0), (-0.6, 0.9), (0.0, -1.0)):
        for radius in (-12.3, 0.7, 30.0):
            kernel = psf(lens, radius, field)
            assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
            assert kernel.min() >= 0


def test_requests_without_meaning_are_refused() -> None:
    with pytest.raises(UserError, match="radius_px"):
        psf(LENS, math.nan)
    with pytest.raises(UserError, match="field"):
        psf(LENS, 1.0, (1.2, 0.0))
    with pytest.raises(UserError, match="channel"):
        psf(LENS, 1.0, channel=3)
    with pytest.raises(UserError, match="focus_distance_m"):
        psf(ThinLens(50, 2, 36, axial_colour_dioptres=(0.1, 0, 0)), 1.0, channel=0)
