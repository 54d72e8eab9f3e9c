from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mattingmfif.errors import UserError
from mattingmfif.optics import Layer, Scene, ThinLens, composite, refocus, render, scene_from_depth
from mattingmfif.optics.refocus import distance_from_depth
from mattingmfif.pixels.colour import encode_srgb

H, W = 96, 144
LENS = ThinLens(50.0, 2.0, 36.0)
WIDTH_PX = 900
Texture = Callable[[int, int, int], np.ndarray]


@pytest.fixture
def card_and_wall(textured: Texture) -> tuple[Scene, np.ndarray]:
    """A card at 1 m over a wall at 3 m, and the depth map that a camera would measure."""
    alpha = np.zeros((H, W), np.float32)
    alpha[24:72, 40:100] = 1.0
    scene = Scene([Layer(textured(H, W, 1), alpha, 1.0), Layer(textured(H, W, 2), np.ones_like(alpha), 3.0)])
    return scene, np.where(alpha > 0, 1.0, 3.0).astype(np.float32)


def test_what_is_in_focus_on_a_flat_depth_comes_back_bit_for_bit(textured: Texture) -> None:
    codes = encode_srgb(textured(H, W, 3))
    np.testing.assert_array_equal(refocus(codes, np.full((H, W), 2.0), LENS, 2.0), codes)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
def test_what_goes_in_comes_out(kind: type, textured: Texture) -> None:
    photo = textured(H, W, 3)
    given = encode_srgb(photo, bits=8 * np.dtype(kind).itemsize) if np.dtype(kind).kind == "u" else photo.astype(kind)
    result = refocus(given, np.linspace(1, 4, H)[:, None].repeat(W, 1), LENS, 2.0, image_width_px=WIDTH_PX)
    assert result.dtype == kind
    assert result.shape == given.shape
    assert not np.array_equal(result, given)


def test_a_cut_scene_is_the_photo_in_the_pinhole_but_for_mixed_pixels(
    card_and_wall: tuple[Scene, np.ndarray],
) -> None:
    scene, depth = card_and_wall
    photo = composite(scene)
    cut = scene_from_depth(photo, depth, LENS, WIDTH_PX)
    assert len(cut.layers) == 2
    difference = np.abs(composite(cut) - photo).max(axis=2)
    assert (difference > 1e-6).mean() < 0.12  # a ring of a few pixels around the card
    assert difference[28:68, 44:96].max() < 1e-6


@pytest.mark.parametrize("focus", [1.0, 3.0])
def test_depth_edges_have_no_halo(focus: float, card_and_wall: tuple[Scene, np.ndarray]) -> None:
    """The wall beside a sharp card does not take the colour of the card, and the other way round."""
    scene, depth = card_and_wall
    red_card, green_wall = (np.zeros((H, W, 3), np.float32) for _ in range(2))
    red_card[..., 0], green_wall[..., 1] = 0.8, 0.6
    known = Scene(
        [Layer(c, layer.alpha, layer.distance_m) for c, layer in zip((red_card, green_wall), scene.layers, strict=True)]
    )
    truth = render(known, LENS, focus, image_width_px=WIDTH_PX)
    result = refocus(composite(known), depth, LENS, focus, image_width_px=WIDTH_PX)
    off_edge = np.ones((H, W), bool)
    off_edge[23:73, 39:101] = False
    off_edge[25:71, 41:99] = True
    assert np.abs(result - truth)[off_edge].max() < 0.06
    assert np.abs(result - truth).mean() < 0.004


def test_a_slanted_surface_is_not_cut_visibly(textured: Texture, psnr: Callable[..., float]) -> None:
    """A ramp beside a card: the cut that the card needs runs through the ramp as well, and must not show."""
    ramp = 1.0 / np.linspace(1.2, 0.2, W, dtype=np.float32)[None, :].repeat(H, 0)
    depth = ramp.copy()
    depth[:20, 100:130] = 0.9
    photo = textured(H, W, 4)
    result = refocus(photo, depth, LENS, 2.0, image_width_px=WIDTH_PX)
    alone = render(Scene([Layer(photo, np.ones((H, W), np.float32), ramp)]), LENS, 2.0, image_width_px=WIDTH_PX)
    below = np.zeros((H, W), bool)
    below[48:] = True
    assert psnr(result, alone, 12, below) > 45.0


def test_unknown_depth_takes_the_nearest_known_value() -> None:
    depth = np.array([[1.0, np.nan, np.inf], [0.0, 2.0, np.inf]])
    metres = distance_from_depth(depth)
    assert metres[0, 0] == 1.0
    assert metres[0, 1] in (1.0, 2.0, np.inf)
    assert metres[1, 0] in (1.0, 2.0)
    assert np.isinf(metres[0, 2])


def test_disparity_is_even_in_inverse_distance_and_zero_is_infinite() -> None:
    np.testing.assert_allclose(
        distance_from_depth(np.array([[2.0, 3.0, 4.0, 0.0]]), "disparity", 1.0, 5.0), [[5.0, 1 / 0.6, 1.0, np.inf]]
    )
    np.testing.assert_allclose(distance_from_depth(np.array([[1.0, 2.0, 0.0]]), "disparity"), [[2.0, 1.0, np.inf]])
    assert np.isinf(distance_from_depth(np.zeros((2, 2)), "disparity")).all()


@pytest.mark.parametrize(
    ("depth", "kind", "message"),
    [
        (np.full((H, W), np.nan), "metres", "known value"),
        (np.zeros((H, W)), "metres", "known value"),
        (np.full((H, W), -1.0), "metres", "negative"),
        (np.full((H, W), np.inf), "disparity", "infinite"),
        (np.ones((H, W + 1)), "metres", "same size"),
        (np.ones((H, W, 1)), "metres", "shape"),
        (np.ones((H, W)), "inches", "metres, disparity"),
    ],
)
def test_depth_without_meaning_is_refused(depth: np.ndarray, kind: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        refocus(np.zeros((H, W, 3), np.uint8), depth, LENS, 2.0, kind)


def test_photos_of_other_kinds_are_refused() -> None:
    for photo in (np.zeros((H, W), np.uint8), np.zeros((H, W, 4), np.uint8), np.zeros((H, W, 3), np.int32)):
        with pytest.raises(UserError, match="photo"):
            refocus(photo, np.ones((H, W)), LENS, 2.0)
