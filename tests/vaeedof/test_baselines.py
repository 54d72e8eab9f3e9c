"""Classical fusers: what each must give back, and the order in which they are known to stand on physical stacks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from mattingmfif.pixels.colour import decode_srgb, encode_srgb
from mattingmfif.vaeedof.baselines import (
    BASELINES,
    average,
    guided_filter_fusion,
    laplacian_pyramid,
    max_laplacian,
    select,
    selection_oracle,
)
from mattingmfif.vaeedof.metrics import psnr


def _disc_blur(image: np.ndarray, radius_px: float) -> np.ndarray:
    reach = int(np.ceil(radius_px)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius_px + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REPLICATE)


@pytest.fixture(scope="module")
def physical() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Two frames (near focus, far focus), the target, the boundary band: two photographs, a wavy disc as matte."""
    front = decode_srgb(np.ascontiguousarray(data.astronaut()[:384, :384]))
    back = decode_srgb(np.ascontiguousarray(data.coffee()[:384, 100:484]))
    y, x = np.mgrid[:384, :384]
    radius = 110 + 25 * np.sin(7 * np.arctan2(y - 190, x - 190))
    alpha = np.clip(radius - np.hypot(y - 190, x - 190) + 0.5, 0, 1).astype(np.float32)[..., None]
    wide = _disc_blur(alpha, 9.0)[..., None]
    near = front * alpha + _disc_blur(back, 9.0) * (1 - alpha)
    far = _disc_blur(front * alpha, 9.0) + back * (1 - wide)
    target = front * alpha + back * (1 - alpha)
    band = (wide[..., 0] > 0.02) & (wide[..., 0] < 0.98)
    return [encode_srgb(near), encode_srgb(far)], encode_srgb(target), band


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_equal_frames_come_back_and_keep_their_type(name: str, dtype: type) -> None:
    photo = data.coffee()[100:171, 50:147].astype(dtype) * (257 if dtype is np.uint16 else 1)
    for frames in ([photo], [photo, photo, photo]):
        fused = BASELINES[name](frames)
        assert fused.dtype == dtype
        # float32 rounding may move a 16-bit code
        assert np.abs(fused.astype(int) - photo.astype(int)).max() <= (0 if dtype is np.uint8 else 2)


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize("size", [(1, 1), (3, 17), (33, 8)])
def test_tiny_images_are_fused(name: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    frames = [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for _ in range(2)]
    assert BASELINES[name](frames).shape == (*size, 3)


def test_the_frames_order_matters_to_no_fuser_but_for_ties(physical: tuple) -> None:
    frames, _, _ = physical
    for fuse in (laplacian_pyramid, guided_filter_fusion, average):
        forth, back = fuse(frames).astype(int), fuse(frames[::-1]).astype(int)
        assert np.mean(np.abs(forth - back) > 1) < 0.002, fuse.__name__


def test_a_frame_sharp_everywhere_is_returned(physical: tuple) -> None:
    _, target, _ = physical
    soft = encode_srgb(_disc_blur(decode_srgb(target), 5.0))
    assert psnr(max_laplacian([soft, target]), target) > 45
    assert psnr(guided_filter_fusion([soft, target]), target) > 45
    assert psnr(laplacian_pyramid([soft, target]), target) > 34


def test_on_a_physical_stack_the_fusers_stand_as_is_known(physical: tuple) -> None:
    # known of the field: selection is nearly perfect outside the boundary band, where a pyramid leaves its halos
    frames, target, band = physical
    inside = {name: psnr(fuse(frames), target, band) for name, fuse in BASELINES.items()}
    outside = {name: psnr(fuse(frames), target, ~band) for name, fuse in BASELINES.items()}
    assert min(inside["laplacian-pyramid"], inside["max-laplacian"], inside["gff"]) > inside["average"] + 1
    assert outside["max-laplacian"] > outside["laplacian-pyramid"] + 5
    assert outside["gff"] > outside["laplacian-pyramid"] + 3
    assert outside["average"] < outside["laplacian-pyramid"]


def test_no_selection_beats_the_oracle(physical: tuple) -> None:
    frames, target, band = physical
    ceiling = selection_oracle(frames, target)
    for index in (np.zeros(target.shape[:2], int), np.ones(target.shape[:2], int)):
        assert psnr(ceiling, target, band) > psnr(select(frames, index), target, band)
    assert psnr(ceiling, target) > psnr(max_laplacian(frames), target)
    from_frames = (ceiling == frames[0]).all(-1) | (ceiling == frames[1]).all(-1)
    assert from_frames.all()


def test_the_average_is_the_mean_in_codes() -> None:
    frames = [np.full((4, 5, 3), value, np.uint8) for value in (10, 20, 60)]
    assert (average(frames) == 30).all()


def test_float_frames_are_refused() -> None:
    with pytest.raises(TypeError, match="uint8 or uint16"):
        average([np.zeros((8, 8, 3), np.float32)])
