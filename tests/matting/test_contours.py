import numpy as np
import pytest

from mattingmfif.matting.contours import border_shares, contour_score, lab_of, pair_contrast, side_separation


def _photo_and_mask():
    photo = np.full((120, 160, 3), 0.3, np.float32)
    mask = np.zeros((120, 160), bool)
    mask[30:90, 40:110] = True
    photo[mask] = [0.8, 0.5, 0.2]
    return photo, mask


def test_an_outline_on_an_edge_scores_one_and_a_shifted_one_does_not():
    photo, mask = _photo_and_mask()
    contrast = pair_contrast(lab_of(photo))
    assert contour_score(mask, contrast) > 0.97
    assert contour_score(np.roll(mask, 15, axis=(0, 1)), contrast) < 0.3


def test_a_mask_and_its_complement_score_alike():
    photo, mask = _photo_and_mask()
    contrast = pair_contrast(lab_of(photo))
    assert contour_score(mask, contrast) == contour_score(~mask, contrast)
    assert side_separation(mask, lab_of(photo)) == pytest.approx(side_separation(~mask, lab_of(photo)), abs=0.03)


def test_any_outline_in_gravel_lies_on_edges_but_separates_nothing():
    rng = np.random.default_rng(0)
    gravel = np.repeat(rng.random((120, 160, 1), np.float32), 3, axis=2)
    _, mask = _photo_and_mask()
    lab = lab_of(gravel)
    assert contour_score(mask, pair_contrast(lab)) > 0.5
    assert side_separation(mask, lab) < 0.1
    photo, _ = _photo_and_mask()
    assert side_separation(mask, lab_of(np.clip(photo + (gravel - 0.5) * 0.2, 0, 1))) > 0.8


def test_a_picture_without_an_outline_scores_zero():
    lab = lab_of(np.random.default_rng(1).random((20, 30, 3), np.float32))
    for mask in (np.zeros((20, 30), bool), np.ones((20, 30), bool)):
        assert contour_score(mask, pair_contrast(lab)) == 0
        assert side_separation(mask, lab) == 0


def test_borders_are_counted_top_bottom_left_right():
    mask = np.zeros((10, 20), bool)
    mask[0, :10] = True
    mask[:, -1] = True
    assert border_shares(mask) == pytest.approx((0.55, 0.05, 0.1, 1.0))
