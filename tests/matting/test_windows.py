import numpy as np

from mattingmfif.matting.windows import disjoint, is_empty, overlaps, whole_cells, window_of


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


def test_whole_cells_begin_and_end_at_multiples_or_where_the_picture_ends():
    assert whole_cells((slice(4, 8), slice(7, 20)), 3, (9, 20)) == (slice(3, 9), slice(6, 20))
    assert whole_cells((slice(3, 6), slice(0, 3)), 3, (9, 20)) == (slice(3, 6), slice(0, 3))
    assert is_empty(whole_cells((slice(0, 0), slice(0, 0)), 3, (9, 20)))


def test_overlaps_hold_the_pixels_of_two_or_more_rectangles():
    rng = np.random.default_rng(2)
    for _ in range(50):
        corners = rng.integers(0, 12, (3, 2, 2))
        windows = [tuple(slice(int(a.min()), int(a.max())) for a in corner.T) for corner in corners]
        count = np.zeros((12, 12), int)
        for window in windows:
            count[window] += 1
        held = np.zeros((12, 12), int)
        for window in overlaps(windows):
            held[window] += 1
        assert held.max(initial=0) <= 1
        assert (held[count > 1] == 1).all()
