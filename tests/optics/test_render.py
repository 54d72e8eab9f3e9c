from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mattingmfif.errors import UserError
from mattingmfif.optics import Aperture, Layer, Scene, ThinLens, composite, expose_stack, render, render_stack

LENS = ThinLens(50.0, 2.0, 36.0)
QUALITIES = ("exact", "fast")
ONE = np.ones((72, 96), np.float32)
Texture = Callable[[int, int, int], np.ndarray]


@pytest.fixture
def three(textured: Texture) -> Scene:
    near = np.zeros_like(ONE)
    near[20:50, 10:60] = 1.0
    middle = np.zeros_like(ONE)
    middle[30:, 40:80] = 0.7
    return Scene(
        [
            Layer(textured(72, 96, 1), near, 1.0),
            Layer(textured(72, 96, 2), middle, 2.0),
            Layer(textured(72, 96, 3), ONE, 6.0),
        ]
    )


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("focus", [0.8, 2.0, math.inf])
def test_a_flat_scene_stays_flat_at_every_focus(quality: str, focus: float, three: Scene) -> None:
    flat = [replace(layer, colour_linear=np.full((72, 96, 3), 0.37, np.float32)) for layer in three.layers]
    ground = np.linspace(9.0, 1.5, 72, dtype=np.float32)[:, None].repeat(96, 1)
    for layers in (flat, [flat[0], replace(flat[2], distance_m=ground)]):
        np.testing.assert_allclose(render(Scene(layers), LENS, focus, quality, 1500), 0.37, atol=3e-6)


@pytest.mark.parametrize("quality", QUALITIES)
def test_what_is_in_focus_comes_back_bit_for_bit_beyond_the_reach_of_blur(quality: str, three: Scene) -> None:
    for focus, layer in ((1.0, 0), (6.0, 2)):
        frame = render(three, LENS, focus, quality, 500)
        reach = max(abs(LENS.blur_radius_px(z, focus, 500)) for z in (1.0, 2.0, 6.0)) + 2
        inside = three.layers[layer].alpha > 0
        if layer == 2:
            inside = (three.layers[0].alpha == 0) & (three.layers[1].alpha == 0)
            inside = cv2.erode(inside.astype(np.uint8), np.ones((3, 3)), iterations=int(reach)) > 0
        assert inside.sum() > 200
        np.testing.assert_array_equal(frame[inside], composite(three)[inside])


def test_a_lens_stopped_down_gives_the_pinhole_image_bit_for_bit(three: Scene) -> None:
    pinhole = ThinLens(50.0, 2000.0, 36.0)
    for quality in QUALITIES:
        np.testing.assert_array_equal(render(three, pinhole, 2.0, quality), composite(three))


@pytest.mark.parametrize("distance", [1.2, 5.0])
def test_one_layer_over_black_keeps_its_energy(distance: float, textured: Texture) -> None:
    alpha = np.zeros((96, 128), np.float32)
    alpha[36:60, 40:80] = np.random.default_rng(0).random((24, 40))
    scene = Scene([Layer(textured(96, 128, 5), alpha, distance)])
    for aperture in (Aperture(), Aperture(blades=5, spherical=0.5)):
        frame = render(scene, replace(LENS, aperture=aperture), 2.0, image_width_px=700)
        assert frame.sum() == pytest.approx(composite(scene).sum(), rel=1e-4)


def test_order_of_the_list_changes_nothing(three: Scene) -> None:
    turned = Scene(list(reversed(three.layers)))
    for quality in QUALITIES:
        np.testing.assert_array_equal(render(three, LENS, 1.4, quality, 900), render(turned, LENS, 1.4, quality, 900))


def test_light_is_linear(three: Scene) -> None:
    doubled = Scene([replace(layer, colour_linear=layer.colour_linear * 2) for layer in three.layers])
    for quality in QUALITIES:
        once, twice = (render(s, LENS, 1.4, quality, 900) for s in (three, doubled))
        np.testing.assert_allclose(twice, 2 * once, atol=2e-3 if quality == "exact" else 2e-5)


