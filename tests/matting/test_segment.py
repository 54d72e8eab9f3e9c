from pathlib import Path

import numpy as np
import pytest

from mattingmfif.errors import REASONS, Refused
from mattingmfif.matting import MattingSettings, choose_segmenter, find_subjects
from mattingmfif.matting.classical import iou, largest_parts, refine_by_colour
from mattingmfif.matting.subjects import enlarged_mask
from mattingmfif.photo.images import open_photo
from mattingmfif.pixels.colour import linear_to_srgb

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "photos"
CLASSICAL = MattingSettings(segmenter="classical")


def _discs(*centres, radius=30, shape=(180, 240)):
    rng = np.random.default_rng(0)
    photo = np.full((*shape, 3), 0.3, np.float32) + rng.standard_normal((*shape, 3)).astype(np.float32) * 0.01
    y, x = np.mgrid[: shape[0], : shape[1]]
    masks = []
    for k, (cy, cx) in enumerate(centres):
        mask = np.hypot(y - cy, x - cx) < radius
        photo[mask] = np.array([[0.8, 0.3, 0.2], [0.2, 0.7, 0.3], [0.9, 0.8, 0.3]])[k % 3]
        masks.append(mask)
    return np.clip(photo, 0, 1), masks


def test_a_subject_is_found_without_weights_at_any_size():
    for size in (1, 3):
        photo, (mask,) = _discs((90 * size, 120 * size), radius=35 * size, shape=(180 * size, 240 * size))
        subjects = find_subjects(photo, CLASSICAL)
        assert subjects.segmenter == "classical"
        assert iou(np.asarray(subjects.masks[0]), mask) > 0.93
        assert subjects.scores[0]["contour"] > 0.9


def test_several_equal_subjects_are_found_apart_and_no_more_than_allowed():
    photo, masks = _discs((90, 50), (90, 120), (90, 190))
    subjects = find_subjects(photo, CLASSICAL)
    assert len(subjects.masks) == 3
    for mask in masks:
        assert max(iou(np.asarray(found), mask) for found in subjects.masks) > 0.9
    assert not (np.asarray(subjects.masks[0]) & np.asarray(subjects.masks[1])).any()
    few = find_subjects(photo, MattingSettings(segmenter="classical", max_subjects=2))
    assert len(few.masks) == 2


@pytest.mark.parametrize(
    "photo",
    [
        np.full((120, 160, 3), 0.5, np.float32),
        np.zeros((120, 160, 3), np.float32),
        np.ones((1, 1, 3), np.float32),
        np.random.default_rng(0).random((1, 600, 3), np.float32),
        np.random.default_rng(0).random((30, 600, 3), np.float32),
        np.random.default_rng(0).random((120, 160, 3), np.float32),
    ],
    ids=["grey", "black", "one-pixel", "one-row", "panorama", "noise"],
)
def test_a_photo_without_a_subject_is_refused_with_the_reason(photo):
    with pytest.raises(Refused) as caught:
        find_subjects(photo, CLASSICAL)
    assert caught.value.reason == "no-subject"
    assert caught.value.reason in REASONS


def test_a_frame_that_touches_all_borders_is_no_subject():
    photo, _ = _discs()
    photo[40:140, 50:190] = [0.9, 0.7, 0.1]
    frame = np.ones(photo.shape[:2], bool)
    frame[40:140, 50:190] = False
    for found in find_subjects(photo, CLASSICAL).masks:
        assert iou(np.asarray(found), frame) < 0.5


def test_given_without_a_matte_is_refused():
    with pytest.raises(Refused) as caught:
        find_subjects(np.full((40, 40, 3), 0.5, np.float32), MattingSettings(segmenter="given"))
    assert caught.value.reason == "no-subject"


def test_auto_is_decided_with_a_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    monkeypatch.delenv("REMBG_HOME", raising=False)
    segmenter, why = choose_segmenter(MattingSettings(), any_given=False)
    assert segmenter == "classical"
    assert "weights" in why
    assert choose_segmenter(MattingSettings(segmenter="given"), any_given=False)[0] == "given"


def test_refining_moves_a_sloppy_outline_onto_the_edge():
    photo, (mask,) = _discs((90, 120), radius=40)
    sloppy = np.roll(mask, 3, axis=1)
    refined = refine_by_colour(photo, sloppy)
    assert iou(refined, mask) > 0.97 > iou(sloppy, mask)


def test_small_helpers_on_masks():
    mask = np.zeros((40, 40), bool)
    mask[5:25, 5:25] = True
    mask[35, 35] = True
    assert not largest_parts(mask)[35, 35]
    assert largest_parts(mask)[10, 10]
    assert enlarged_mask(mask, (80, 80)).mean() == pytest.approx(mask.mean(), rel=0.05)
    empty = np.zeros((4, 4), bool)
    assert iou(empty, empty) == 1.0


def test_nothing_certain_is_claimed_of_gravel(sample_photos):
    gravel = linear_to_srgb(open_photo(sample_photos, "gravel.png").linear)
    with pytest.raises(Refused):
        find_subjects(gravel, CLASSICAL)


@pytest.mark.skipif(not SHARED.is_dir(), reason="reads ../shared/data/photos/the-spices-of-life.jpg, too large to ship")
def test_bowls_are_found_in_the_spice_market():
    photo = open_photo(SHARED, "the-spices-of-life.jpg")
    subjects = find_subjects(linear_to_srgb(photo.reduced(768)), CLASSICAL)
    assert all(score["separation"] > 0.45 for score in subjects.scores)
