"""Cat's eye in rendered frames: the opening as it is seen from each place of the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mattingmfif.optics import Aperture, Layer, Scene, ThinLens, composite, expose_stack, psf, render
from mattingmfif.optics.field import fade_in, rows_of_cells

CATS = Aperture(cats_eye=0.8)
WALL = np.ones((96, 128), np.float32)


def integral_by_pixel(scene: Scene, lens: ThinLens, plain_points: Any, shifted: Any, points: int) -> np.ndarray:
    """The aperture integral in which every pixel has the opening that is seen from it."""
    height, width = scene.shape
    y, x = np.mgrid[:height, :width]
    rim_x, rim_y = (-lens.aperture.cats_eye * ((v + 0.5) / n * 2 - 1) for v, n in ((x, width), (y, height)))
    total, passed = np.zeros((height, width, 3)), np.zeros((height, width, 1))
    for u in plain_points(lens.aperture, points):
        open_here = ((u[0] - rim_x) ** 2 + (u[1] - rim_y) ** 2 <= 1.0)[..., None]
        light, seen = np.ones((height, width, 1)), np.zeros((height, width, 3))
        for layer in scene.ordered:
            packed = np.dstack([layer.colour_linear * layer.alpha[..., None], layer.alpha]).astype(np.float32)
            radius = lens.blur_radius_px(layer.distance_m, 2.0, width)
            value = shifted(packed, radius * u[1], radius * u[0])
            seen += light * value[..., :3]
            light = light * (1.0 - value[..., 3:])
        total += open_here * seen
        passed += open_here
    return total / passed


def test_frames_show_the_cats_eye_of_every_place(
    definitions: dict[str, Any], scene_of: Any, lens_for: Any, psnr: Callable[..., float]
) -> None:
    lens, distances = lens_for((-8.0, 9.0), 128, CATS)
    scene = scene_of("hair", distances, 96, 128)
    truth = integral_by_pixel(scene, lens, definitions["plain_points"], definitions["shifted"], 1024)
    with_eye = psnr(render(scene, lens, 2.0), truth, 9)
    without = psnr(render(scene, replace(lens, aperture=Aperture()), 2.0), truth, 9)
    assert with_eye >= 42.0
    assert without < 33.0


@pytest.mark.parametrize("distance", [1.2, 6.0])
def test_a_point_of_light_has_the_psf_of_its_place(distance: float) -> None:
    lens = ThinLens(50.0, 2.0, 36.0, CATS)
    radius = lens.blur_radius_px(distance, 2.0, 640)
    for row, column in ((60, 80), (18, 22), (100, 140)):
        colour = np.zeros((120, 160, 3), np.float32)
        colour[row, column] = 1.0
        lens_here = replace(lens, sensor_width_mm=36.0 * 160 / 640)  # the frame is the whole picture
        frame = render(Scene([Layer(colour, np.ones((120, 160), np.float32), distance)]), lens_here, 2.0)[..., 1]
        kernel = psf(lens_here, radius, ((column + 0.5) / 80 - 1, (row + 0.5) / 60 - 1))
        half = kernel.shape[0] // 2
        expected = np.pad(np.zeros((120, 160)), half)
        expected[row : row + 2 * half + 1, column : column + 2 * half + 1] = kernel
        expected = expected[half:-half, half:-half]
        y, x = np.mgrid[:120, :160]
        for axis in (x, y):
            middle = (frame * axis).sum() / frame.sum()
            assert middle == pytest.approx((expected * axis).sum() / expected.sum(), abs=0.2)
        assert np.abs(frame - expected).sum() < 0.2


def test_with_a_cats_eye_flat_stays_flat_and_what_is_in_focus_bit_for_bit(textured: Any) -> None:
    lens = ThinLens(50.0, 2.0, 36.0, Aperture(blades=6, cats_eye=0.9, spherical=0.3))
    near = WALL.copy()
    near[:, 70:] = 0.0
    flat = np.full((96, 128, 3), 0.37, np.float32)
    scene = Scene([Layer(flat, near, 1.0), Layer(flat, WALL, 3.0)])
    np.testing.assert_allclose(render(scene, lens, 1.8, image_width_px=400), 0.37, atol=3e-6)
    wall = Scene([Layer(textured(96, 128, 2), WALL, 3.0)])
    np.testing.assert_array_equal(render(wall, lens, 3.0, image_width_px=400), composite(wall))


def test_maps_and_faults_go_together_with_a_cats_eye(scene_of: Any, lens_for: Any) -> None:
    lens, distances = lens_for((-4.0, 5.0), 72, Aperture(cats_eye=0.4))
    lens = replace(lens, axial_colour_dioptres=(-0.02, 0.0, 0.02), field_curvature_dioptres=0.05, breathing=1.0)
    scene = scene_of("fence", distances, 56, 72)
    for exposure in expose_stack(scene, lens, [1.5, 2.0], "fast"):
        assert exposure.colour_linear.min() >= 0.0
        assert np.isfinite(exposure.colour_linear).all()
        assert exposure.trust.shape == exposure.boundary.shape == scene.shape
        assert exposure.trust[28, 36] == pytest.approx(1.0, abs=1e-4)
        assert exposure.boundary[15:-15, 15:-15].any()
    np.testing.assert_array_equal(
        render(scene, lens, 2.0, "fast"), next(iter(expose_stack(scene, lens, [2.0], "fast"))).colour_linear
    )


def test_cells_cover_the_frame_in_order_and_look_from_their_middle() -> None:
    rows = list(rows_of_cells((301, 403), 403.0, CATS, 12.0))
    assert len(rows) == len(rows[0]) == 9
    seen = np.zeros((301, 403), int)
    for row in rows:
        for cell in row:
            seen[slice(*cell.rows), slice(*cell.columns)] += 1
            assert cell.window[0] <= cell.rows[0] - 12 or cell.window[0] == 0
            assert cell.window[3] >= cell.columns[1] + 12 or cell.window[3] == 403
    assert seen.min() >= 1
    assert rows[4][4].field == (pytest.approx(0.0, abs=5e-3), pytest.approx(0.0, abs=5e-3))
    crop = list(rows_of_cells((301, 403), 806.0, CATS, 12.0))  # the middle half of a larger picture
    assert crop[0][0].field[0] == pytest.approx(rows[0][0].field[0] / 2)


def test_fading_keeps_equal_values_and_reaches_the_new_ones() -> None:
    picture = np.full((1, 10), np.float32(0.1))
    fade_in(picture, np.full((1, 6), np.float32(0.1)), 4, 3, axis=1)
    np.testing.assert_array_equal(picture, np.float32(0.1))
    fade_in(picture, np.ones((1, 6), np.float32), 4, 3, axis=1)
    np.testing.assert_allclose(picture[0, 3:], [0.1, 0.25, 0.55, 0.85, 1, 1, 1], atol=1e-6)
