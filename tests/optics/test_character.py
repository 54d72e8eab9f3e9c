"""Faults of real lenses in rendered frames, each held to its own physics."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mattingmfif.optics import Layer, Scene, ThinLens, expose_stack, psf, render, render_stack

LENS = ThinLens(50.0, 2.0, 36.0)
H, W = 121, 161


def lights(places: list[tuple[int, int]], distance_m: float) -> Scene:
    """Points of white light on black."""
    colour = np.zeros((H, W, 3), np.float32)
    for place in places:
        colour[place] = 1.0
    return Scene([Layer(colour, np.ones((H, W), np.float32), distance_m)])


def radius_of(spot: np.ndarray) -> float:
    """The radius of the disc whose second moment, with that of the pixels' tent, the spot has."""
    y, x = np.mgrid[: spot.shape[0], : spot.shape[1]].astype(float)
    weight = spot / spot.sum()
    variance = [(weight * axis**2).sum() - (weight * axis).sum() ** 2 for axis in (x, y)]
    return 2.0 * math.sqrt(max(float(np.mean(variance)) - 1 / 6, 0.0))


def test_a_channel_with_axial_colour_is_sharp_where_its_shift_says() -> None:
    shift = 0.08
    lens = replace(LENS, axial_colour_dioptres=(-shift, 0.0, shift))
    per_dioptre = lens.blur_per_dioptre_px(2.0, 2400)
    nearer = 1.0 / (0.5 + shift)  # where blue is in focus
    frame = render(lights([(60, 80)], nearer), lens, 2.0, image_width_px=2400)
    np.testing.assert_allclose(frame[60, 80, 2], 1.0, atol=1e-6)
    assert frame[..., 2].sum() == pytest.approx(1.0, abs=1e-5)
    assert radius_of(frame[..., 1]) == pytest.approx(shift * per_dioptre, abs=0.05)
    assert radius_of(frame[..., 0]) == pytest.approx(2 * shift * per_dioptre, abs=0.05)
    for channel in range(3):  # and psf says the same
        radius = lens.blur_radius_px(nearer, 2.0, 2400)
        kernel = psf(lens, radius, channel=channel, focus_distance_m=2.0, image_width_px=2400)
        half = kernel.shape[0] // 2
        spot = frame[60 - half : 61 + half, 80 - half : 81 + half, channel]
        np.testing.assert_allclose(spot, kernel, atol=1e-5)


@pytest.mark.parametrize("bend", [0.4, -0.4])
def test_field_curvature_grows_with_the_square_of_the_distance_from_the_middle(bend: float) -> None:
    lens = replace(LENS, field_curvature_dioptres=bend, sensor_width_mm=36.0 * W / 1000)
    places = [(60, 80), (60, 136), (100, 80), (20, 24)]
    frame = render(lights(places, 2.0), lens, 2.0)[..., 1]
    assert frame[60, 80] == pytest.approx(1.0)
    for row, column in places[1:]:
        x, y = (column + 0.5) / W * 2 - 1, (row + 0.5) / H * 2 - 1
        expected = abs(bend) * lens.blur_per_dioptre_px(2.0, W) * (x * x + y * y) / 2
        assert expected > 1.0
        spot = frame[max(0, row - 16) : row + 17, max(0, column - 16) : column + 17]
        assert radius_of(spot) == pytest.approx(expected, rel=0.12, abs=0.1)  # it still grows within the spot
    sharp_at = 1.0 / (0.5 + bend * 0.5)  # an object there is in focus where half of the bend is reached
    row, column = 60, 80 + round(W / 2 * 1.0) - 1
    edge = render(lights([(row, column)], sharp_at), lens, 2.0)[..., 1]
    assert edge[row, column] > 0.9


def test_breathing_magnifies_by_the_image_distance_and_the_blur_with_it() -> None:
    macro = ThinLens(100.0, 8.0, 36.0, breathing=1.0)
    ratio = macro.image_distance_mm(0.3) / macro.image_distance_mm(0.4)
    assert ratio == pytest.approx(1.125)
    scene = lights([(60, 40), (60, 120)], 0.3)
    near, far = expose_stack(scene, macro, [0.3, 0.4], image_width_px=400)
    assert near.magnification == pytest.approx(ratio)
    assert far.magnification == 1.0
    x = np.arange(W)

    def gap(frame: np.ndarray) -> float:
        left, right = frame[..., 1] * (x < 80), frame[..., 1] * (x > 80)
        return float((right * x).sum() / right.sum() - (left * x).sum() / left.sum())

    assert gap(near.colour_linear) == pytest.approx(80 * ratio, abs=0.1)
    assert gap(far.colour_linear) == pytest.approx(80, abs=0.1)
    half = next(iter(expose_stack(scene, replace(macro, breathing=0.5), [0.3, 0.4], image_width_px=400)))
    assert half.magnification == pytest.approx(math.sqrt(ratio))
    off_focus = lights([(60, 80)], 0.35)  # the picture and the radius on the sensor scale together
    frame = next(iter(render_stack(off_focus, macro, [0.3, 0.4], image_width_px=400)))
    assert radius_of(frame[..., 1]) == pytest.approx(abs(macro.blur_radius_px(0.35, 0.3, 400)), rel=0.03)


def test_registered_frames_have_the_radii_of_the_farthest_focus() -> None:
    macro = ThinLens(100.0, 8.0, 36.0)
    scene = lights([(60, 80)], 0.35)
    ratio = macro.image_distance_mm(0.3) / macro.image_distance_mm(0.4)
    own, registered = (
        radius_of(next(iter(render_stack(scene, macro, [0.3, 0.4], "exact", 400, flag)))[..., 1])
        for flag in (False, True)
    )
    assert own == pytest.approx(abs(macro.blur_radius_px(0.35, 0.3, 400)), abs=0.05)
    assert registered == pytest.approx(own / ratio, abs=0.05)


def test_diffraction_is_the_airy_pattern_and_left_out_where_it_is_negligible() -> None:
    lens = ThinLens(50.0, 32.0, 36.0, diffraction=True)
    frame = render(lights([(60, 80)], 2.0), lens, 2.0, image_width_px=8000)
    y, x = np.mgrid[:H, :W]
    away = np.hypot(y - 60, x - 80)
    for channel in range(3):
        ring = lens.airy_radius_px(8000, channel)
        wavelength_um = (0.60, 0.54, 0.46)[channel]
        assert ring == pytest.approx(1.22 * wavelength_um * 32 / (36000 / 8000))
        spot = frame[..., channel]
        assert spot.sum() == pytest.approx(1.0, abs=1e-4)
        inside = spot[away < ring].sum()
        assert inside == pytest.approx(0.838 / 0.96, abs=0.05)  # Airy's disc, of what lies within the kernel
        profile = [spot[(away > r - 0.5) & (away <= r + 0.5)].mean() for r in range(1, 12)]
        assert 1 + int(np.argmin(profile[: round(1.4 * ring)])) == pytest.approx(ring, abs=1.0)  # the dark ring
    open_lens = ThinLens(50.0, 2.0, 36.0)
    scene = lights([(60, 80)], 3.0)
    np.testing.assert_array_equal(
        render(scene, replace(open_lens, diffraction=True), 2.0), render(scene, open_lens, 2.0)
    )
