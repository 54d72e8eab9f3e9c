import cv2
import numpy as np
import pytest

from mattingmfif.pixels.grain import denoise, grain_sigma


def _grey(sigma_codes, height=256, width=320, seed=0):
    noise = np.random.default_rng(seed).standard_normal((height, width, 3)) * sigma_codes / 255
    return (0.4 + noise).astype(np.float32)


@pytest.mark.parametrize("sigma_codes", [1.0, 3.0, 6.0])
def test_the_grain_of_a_flat_picture_is_measured(sigma_codes):
    assert grain_sigma(_grey(sigma_codes)) == pytest.approx(sigma_codes, rel=0.15)


def test_texture_in_a_part_of_the_picture_is_no_grain():
    photo = _grey(2.0)
    photo[:, :200] = np.random.default_rng(1).random((256, 200, 1), np.float32)
    assert grain_sigma(photo) == pytest.approx(2.0, rel=0.2)


def test_a_ramp_has_no_grain_and_a_clipped_picture_nothing_to_measure():
    ramp = np.repeat(np.linspace(0.1, 0.9, 320, dtype=np.float32)[None, :, None], 256, axis=0).repeat(3, axis=2)
    assert grain_sigma(ramp) < 0.05
    assert grain_sigma(np.ones((256, 320, 3), np.float32)) == 0.0
    assert grain_sigma(np.ones((5, 5, 3), np.float32)) == 0.0


def test_denoising_takes_grain_and_keeps_an_edge():
    clean = np.full((128, 128, 3), 0.3, np.float32)
    clean[:, 64:] = 0.7
    noisy = clean + _grey(4.0, 128, 128, seed=3) - 0.4
    better = denoise(noisy, 4.0)
    assert np.abs(better - clean)[:, :60].mean() < 0.5 * np.abs(noisy - clean)[:, :60].mean()
    step = better[:, 66].mean() - better[:, 61].mean()
    assert step == pytest.approx(0.4, abs=0.02)


def test_a_picture_without_grain_is_left_alone():
    photo = cv2.GaussianBlur(np.random.default_rng(4).random((64, 64, 3), np.float32), (0, 0), 2)
    assert denoise(photo, 0.0) is photo
