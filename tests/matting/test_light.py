import cv2
import numpy as np
import pytest

from mattingmfif.matting import MattingSettings, Subjects, estimate_layers
from mattingmfif.matting.light import fractions_to_light
from mattingmfif.matting.surroundings import continued, reduced, spread_cells, variation
from mattingmfif.pixels.colour import linear_to_srgb


def in_light(photo, fractions, scale=1):
    """The fractions as shares of light; those that are given are left as they are."""
    found = [fraction.copy() for fraction in fractions]
    fractions_to_light(photo, found, reduced(photo, scale), scale)
    return found


def flat(bright, dark, alpha):
    """(photo in linear light, the alpha that fits its codes) of two flat colours."""
    front, back = np.float32(bright), np.float32(dark)
    photo = front * alpha[..., None] + back * (1 - alpha[..., None])
    codes = (linear_to_srgb(photo) - linear_to_srgb(back)) / (linear_to_srgb(front) - linear_to_srgb(back))
    return photo.astype(np.float32), codes.mean(axis=-1).astype(np.float32)


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("colours", [((0.8, 0.7, 0.6), (0.02, 0.05, 0.01)), ((0.01, 0.03, 0.02), (0.6, 0.8, 0.9))])
def test_an_alpha_that_fits_codes_becomes_the_share_of_the_light(composed, colours, scale):
    alpha = cv2.GaussianBlur(composed(soft_px=1.0)[1], (0, 0), 2.5)
    alpha = np.where(alpha < 0.001, 0, np.where(alpha > 0.999, 1, alpha)).astype(np.float32)
    photo, codes = flat(*colours, alpha)
    band = (alpha > 0.05) & (alpha < 0.95)
    assert np.abs(codes - alpha)[band].mean() > 0.1
    (found,) = in_light(photo, [codes], scale)
    assert np.abs(found - alpha)[band].max() < 0.04
    assert np.array_equal(found[codes == 0], codes[codes == 0])
    assert np.array_equal(found[codes == 1], codes[codes == 1])


def test_the_faint_end_of_an_outline_is_kept_and_a_veil_away_from_it_is_cleared(composed):
    alpha = cv2.GaussianBlur(composed(soft_px=1.0)[1], (0, 0), 1.5)
    alpha[5:20, 5:60] = np.maximum(alpha[5:20, 5:60], 0.01)
    alpha[140:150, 10:60] = np.linspace(0.005, 0.015, 50)
    photo, codes = flat((0.8, 0.7, 0.6), (0.02, 0.05, 0.01), np.where(alpha < 0.001, 0, alpha))
    (found,) = in_light(photo, [codes], 1)
    assert ((found > 0) & (found < 0.02)).any()
    assert not found[5:20, 5:60].any()
    assert not found[140:150, 10:60].any()


def test_subjects_that_touch_still_sum_to_one_at_most():
    y, x = np.mgrid[:80, :120].astype(np.float32)
    left = np.clip((40 - x) / 8 + 0.5, 0, 1)
    right = 1 - left
    right[y > 60] = 0
    colours = np.array([[0.7, 0.6, 0.1], [0.02, 0.1, 0.3], [0.3, 0.3, 0.3]], np.float32)
    rest = np.clip(1 - left - right, 0, 1)
    photo = sum(part[..., None] * colour for part, colour in zip((left, right, rest), colours, strict=True))
    found = in_light(photo, [left, right], 1)
    assert np.sum(found, axis=0).max() <= 1 + 1e-6


@pytest.mark.parametrize("solved", [np.zeros((20, 30)), np.ones((20, 30)), np.full((20, 30), 0.5)])
def test_where_one_of_the_two_is_never_seen_alone_alpha_stays(solved):
    photo = np.random.default_rng(0).random((20, 30, 3), np.float32)
    (found,) = in_light(photo, [solved.astype(np.float32)], 1)
    assert np.array_equal(found, solved)


def test_equal_colours_on_both_sides_leave_alpha_where_it_was(composed):
    alpha = composed(soft_px=4.0)[1]
    (found,) = in_light(np.full((*alpha.shape, 3), 0.2, np.float32), [alpha], 1)
    assert np.isfinite(found).all()
    assert np.abs(found - alpha).max() < 0.01


def test_a_bright_subject_leaves_no_dark_outline_in_the_plate(composed):
    alpha = cv2.GaussianBlur(composed(soft_px=1.0)[1], (0, 0), 1.5)
    photo, _ = flat((0.8, 0.7, 0.6), (0.02, 0.05, 0.01), alpha)
    subjects = Subjects(masks=[alpha > 0.5], segmenter="given", why="", scores=[{}])
    plate = estimate_layers(photo, subjects, MattingSettings()).plate_linear
    off = (linear_to_srgb(plate) - linear_to_srgb(np.float32([0.02, 0.05, 0.01]))) * 255
    assert np.abs(off).mean() < 1
    assert np.abs(off).max() < 12


def test_continuations_keep_what_is_sure_and_are_sampled_where_pixels_lie():
    rng = np.random.default_rng(3)
    light = cv2.GaussianBlur(rng.random((60, 90, 3), np.float32), (0, 0), 6)
    sure = np.ones((60, 90), bool)
    sure[20:40, 30:60] = False
    colour = continued(light, sure)
    assert np.array_equal(colour[sure], light[sure])
    assert (variation(light, sure) >= 0).all()
    found = np.zeros((60, 90, 3), np.float32)
    spread_cells(colour, 1, (~sure).view(np.uint8), found)
    assert np.array_equal(found[~sure], colour[~sure])
    assert not found[sure].any()


@pytest.mark.parametrize("shape", [(60, 90), (61, 88)])
def test_cells_spread_again_give_a_ramp_back_also_where_a_rectangle_begins_later(shape):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    ramp = np.stack([y, x, y - x], axis=-1)
    found = np.zeros((shape[0] + 6, shape[1] + 9, 3), np.float32)
    spread_cells(reduced(ramp, 3), 3, np.ones(shape, np.uint8), found, (6, 9))
    inner = (slice(3, -4), slice(3, -4))
    assert np.abs(found[6:, 9:][inner] - ramp[inner]).max() < 1e-4
    assert not found[:6].any()
    assert not found[:, :9].any()


def test_variation_is_the_variance_of_what_is_sure():
    noise = np.random.default_rng(5).normal(0.5, 0.1, (160, 160, 3)).astype(np.float32)
    sure = np.ones((160, 160), bool)
    sure[60:100, 60:100] = False
    found = variation(np.where(sure[..., None], noise, np.float32(9)), sure)
    assert found.shape == (40, 40)
    assert np.median(found) == pytest.approx(3 * 0.01, rel=0.1)
    assert found.max() < 0.05  # what is not sure has no part in it
