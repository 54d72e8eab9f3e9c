from dataclasses import replace

import numpy as np
import pytest

from mattingmfif.errors import Refused
from mattingmfif.matting import MattingSettings, Subjects, estimate_layers
from mattingmfif.matting.layers import nearest_first, over_alphas
from mattingmfif.matting.trimap import UNKNOWN


def _given(*masks, alphas=False):
    return Subjects(
        masks=list(masks), segmenter="given", why="test", scores=[{} for _ in masks], are_alphas=alphas, labels=None
    )


def test_reassembled_layers_are_the_photograph(composed):
    photo, alpha, _, _ = composed()
    layers = estimate_layers(photo, _given(alpha > 0.5))
    assert np.abs(layers.reassembled() - photo).max() < 1e-4
    assert layers.residual["max"] < 0.1
    assert set(layers.residual) == {"mean", "p99", "max"}


def test_several_subjects_and_the_plate_reassemble_too(composed):
    photo, left, _, _ = composed(centre=(0.5, 0.3), radius=0.25)
    right = composed(centre=(0.55, 0.62), radius=0.25)[1] * (1 - left)
    layers = estimate_layers(photo, _given(left > 0.5, right > 0.5))
    assert len(layers.cutouts) == 2
    assert np.abs(layers.reassembled() - photo).max() < 2e-3
    for cutout in layers.cutouts:
        for array in (cutout.colour_linear, cutout.alpha, cutout.known):
            assert array.dtype == np.float32
            assert np.isfinite(array).all()
            assert 0 <= array.min() <= array.max() <= 1


def test_the_layers_survive_the_rounding_with_which_they_are_stored(composed):
    photo, alpha, _, _ = composed()
    layers = estimate_layers(photo, _given(alpha > 0.5))
    from mattingmfif.pixels.colour import decode_srgb, encode_srgb, linear_to_srgb

    cutout = layers.cutouts[0]
    stored_alpha = np.round(cutout.alpha * 65535) / 65535
    colour, plate = (decode_srgb(encode_srgb(c, 16)) for c in (cutout.colour_linear, layers.plate_linear))
    picture = plate + (colour - plate) * stored_alpha[..., None]
    assert np.abs(linear_to_srgb(picture) - linear_to_srgb(photo)).max() * 255 < 0.2


def test_the_matte_is_close_to_the_truth(composed):
    photo, alpha, _, _ = composed(soft_px=2.0)
    layers = estimate_layers(photo, _given(alpha > 0.5))
    assert np.abs(layers.cutouts[0].alpha - alpha).mean() < 0.01


def test_the_users_alpha_is_used_as_it_is(composed):
    photo, alpha, _, _ = composed()
    layers = estimate_layers(photo, _given(alpha, alphas=True))
    kept = (alpha >= 0.02) & (alpha <= 0.98)
    assert np.array_equal(layers.cutouts[0].alpha[kept], alpha[kept])


def test_a_users_plate_shows_behind_the_subject_and_counts_as_photographed(composed):
    photo, alpha, _, background = composed()
    layers = estimate_layers(photo, _given(alpha, alphas=True), plate_linear=background)
    assert np.abs(layers.plate_linear - background)[alpha >= 1].max() < 1e-6
    assert (layers.plate_known == 1).all()
    assert np.abs(layers.reassembled() - photo).max() < 1e-3


def test_subjects_that_leave_nothing_behind_them_are_refused(composed):
    photo, alpha, _, _ = composed(64, 80)
    labels = np.full(alpha.shape, UNKNOWN, np.int16)
    labels[alpha >= 1] = 1  # nothing is said to be background
    given = replace(_given(alpha > 0.5), labels=labels)
    halves = np.indices(alpha.shape)[1] < 40
    for subjects in (given, _given(halves, ~halves)):
        with pytest.raises(Refused) as caught:
            estimate_layers(photo, subjects)
        assert caught.value.reason == "full-matte"


