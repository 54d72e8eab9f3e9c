import numpy as np
import pytest

from mattingmfif.errors import REASONS, Refused
from mattingmfif.matting import MattingSettings, UserInput, estimate_layers, find_subjects
from mattingmfif.matting.classical import iou
from mattingmfif.matting.trimap import UNKNOWN


def _labels(shape, **regions):
    labels = np.full(shape, UNKNOWN, np.int16)
    for name, window in regions.items():
        labels[window] = int(name[1:])
    return labels


def test_a_given_alpha_is_taken_as_it_is(composed, srgb):
    photo, alpha, _, _ = composed()
    subjects = find_subjects(srgb(photo), user=UserInput(alphas=(alpha,)))
    assert subjects.are_alphas
    assert np.array_equal(subjects.masks[0], alpha)
    assert subjects.segmenter == "given"


def test_a_given_mask_is_refined_by_matting(composed, srgb):
    photo, alpha, _, _ = composed(soft_px=3.0)
    subjects = find_subjects(srgb(photo), user=UserInput(masks=(alpha > 0.5,)))
    found = estimate_layers(photo, subjects).cutouts[0].alpha
    assert np.abs(found - alpha).sum() < 0.6 * np.abs((alpha > 0.5) - alpha).sum()


def test_a_given_trimap_is_solved_inside_its_own_band_only(composed, srgb, as_trimap):
    photo, alpha, _, _ = composed()
    trimap = as_trimap(alpha)
    labels = np.where(trimap == 0.5, UNKNOWN, trimap).astype(np.int16)
    subjects = find_subjects(srgb(photo), user=UserInput(labels=labels))
    found = estimate_layers(photo, subjects).cutouts[0].alpha
    assert np.array_equal(found[trimap != 0.5], trimap[trimap != 0.5])
    assert np.abs(found - alpha).mean() < 0.01


def test_a_box_is_enough_to_find_what_is_in_it(composed, srgb):
    photo, alpha, _, _ = composed()
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    box = (int(columns[0]) - 4, int(rows[0]) - 4, int(columns[-1]) + 5, int(rows[-1]) + 5)
    subjects = find_subjects(srgb(photo), user=UserInput(boxes=(box,)))
    assert iou(np.asarray(subjects.masks[0]), alpha > 0.5) > 0.9


def test_a_few_strokes_are_enough_for_two_subjects(srgb):
    rng = np.random.default_rng(0)
    photo = np.full((120, 180, 3), 0.2, np.float32)
    photo[30:90, 20:70] = [0.8, 0.2, 0.1]
    photo[30:90, 110:160] = [0.1, 0.7, 0.2]
    photo = np.clip(photo + rng.standard_normal(photo.shape) * 0.01, 0, 1).astype(np.float32)
    scribbles = _labels((120, 180), _1=np.s_[55:60, 30:60], _2=np.s_[55:60, 120:150], _0=np.s_[5:8, 10:170])
    subjects = find_subjects(photo, user=UserInput(scribbles=scribbles))
    truth = np.zeros((2, 120, 180), bool)
    truth[0, 30:90, 20:70] = truth[1, 30:90, 110:160] = True
    assert iou(np.asarray(subjects.masks[0]), truth[0]) > 0.9
    assert iou(np.asarray(subjects.masks[1]), truth[1]) > 0.9


def _matte(kind):
    matte = np.zeros((60, 80), np.float32)
    if kind == "full-matte":
        matte[:] = 1
    if kind == "inverted-matte":
        matte[:] = 1
        matte[20:40, 30:50] = 0
    if kind == "touches-all-borders":
        matte[:] = 1
        for corner in (np.s_[:14, :14], np.s_[:14, -14:], np.s_[-14:, :14], np.s_[-14:, -14:]):
            matte[corner] = 0
    if kind == "matte-unreadable":
        matte[20:40, 30:50] = 1
        matte[3, 3] = np.nan
    return matte


@pytest.mark.parametrize(
    "reason", ["empty-matte", "full-matte", "inverted-matte", "touches-all-borders", "matte-unreadable"]
)
@pytest.mark.parametrize("form", ["alphas", "masks"])
def test_mattes_that_would_poison_a_sample_are_refused_with_their_reason(reason, form):
    matte = _matte(reason)
    if form == "masks" and reason != "matte-unreadable":  # booleans cannot hold NaN: that mask stays numbers
        matte = matte > 0.5
    with pytest.raises(Refused) as caught:
        find_subjects(np.full((60, 80, 3), 0.4, np.float32), user=UserInput(**{form: (matte,)}))
    assert caught.value.reason == reason
    assert caught.value.reason in REASONS


def test_strokes_on_the_background_alone_mark_no_subject():
    with pytest.raises(Refused) as caught:
        find_subjects(
            np.full((60, 80, 3), 0.4, np.float32), user=UserInput(scribbles=_labels((60, 80), _0=np.s_[3:5, 3:70]))
        )
    assert caught.value.reason == "empty-matte"


def test_a_box_over_the_whole_photo_says_nothing():
    with pytest.raises(Refused) as caught:
        find_subjects(np.full((60, 80, 3), 0.4, np.float32), user=UserInput(boxes=((0, 0, 80, 60),)))
    assert caught.value.reason == "full-matte"


def test_no_more_subjects_are_taken_than_allowed(composed, srgb):
    photo = composed()[0]
    alphas = []
    for k in range(4):
        alpha = np.zeros(photo.shape[:2], np.float32)
        alpha[40:60, 10 + 45 * k : 40 + 45 * k] = 1
        alphas.append(alpha)
    subjects = find_subjects(srgb(photo), MattingSettings(max_subjects=2), UserInput(alphas=tuple(alphas)))
    assert len(subjects.masks) == 2
    assert subjects.left_out == 2
