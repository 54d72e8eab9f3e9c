import numpy as np
import pytest

from mattingmfif.matting.trimap import (
    UNKNOWN,
    distance_px,
    grow_unsettled,
    labels_from_masks,
    labels_from_trimap,
    scaled_px,
)


def _disc(height=101, width=121, radius=30, centre=(50, 60)):
    y, x = np.mgrid[:height, :width]
    return np.hypot(y - centre[0], x - centre[1]) <= radius


def test_the_band_has_its_widths_in_every_direction():
    mask = _disc()
    labels = labels_from_masks([mask], inner_px=5, outer_px=9)
    y, x = np.mgrid[:101, :121]
    distance = np.hypot(y - 50, x - 60)
    assert (labels[distance < 30 - 5 - 2] == 1).all()
    assert (labels[distance > 30 + 9 + 2] == 0).all()
    assert (labels[(distance > 27) & (distance < 37)] == UNKNOWN).all()


def test_a_thin_subject_keeps_its_ridge_known():
    mask = np.zeros((60, 200), bool)
    mask[28:31] = True
    labels = labels_from_masks([mask], inner_px=16, outer_px=10)
    assert (labels[29] == 1).all()


def test_where_masks_overlap_the_earlier_one_has_it():
    first, second = _disc(centre=(50, 40)), _disc(centre=(50, 70))
    labels = labels_from_masks([first, second], 3, 3)
    assert labels[50, 50] == 1
    assert labels[50, 90] == 2
    assert set(np.unique(labels)) == {UNKNOWN, 0, 1, 2}


def test_a_subject_that_fills_the_picture_leaves_no_background():
    labels = labels_from_masks([np.ones((20, 20), bool)], 4, 4)
    assert (labels == 1).all()


def test_distances_are_those_of_pythagoras_to_a_few_per_cent():
    mask = np.zeros((41, 61), bool)
    mask[20, 30] = True
    y, x = np.mgrid[:41, :61]
    assert distance_px(mask) == pytest.approx(np.hypot(y - 20, x - 30), rel=0.03, abs=0.05)
    assert (distance_px(np.zeros((5, 5), bool)) > 1e6).all()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16])
def test_trimaps_of_all_kinds_of_numbers_mean_the_same(dtype):
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    labels = labels_from_trimap((np.array([[0, 0.5, 1.0]]) * top).astype(dtype))
    assert labels.tolist() == [[0, UNKNOWN, 1]]


def test_the_band_grows_where_the_solution_is_not_settled_and_only_there():
    mask = _disc()
    labels = labels_from_masks([mask], 4, 4)
    settled = _disc(radius=30).astype(np.float32)
    same, count = grow_unsettled(labels, [settled], 10)
    assert count == 0
    assert same is labels
    hairy = settled.copy()
    hairy[:50] = np.maximum(hairy[:50], (_disc(radius=36)[:50] * 0.5).astype(np.float32))
    grown, count = grow_unsettled(labels, [hairy], 10)
    assert count > 0
    assert (grown == UNKNOWN)[:45].sum() > (labels == UNKNOWN)[:45].sum()
    assert np.array_equal(grown[70:], labels[70:])


def test_growing_never_swallows_a_known_region_whole():
    labels = np.full((40, 40), UNKNOWN, np.int16)
    labels[20, 20] = 1
    labels[0] = 0
    grown, _ = grow_unsettled(labels, [np.full((40, 40), 0.5, np.float32)], 100)
    assert {0, 1} <= set(np.unique(grown))


def test_lengths_follow_the_size_of_the_photo():
    assert scaled_px(32, (2160, 3840)) == 32
    assert scaled_px(32, (960, 540)) == 8
    assert scaled_px(1, (10, 10)) == 1