def test_a_stack_gives_the_same_bits_as_single_frames_and_as_exposures(three: Scene) -> None:
    focuses = [1.0, 3.0, 1.0, math.inf]
    for quality in QUALITIES:
        frames = list(render_stack(three, LENS, focuses, quality, 900))
        exposures = list(expose_stack(three, LENS, focuses, quality, 900))
        for focus, frame, exposure in zip(focuses, frames, exposures, strict=True):
            np.testing.assert_array_equal(frame, render(three, LENS, focus, quality, 900))
            np.testing.assert_array_equal(frame, exposure.colour_linear)
            assert exposure.focus_distance_m == focus


def test_the_same_bits_for_any_number_of_threads(three: Scene) -> None:
    import numba

    results = []
    threads_before = cv2.getNumThreads()
    try:
        for threads in (1, 2, 7):
            cv2.setNumThreads(threads)
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            results.append(render(three, LENS, 1.4, image_width_px=1500))
    finally:
        cv2.setNumThreads(threads_before)
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_a_crop_with_the_pictures_width_has_the_pictures_blur(three: Scene) -> None:
    cut = Scene(
        [Layer(layer.colour_linear[8:64, 8:88], layer.alpha[8:64, 8:88], layer.distance_m) for layer in three.layers]
    )
    whole = render(three, LENS, 1.4, image_width_px=300)
    part = render(cut, LENS, 1.4, image_width_px=300)
    reach = 10
    difference = whole[8 + reach : 64 - reach, 8 + reach : 88 - reach] - part[reach:-reach, reach:-reach]
    assert np.abs(difference).max() < 2e-3


@pytest.mark.parametrize("kind", ["hair", "fence", "veil"])
@pytest.mark.parametrize(
    ("radii", "aperture"),
    [
        ((-13.0, 9.0), Aperture()),
        ((-8.0, -4.0, 11.0), Aperture()),
        ((-0.8, -0.5, 0.3), Aperture()),
        ((-14.0, -6.0, 10.0), Aperture(blades=3, rotation_deg=20.0)),
    ],
    ids=["two", "three", "small", "triangle"],
)
def test_exact_is_the_aperture_integral(
    kind: str,
    radii: tuple[float, ...],
    aperture: Aperture,
    integral: Callable[..., np.ndarray],
    scene_of: Callable[..., Scene],
    lens_for: Callable[..., tuple[ThinLens, list[float]]],
    psnr: Callable[..., float],
) -> None:
    lens, distances = lens_for(radii, 128, aperture)
    scene = scene_of(kind, distances, 96, 128)
    truth = integral(scene, lens, 2.0)
    margin = math.ceil(max(map(abs, radii)))
    assert psnr(render(scene, lens, 2.0), truth, margin) >= 63.0


def test_fast_is_the_layered_product(
    integral: Callable[..., np.ndarray],
    scene_of: Callable[..., Scene],
    lens_for: Callable[..., tuple[ThinLens, list[float]]],
    psnr: Callable[..., float],
) -> None:
    lens, distances = lens_for((-9.0, -4.0, 6.0), 128, Aperture())
    scene = scene_of("fence", distances, 80, 128)
    product = integral(scene, lens, 2.0, quality="fast")
    fast = render(scene, lens, 2.0, "fast")
    assert psnr(fast, product, 10) >= 63.0
    assert psnr(render(scene, lens, 2.0), product, 10) < 50.0  # and this is not the integral


def test_a_receding_plane_agrees_with_its_definition(
    integral: Callable[..., np.ndarray], textured: Texture, psnr: Callable[..., float]
) -> None:
    height, width = 120, 48
    inverse = 0.5 + np.linspace(-1, 1, height, dtype=np.float32)[:, None].repeat(width, 1) * 0.1
    lens = ThinLens(50.0, 2.0, 36.0)
    half = 8.0 / 0.1 / lens.blur_per_dioptre_px(2.0, 1.0)  # px across the sensor for +-8 px of blur
    lens = replace(lens, sensor_width_mm=36.0 * width / half)
    scene = Scene([Layer(textured(height, width, 9), np.ones((height, width), np.float32), 1 / inverse)])
    truth = integral(scene, lens, 2.0, points=256)
    assert abs(lens.blur_radius_px(1 / inverse, 2.0, width)).max() == pytest.approx(8.0, abs=0.05)
    for quality in QUALITIES:
        assert psnr(render(scene, lens, 2.0, quality), truth, 9) >= 48.0


