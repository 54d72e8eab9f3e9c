import cv2
import numpy as np
import pytest

from mattingmfif.pixels.deblock import without_grid
from mattingmfif.pixels.resample import reduce_to
from mattingmfif.pixels.traces import grid_phases, grid_strength, periodicity, tile_noise


def picture(height=480, width=640, seed=0, noise=1.0):
    """Codes of clouds at several scales with a little noise: smooth places, texture and an edge."""
    rng = np.random.default_rng(seed)
    out = np.zeros((height, width), np.float32)
    for cells in (3, 8, 20, 60, 160):
        small = rng.normal(0, 40 / np.sqrt(cells), (cells, cells)).astype(np.float32)
        out += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    out += 110 + 60 * (np.hypot(*np.mgrid[-height // 2 : height - height // 2, -width // 2 : width - width // 2]) < 150)
    return np.clip(np.rint(out + rng.normal(0, noise, out.shape)), 0, 255).astype(np.uint8)


def as_jpeg(codes, quality):
    return cv2.imdecode(cv2.imencode(".jpg", codes, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_UNCHANGED)


def peak(plane):
    frequency, amplitude = periodicity(plane.astype(np.float32))
    best = int(np.argmax(amplitude))
    return float(amplitude[best]), float(1 / frequency[best])


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_noise_by_tile_is_the_noise_that_was_added(sigma):
    ramp = np.mgrid[:128, :160].sum(axis=0).astype(np.float32)
    noisy = ramp + np.random.default_rng(0).normal(0, sigma, ramp.shape).astype(np.float32)
    assert tile_noise(noisy).mean() == pytest.approx(sigma, rel=0.03)
    assert tile_noise(ramp)[1:-1, 1:-1].max() < 1e-3


def test_a_jpeg_grid_is_seen_with_its_place_and_nothing_else_is():
    clean = picture()
    assert grid_strength(clean.astype(np.float32)) < 0.03
    blocky = as_jpeg(clean, 80).astype(np.float32)
    (row, by_row), (column, by_column) = grid_phases(blocky)
    assert (row, column) == (7, 7)
    assert min(by_row, by_column) > 0.3
    (row, _), (column, _) = grid_phases(blocky[3:, 6:])
    assert (row, column) == (4, 1)


def test_a_third_of_the_lines_shows_the_same_grid():
    blocky = as_jpeg(picture(960, 1280), 80).astype(np.float32)[2:, 5:]
    whole, part = grid_phases(blocky), grid_phases(blocky, share=3)
    for (place, strength), (same, estimate) in zip(whole, part, strict=True):
        assert same == place
        assert estimate == pytest.approx(strength, rel=0.15)


def test_a_mask_chooses_where_to_look_and_too_little_says_nothing():
    half = picture()
    mask = np.zeros(half.shape, bool)
    mask[:240] = True
    half[:240] = as_jpeg(half, 80)[:240]
    plane = half.astype(np.float32)
    assert grid_strength(plane, mask) > 0.3
    assert grid_strength(plane, ~mask) < 0.05
    assert np.isnan(grid_strength(plane, np.zeros_like(mask)))
    assert np.isnan(grid_strength(plane[:5, :5]))
    assert periodicity(plane[:5, :5]) is None


def test_enlarging_leaves_a_period_and_a_photograph_has_none():
    clean = picture(noise=3.0)
    assert peak(clean)[0] < 0.05
    large = cv2.resize(clean, None, fx=1.25, fy=1.25, interpolation=cv2.INTER_LINEAR)
    amplitude, period = peak(large)
    assert amplitude > 0.2
    assert any(abs(period - 5 / k) < 0.02 for k in (1, 2))  # five new pixels for four old ones


def test_reducing_by_little_leaves_no_period_where_area_averages_do():
    clean = picture(600, 800, noise=4.0)
    size = (round(800 / 1.1), round(600 / 1.1))
    averaged = peak(np.rint(cv2.resize(clean.astype(np.float32), size, interpolation=cv2.INTER_AREA)))[0]
    reduced = reduce_to(clean, size[1], size[0])
    assert reduced.shape == size[::-1]
    assert averaged > 0.2
    assert peak(np.rint(reduced))[0] < 0.6 * averaged  # white noise is the worst case; photographs have less
    assert reduced.mean() == pytest.approx(clean.mean(), rel=1e-3)


def test_reducing_keeps_a_constant_and_makes_nothing_negative():
    for height, width in ((90, 119), (60, 80), (30, 40), (1, 1)):
        assert reduce_to(np.full((100, 120, 3), 0.25, np.float32), height, width) == pytest.approx(0.25, abs=1e-6)
    lines = np.zeros((100, 120), np.float32)
    lines[::9] = 1
    assert reduce_to(lines, 90, 108).min() >= 0
    with pytest.raises(ValueError, match="cannot enlarge"):
        reduce_to(lines, 101, 120)


@pytest.mark.parametrize("crop", [(0, 0), (3, 5)])
def test_the_grid_is_taken_out_without_moving_away_from_the_original(crop):
    original = np.dstack([picture(seed=k) for k in range(3)])
    blocky = np.ascontiguousarray(as_jpeg(original, 75)[crop[0] :, crop[1] :])
    original = original[crop[0] :, crop[1] :]
    cleaned = without_grid(blocky)
    assert cleaned.dtype == np.uint16
    for channel in range(3):
        assert grid_strength(blocky[..., channel].astype(np.float32)) > 0.3
        assert grid_strength(cleaned[..., channel].astype(np.float32) / 257) < 0.1
    before = np.abs(blocky.astype(np.float32) - original).mean()
    after = np.abs(cleaned.astype(np.float32) / 257 - original).mean()
    assert after < before


def test_a_picture_without_a_grid_comes_back_as_it_is():
    for codes in (picture(), np.dstack([picture()] * 3), np.zeros((3, 400), np.uint8), picture().astype(np.uint16) * 9):
        assert without_grid(codes) is codes
