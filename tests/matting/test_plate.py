import cv2
import numpy as np
import pytest

from mattingmfif.matting.foreground import split_colours
from mattingmfif.matting.plate import add_grain, continue_behind, inpaint_ring, known_behind
from mattingmfif.pixels.colour import linear_to_srgb
from mattingmfif.pixels.grain import grain_sigma


def test_what_was_photographed_is_known_and_what_was_hidden_is_not():
    covered = np.array([[0.0, 0.5, 0.9, 0.95, 1.0]], np.float32)
    assert known_behind(covered)[0] == pytest.approx([1, 1, 1, 0.5, 0], abs=1e-5)


@pytest.mark.parametrize("method", ["push-pull", "ns"])
def test_the_plate_is_the_background_where_seen_and_plausible_near_the_outline(composed, method):
    photo, alpha, _, background = composed(soft_px=3.0)
    plate, _ = continue_behind(photo, *split_colours(photo, alpha), alpha, alpha)
    if method == "ns":
        plate = inpaint_ring(plate, alpha, 6)
    assert np.array_equal(plate[alpha == 0], photo[alpha == 0])
    assert 0 <= plate.min() <= plate.max() <= 1
    ring = (alpha > 0.9) & (np.roll(alpha, 4, 0) < 0.9)
    subject = np.abs(photo - background)[ring].mean()
    assert np.abs(plate - background)[ring].mean() < 0.3 * subject


def test_a_wrong_alpha_does_not_reach_into_the_plate(composed):
    # a flat background must be continued flat however wide the alpha was solved
    photo, alpha, foreground, _ = composed(soft_px=3.0)
    dark = np.full_like(photo, (0.02, 0.05, 0.01))
    photo = foreground * alpha[..., None] + dark * (1 - alpha[..., None])
    solved = cv2.dilate(cv2.GaussianBlur(alpha, (0, 0), 2), np.ones((5, 5), np.uint8))
    plate, _ = continue_behind(photo, *split_colours(photo, solved), solved, solved)
    off = np.abs(linear_to_srgb(plate) - linear_to_srgb(dark)) * 255
    assert off[alpha == 1].mean() < 8


def test_nothing_hidden_or_all_hidden_gives_the_background_it_was_given():
    photo, background = np.random.default_rng(0).random((2, 6, 7, 3), np.float32)
    for covered in (np.zeros((6, 7), np.float32), np.ones((6, 7), np.float32)):
        plate, ease = continue_behind(photo, photo, background, covered, covered)
        assert np.array_equal(plate, background)
        assert (ease == 1).all()


def test_a_plate_is_firm_before_a_smooth_background_and_gives_way_before_texture(composed):
    alpha = composed(soft_px=3.0)[1]
    flat = np.full((*alpha.shape, 3), 0.2, np.float32)
    busy = np.random.default_rng(0).random(flat.shape, np.float32)
    eases = [continue_behind(photo, photo, photo, alpha, alpha)[1] for photo in (flat, busy)]
    assert eases[0].max() < 0.01
    assert np.median(eases[1]) > 0.4


def test_grain_like_the_photos_lies_on_invented_pixels_only_and_is_always_the_same():
    plate = np.full((128, 160, 3), 0.2, np.float32)
    known = np.zeros((128, 160), np.float32)
    known[:, :32] = 1
    first, second = plate.copy(), plate.copy()
    add_grain(first, known, 3.0)
    add_grain(second, known, 3.0)
    assert np.array_equal(first, second)
    assert np.array_equal(first[:, :32], plate[:, :32])
    assert grain_sigma(linear_to_srgb(first[:, 32:])) == pytest.approx(3.0, rel=0.2)
    untouched = plate.copy()
    add_grain(untouched, known, 0.1)
    assert np.array_equal(untouched, plate)