def test_a_receding_fence_agrees_with_its_definition_whatever_stands_in_its_gaps(
    integral: Callable[..., np.ndarray], definitions: dict[str, object], psnr: Callable[..., float]
) -> None:
    height, width = 48, 20
    radii = np.linspace(-6.0, -1.5, height)[:, None].repeat(width, 1)
    inverse = 0.5 - radii / LENS.blur_per_dioptre_px(2.0, 1000)
    lens = replace(LENS, sensor_width_mm=36.0 * width / 1000)
    bars = definitions["fence"](height, width, 1.57, 12.0)  # type: ignore[operator]
    bright, dark = (np.full((height, width, 3), level, np.float32) for level in (0.9, 0.1))
    wall = Layer(dark, np.ones((height, width), np.float32), 2.0)
    fence = Layer(bright, bars, (1.0 / inverse).astype(np.float32))
    truth = integral(Scene([fence, wall]), lens, 2.0, points=300)
    assert psnr(render(Scene([fence, wall]), lens, 2.0), truth, 7) >= 48.0
    elsewhere = replace(fence, distance_m=np.where(bars > 0, fence.distance_m, np.float32(9.0)))
    assert psnr(render(Scene([elsewhere, wall]), lens, 2.0), truth, 7) >= 38.0


def test_trust_counts_what_is_invented_and_what_lies_outside_the_frame(three: Scene) -> None:
    wall = three.layers[2]
    lens_px = 1000
    radius = LENS.blur_radius_px(6.0, 2.0, lens_px)
    (exposure,) = expose_stack(Scene([wall]), LENS, [2.0], image_width_px=lens_px)
    assert radius > 5
    assert exposure.trust[36, 48] == 1.0
    # half the disc lies outside, less the half pixel over which the edge pixel fades
    assert exposure.trust[36, 0] == pytest.approx(0.5 + 1 / (np.pi * radius), abs=0.01)
    assert exposure.trust[0, 0] == pytest.approx(0.25 + 1 / (np.pi * radius), abs=0.03)
    assert not exposure.boundary.any()
    known = np.zeros_like(ONE)
    known[:, :48] = 1.0
    (half,) = expose_stack(Scene([replace(wall, known=known)]), LENS, [2.0], image_width_px=lens_px)
    assert half.trust[36, 47] == pytest.approx(0.53, abs=0.05)
    assert half.trust[36, 80] == 0.0
    (sharp,) = expose_stack(Scene([replace(wall, known=known)]), LENS, [6.0], image_width_px=lens_px)
    np.testing.assert_array_equal(sharp.trust, known)


def test_boundary_is_where_a_blurred_alpha_is_between(three: Scene) -> None:
    (exposure,) = expose_stack(three, LENS, [1.0], image_width_px=600)
    frame_alpha = render(Scene([replace(three.layers[1], colour_linear=np.ones((72, 96, 3)))]), LENS, 1.0, "fast", 600)
    expected = (frame_alpha[..., 0] > 0.02) & (frame_alpha[..., 0] < 0.98)
    np.testing.assert_array_equal(exposure.boundary, expected)


def test_an_empty_layer_changes_nothing(three: Scene) -> None:
    empty = Layer(three.layers[0].colour_linear, np.zeros_like(ONE), 0.5)
    np.testing.assert_array_equal(
        render(Scene([*three.layers, empty]), LENS, 1.4, image_width_px=900),
        render(three, LENS, 1.4, image_width_px=900),
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (33, 2), (17, 31)])
def test_any_size_can_be_rendered(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    near = Layer(rng.random((*shape, 3)), rng.random(shape), 1.0)
    far = Layer(rng.random((*shape, 3)), np.ones(shape), rng.uniform(3, 4, shape))
    for quality in QUALITIES:
        frame = render(Scene([near, far]), LENS, 2.0, quality, 400)
        assert frame.shape == (*shape, 3)
        assert frame.dtype == np.float32
        assert np.isfinite(frame).all()


def test_requests_without_meaning_are_refused_at_once(three: Scene) -> None:
    with pytest.raises(UserError, match="quality"):
        render(three, LENS, 2.0, "best")
    with pytest.raises(UserError, match="focus_distance_m"):
        render_stack(three, LENS, [2.0, 0.05])
    with pytest.raises(UserError, match="image_width_px"):
        render(three, LENS, 2.0, image_width_px=0)