def test_without_subjects_the_plate_is_the_photo(composed):
    photo = composed()[0]
    layers = estimate_layers(photo, _given())
    assert layers.cutouts == []
    assert np.array_equal(layers.reassembled(), photo)
    assert (layers.plate_known == 1).all()


def test_what_lies_behind_a_nearer_subject_is_continued_and_not_called_photographed(composed):
    photo = composed()[0]
    near = np.zeros(photo.shape[:2], np.float32)
    far = near.copy()
    near[60:120, 60:100] = 1
    far[60:120, 100:150] = 1
    layers = estimate_layers(photo, _given(near, far, alphas=True), order=[0, 1])
    behind = layers.cutouts[1]
    assert behind.alpha[90, 110] == 1
    assert np.abs(layers.reassembled() - photo).max() < 1e-4
    assert behind.known[:, 100:150].min() == 1


def test_over_alphas_give_the_fractions_back_when_composited():
    rng = np.random.default_rng(0)
    raw = rng.random((4, 30, 40), np.float32) + 0.05
    fractions = list(raw[:3] / raw.sum(axis=0) * np.array([0.5, 1, 1], np.float32)[:, None, None])
    alphas, covers = over_alphas(fractions)
    through = np.ones((30, 40), np.float32)
    for fraction, alpha, cover in zip(fractions, alphas, covers, strict=False):
        seen = cover <= 0.9  # less is left of a pixel that nearer subjects hide more than that
        assert np.abs(through * alpha - fraction)[seen].max() < 1e-5
        through = through * (1 - alpha)
    assert covers[-1] == pytest.approx(np.sum(fractions, axis=0), abs=1e-5)


def test_the_lower_subject_stands_nearer_unless_an_order_is_given(composed):
    photo = composed()[0]
    high, low = np.zeros((2, *photo.shape[:2]), np.float32)
    high[10:40, 10:60] = 1
    low[90:150, 100:180] = 1
    assert nearest_first(_given(high, low)) == [1, 0]
    layers = estimate_layers(photo, _given(high, low, alphas=True))
    assert layers.cutouts[0].alpha[120, 140] == 1
    layers = estimate_layers(photo, _given(high, low, alphas=True), order=[0, 1])
    assert layers.cutouts[0].alpha[20, 30] == 1
    with pytest.raises(ValueError, match="order"):
        estimate_layers(photo, _given(high, low, alphas=True), order=[0, 0])


def test_a_found_subject_without_a_true_outline_is_refused_and_a_given_one_is_not(composed):
    flat = np.full((120, 160, 3), 0.3, np.float32)
    flat += np.random.default_rng(1).random(flat.shape, np.float32) * 0.002
    mask = np.zeros((120, 160), bool)
    mask[40:80, 50:110] = True
    found = Subjects(masks=[mask], segmenter="classical", why="test", scores=[{"contour": 1.0}])
    with pytest.raises(Refused) as caught:
        estimate_layers(flat, found)
    assert caught.value.reason in ("uncertain-matte", "empty-matte")
    assert len(estimate_layers(flat, _given(mask.astype(np.float32), alphas=True)).cutouts) == 1


def test_a_residual_above_the_limit_is_refused(composed):
    photo, alpha, _, _ = composed()
    beyond = photo * 3  # no layer can be brighter than white
    with pytest.raises(Refused) as caught:
        estimate_layers(beyond, _given(alpha, alphas=True), MattingSettings(max_residual_codes=0.5))
    assert caught.value.reason == "residual"


def test_the_same_photo_gives_the_same_bits(composed):
    photo, alpha, _, _ = composed()
    first, second = (estimate_layers(photo, _given(alpha > 0.5)) for _ in range(2))
    assert np.array_equal(first.plate_linear, second.plate_linear)
    assert np.array_equal(first.cutouts[0].alpha, second.cutouts[0].alpha)
    assert np.array_equal(first.cutouts[0].colour_linear, second.cutouts[0].colour_linear)
