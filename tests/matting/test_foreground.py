import numpy as np
import pytest

from mattingmfif.matting.foreground import agree_with_photo, agree_with_plate, clean_tails, split_colours
from mattingmfif.matting.layers import over_alphas
from mattingmfif.matting.unmix import correct, unmixed
from mattingmfif.pixels.colour import linear_to_srgb


def test_colours_are_unmixed_far_better_than_by_taking_the_photo(composed):
    photo, alpha, foreground, background = composed(soft_px=6.0)
    soft = (alpha > 0.1) & (alpha < 0.9)
    found_f, found_b = split_colours(photo, alpha)
    assert np.abs(found_f - foreground)[soft].mean() < 0.4 * np.abs(photo - foreground)[soft].mean()
    assert np.abs(found_b - background)[soft].mean() < 0.4 * np.abs(photo - background)[soft].mean()
    assert min(found_f.min(), found_b.min()) >= 0
    assert max(found_f.max(), found_b.max()) <= 1


def test_without_soft_pixels_both_colours_are_the_photo():
    photo = np.random.default_rng(0).random((8, 9, 3), np.float32)
    foreground, background = split_colours(photo, np.eye(8, 9, dtype=np.float32))
    assert np.array_equal(foreground, photo)
    assert np.array_equal(background, photo)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 1)])
def test_the_smallest_pictures_have_colours_that_agree_with_them(shape):
    photo = np.random.default_rng(1).random((*shape, 3), np.float32)
    fractions = [np.full(shape, 0.5, np.float32), np.full(shape, 0.125, np.float32)]
    alphas, covers = over_alphas(fractions)
    colours, plate, ease = unmixed(photo, photo, fractions, alphas, covers, sum(fractions))
    layers = [*colours, plate]
    assert correct(photo, layers, alphas, fractions, ease).max() < 0.5
    light = sum(w[..., None] * c for w, c in zip([*fractions, 1 - sum(fractions)], layers, strict=True))
    np.testing.assert_allclose(light, photo, atol=1e-5)


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_corrected_colours_reproduce_the_photo_within_the_range_of_colours(layers):
    rng = np.random.default_rng(layers)
    photo = rng.random((3000, 3), np.float32)
    fractions = rng.random((layers, 3000), np.float32) ** 3
    fractions /= fractions.sum(axis=0)
    colours = rng.random((layers, 3000, 3), np.float32)
    corrected = colours.copy()
    left = agree_with_photo(photo, corrected, fractions, rng.random(3000, np.float32))
    picture = sum(f[:, None] * c for f, c in zip(fractions, corrected, strict=True))
    apart = np.abs(linear_to_srgb(picture) - linear_to_srgb(photo)).max(axis=-1) * 255
    assert np.abs(left - apart).max() < 2e-3
    assert np.abs(picture - photo).max() < 1e-3
    assert np.abs(picture - photo).mean() < 1e-5
    assert corrected.min() >= 0
    assert corrected.max() <= 1


def test_colours_that_already_agree_are_not_changed(composed):
    photo, alpha, foreground, background = composed()
    colours = np.stack([foreground.reshape(-1, 3), background.reshape(-1, 3)])
    corrected = colours.copy()
    weights = np.stack([alpha.ravel(), 1 - alpha.ravel()])
    agree_with_photo(photo.reshape(-1, 3), corrected, weights, np.ones(alpha.size, np.float32))
    assert np.abs(corrected - colours).max() < 1e-5


def test_a_layer_gives_way_by_the_square_of_how_much_it_is_seen():
    photo = np.full((1, 3), 0.5, np.float32)
    colours = np.full((2, 1, 3), 0.4, np.float32)
    agree_with_photo(photo, colours, np.array([[0.8], [0.2]], np.float32), np.ones(1, np.float32))
    first, second = colours
    assert (first - 0.4)[0, 0] == pytest.approx(16 * (second - 0.4)[0, 0], rel=1e-3)


def test_a_plate_gives_way_by_its_ease():
    moved = []
    for ease in (1.0, 0.1):
        colours = np.full((2, 1, 3), 0.4, np.float32)
        weights = np.array([[0.2], [0.8]], np.float32)
        agree_with_photo(np.full((1, 3), 0.45, np.float32), colours, weights, np.full(1, ease, np.float32))
        assert (weights[:, :, None] * colours).sum(axis=0) == pytest.approx(0.45, abs=1e-6)
        moved.append((colours - 0.4)[:, 0, 0])
    assert moved[0][1] / moved[0][0] == pytest.approx(16, rel=1e-3)
    assert moved[1][1] / moved[1][0] == pytest.approx(1.6, rel=1e-3)


def test_a_subject_before_the_plate_is_corrected_as_any_two_layers_are():
    rng = np.random.default_rng(4)
    photo, colour, plate = rng.random((3, 30, 40, 3), np.float32)
    alpha = np.clip(rng.random((30, 40), np.float32) * 1.4 - 0.2, 0, 1)
    ease = rng.random((10, 14), np.float32)
    layers = (alpha > 0).astype(np.uint8) + (rng.random((30, 40)) > 0.9)
    wanted = (alpha > 0) & (alpha < 1) & (layers == 1)
    expected = np.stack([colour[wanted], plate[wanted]])
    rows, columns = np.nonzero(wanted)
    weights = np.stack([alpha[wanted], 1 - alpha[wanted]])
    left = agree_with_photo(photo[wanted], expected, weights, ease[rows // 3, columns // 3])
    first, second = colour.copy(), plate.copy()
    found = agree_with_plate(photo, first, alpha, second, layers, ease, 3)
    assert np.array_equal(found, left)
    assert np.array_equal(first[wanted], expected[0])
    assert np.array_equal(second[wanted], expected[1])
    assert np.array_equal(first[~wanted], colour[~wanted])
    assert np.array_equal(second[~wanted], plate[~wanted])


def test_tails_are_cut_and_the_middle_is_kept():
    ramp = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, -1)
    cleaned = ramp.copy()
    clean_tails([cleaned], 0.02)
    assert not cleaned[ramp < 0.02].any()
    assert (cleaned[ramp > 0.98] == 1).all()
    middle = (ramp >= 0.02) & (ramp <= 0.98)
    assert np.array_equal(cleaned[middle], ramp[middle])


def test_a_faint_speck_vanishes_and_the_subject_stays():
    fraction = np.zeros((40, 40), np.float32)
    fraction[5:15, 5:15] = 1
    fraction[30:33, 30:33] = 0.06
    clean_tails([fraction], 0.02)
    assert not fraction[25:, 25:].any()
    assert (fraction[5:15, 5:15] == 1).all()


def test_cleaned_fractions_never_sum_to_more_than_one():
    first = np.full((4, 4), 0.985, np.float32)
    second = np.full((4, 4), 0.03, np.float32)
    second[0, 0] = 0.5
    clean_tails([first, second], 0.02)
    assert (first + second).max() <= 1 + 1e-6
