"""Maps of surfaces brought to another size: exact inside a surface, nothing in between at an edge."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mattingmfif.pixels.surfaces import enlarged_surfaces, sampled_at


def middles(count, wanted):
    """Where the wanted pixels' middles lie, in source pixels."""
    return (np.arange(wanted) + 0.5) * count / wanted - 0.5


@pytest.mark.parametrize("size", [(90, 161), (40, 60), (57, 60)])
def test_a_slanted_plane_stays_that_plane(size):
    y, x = np.mgrid[:19, :20].astype(np.float32)
    values = 40 + 0.3 * y + 0.2 * x  # neighbours differ by less than the step between surfaces
    found, known = enlarged_surfaces(values.astype(np.float32), np.ones(values.shape, bool), *size)
    rows, columns = (np.clip(middles(n, m), 0, n - 1) for n, m in zip(values.shape, size, strict=True))
    np.testing.assert_allclose(found, 40 + 0.3 * rows[:, None] + 0.2 * columns[None], rtol=1e-5)
    assert known.all()


def test_two_surfaces_stay_two_and_their_outline_stays_where_it_is():
    small = np.full((48, 64), 0.25, np.float32)
    rows, columns = np.mgrid[:48, :64]
    small[np.hypot(columns - 32, rows - 24) < 15.5] = 1.0
    large, _ = enlarged_surfaces(small, np.ones(small.shape, bool), 480, 640)
    assert set(np.unique(large)) == {np.float32(0.25), np.float32(1.0)}
    y, x = np.mgrid[:480, :640]
    away = np.hypot((x + 0.5) / 10 - 32.5, (y + 0.5) / 10 - 24.5)
    assert (large[away < 14] == 1).all()
    assert (large[away > 17] == 0.25).all()
    # nearer to the disc than the squares of the nearest value are
    nearest = cv2.resize(small, (640, 480), interpolation=cv2.INTER_NEAREST)
    wrong = [int(((m == 1) != (away < 15.5)).sum()) for m in (large, nearest)]
    assert wrong[0] < 0.8 * wrong[1], wrong
    mixed = cv2.resize(small, (640, 480), interpolation=cv2.INTER_LINEAR)
    assert len(np.unique(mixed)) > 10  # what must not happen, by the usual way


def test_each_side_of_an_edge_keeps_its_own_slope():
    x = np.arange(40, dtype=np.float32)
    row = np.where(x < 20, 10 + 0.1 * x, 2 + 0.1 * x).astype(np.float32)
    large, _ = enlarged_surfaces(np.tile(row, (8, 1)), np.ones((8, 40), bool), 80, 400)
    at = middles(40, 400)
    left, right = at < 19, at > 20
    np.testing.assert_allclose(large[:, left], np.tile(10 + 0.1 * np.clip(at[left], 0, None), (80, 1)), atol=1e-4)
    np.testing.assert_allclose(large[:, right], np.tile(2 + 0.1 * np.clip(at[right], 0, 39), (80, 1)), atol=1e-4)
    assert not ((large > 6) & (large < 10)).any()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
def test_no_value_comes_from_nowhere_and_unknown_ones_count_for_nothing(height, width, new_height, new_width, seed):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 1, (height, width)).astype(np.float32)
    known = rng.random((height, width)) > 0.4
    found, there = enlarged_surfaces(np.where(known, values, np.float32(1e30)), known, new_height, new_width)
    rows = np.clip(np.rint(middles(height, new_height)), 0, height - 1).astype(int)
    columns = np.clip(np.rint(middles(width, new_width)), 0, width - 1).astype(int)
    if new_height % 2 and new_width % 2:  # without ties between two nearest values
        tie_free = np.ix_(
            np.abs(middles(height, new_height) % 1 - 0.5) > 1e-6, np.abs(middles(width, new_width) % 1 - 0.5) > 1e-6
        )
        np.testing.assert_array_equal(there[tie_free], known[np.ix_(rows, columns)][tie_free])
    if known.any():
        inside = found[there]
        assert ((inside >= values[known].min() - 1e-6) & (inside <= values[known].max() + 1e-6)).all()
    assert np.isfinite(found).all()


def test_reducing_takes_single_values():
    values = np.random.default_rng(0).random((12, 18))
    assert set(sampled_at(values, 5, 7).ravel()) <= set(values.ravel())
