import numpy as np
import pytest

from mattingmfif.pixels.fill import push_pull


def test_a_constant_stays_constant_whatever_is_missing():
    weight = (np.random.default_rng(0).random((37, 53)) > 0.8).astype(np.float32)
    filled = push_pull(np.full((37, 53, 3), 0.3, np.float32), weight)
    assert np.abs(filled - 0.3).max() < 1e-6


def test_known_pixels_keep_their_value_exactly():
    rng = np.random.default_rng(1)
    image = rng.random((40, 61, 3), np.float32)
    weight = (rng.random((40, 61)) > 0.5).astype(np.float32)
    assert np.array_equal(push_pull(image, weight)[weight == 1], image[weight == 1])


def test_what_lies_under_weight_zero_is_never_looked_at():
    rng = np.random.default_rng(2)
    image = rng.random((33, 47), np.float32)
    weight = np.ones((33, 47), np.float32)
    weight[10:20, 12:30] = 0
    poisoned = image.copy()
    poisoned[weight == 0] = np.nan
    assert np.array_equal(push_pull(image, weight), push_pull(poisoned, weight))
    assert np.isfinite(push_pull(poisoned, weight)).all()


def test_the_fill_stays_within_the_range_of_the_known_values():
    rng = np.random.default_rng(3)
    weight = (rng.random((64, 64)) > 0.95).astype(np.float32)
    image = rng.random((64, 64), np.float32)
    filled = push_pull(image, weight)
    known = image[weight > 0]
    assert filled.min() >= known.min() - 1e-6
    assert filled.max() <= known.max() + 1e-6


def test_near_values_count_more_than_far_ones():
    image = np.zeros((32, 96), np.float32)
    image[:, 64:] = 1
    weight = np.ones_like(image)
    weight[:, 32:64] = 0
    filled = push_pull(image, weight)
    assert filled[:, 34].mean() < 0.35
    assert filled[:, 61].mean() > 0.65


def test_a_mirrored_hole_is_filled_with_the_mirrored_picture():
    rng = np.random.default_rng(4)
    image = rng.random((32, 64), np.float32)  # even sizes: the pyramid itself is then symmetric
    weight = (rng.random((32, 64)) > 0.4).astype(np.float32)
    mirrored = push_pull(image[:, ::-1].copy(), weight[:, ::-1].copy())[:, ::-1]
    assert np.allclose(push_pull(image, weight), mirrored, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (5, 7)])
def test_any_size_works(shape):
    image = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    weight = np.zeros(shape, np.float32)
    weight.flat[0] = 1
    assert np.allclose(push_pull(image, weight), image.flat[0])


def test_nothing_known_gives_zero():
    assert not push_pull(np.full((8, 8), np.nan, np.float32), np.zeros((8, 8), np.float32)).any()
