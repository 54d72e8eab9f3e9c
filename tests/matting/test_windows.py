import numpy as np

from mattingmfif.matting.windows import disjoint, window_of


def test_a_window_surrounds_the_mask_with_its_margin_inside_the_picture():
    mask = np.zeros((20, 30), bool)
    mask[5:8, 2:11] = True
    assert window_of(mask, 4) == (slice(1, 12), slice(0, 15))
    assert window_of(mask, 4, multiple=3)[0].start == 0
    assert not mask[window_of(np.zeros((20, 30), bool), 5)].size


def test_overlapping_windows_merge_until_none_overlap():
    windows = [
        (slice(0, 10), slice(0, 10)),
        (slice(50, 60), slice(50, 60)),
        (slice(20, 30), slice(20, 30)),
        (slice(5, 25), slice(5, 25)),
        (slice(7, 7), slice(0, 5)),
    ]
    merged = disjoint(windows)
    assert sorted(merged, key=str) == sorted([(slice(0, 30), slice(0, 30)), (slice(50, 60), slice(50, 60))], key=str)
    covered = np.zeros((60, 60), int)
    for window in merged:
        covered[window] += 1
    assert covered.max() == 1
    assert all(covered[window].all() for window in windows)
