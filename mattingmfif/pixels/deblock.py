"""Photographs without the grid that JPEG compression left in them.

Blur takes the grid away, so in frames made from a blocky photograph a network could see where the grid is left instead
of what is in focus. Across the borders of the 8 x 8 blocks the jump (see `traces`) is larger than in the middle of the
blocks; locally, jumps are scaled down until both are alike, by ramps over the half blocks on either side. Edges of the
content, which jump everywhere, are left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.traces import grid_phases

#: a grid below this strength (`traces.grid_strength`) is left as it is
LEAST_STRENGTH = 0.04
_BLOCK_PX, _PASSES = 8, 3
#: codes: jumps above the first weigh no more in the mean, jumps above the second belong to the content
_CLIP_CODES, _CONTENT_CODES = 8.0, 16.0
#: pixels along a border, and borders, over which the jumps are compared
_WINDOW_PX, _WINDOW_BORDERS = 65, 9


def without_grid(codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`codes` `[H,W]` or `[H,W,3]` (uint8 or uint16) as uint16 without a JPEG grid; the same array where there is none.

    Each channel is corrected by itself: the grid of the colours is coarser than that of the brightness.
    """
    factor = np.float32(255 / np.iinfo(codes.dtype).max)
    planes = codes[..., None] if codes.ndim == 2 else codes
    out: npt.NDArray[np.uint16] | None = None
    for channel in range(planes.shape[2]):
        plane = planes[..., channel] * factor
        phases = grid_phases(plane)
        if phases is None or min(strength for _, strength in phases) < LEAST_STRENGTH:
            continue
        (row, _), (column, _) = phases
        _even_out_columns(plane, column)
        _even_out_rows(plane, row)
        if out is None:
            out = planes.astype(np.uint16) * np.uint16(65535 // np.iinfo(codes.dtype).max)
        plane *= np.float32(257)
        np.rint(plane, out=plane)
        out[..., channel] = np.clip(plane, 0, 65535, out=plane)
    return codes if out is None else out.reshape(codes.shape)


def _blocks(length: int, phase: int) -> tuple[int, int]:
    """(first pixel, count) of the stretches of 8 px that have a border between x = phase modulo 8 and x + 1 amidst."""
    start = (phase - _BLOCK_PX // 2 + 1) % _BLOCK_PX
    return start, max(0, length - start) // _BLOCK_PX


def _even_out_columns(plane: Float32, phase: int) -> None:
    start, count = _blocks(plane.shape[1], phase)
    if not count:
        return
    part = plane[:, start : start + count * _BLOCK_PX].reshape(plane.shape[0], count, _BLOCK_PX)
    pixels = np.ascontiguousarray(part.transpose(2, 0, 1))  # [8, H, count]: each slice lies together in memory
    _even_out(list(pixels), (_WINDOW_BORDERS, _WINDOW_PX))
    plane[:, start : start + count * _BLOCK_PX] = pixels.transpose(1, 2, 0).reshape(plane.shape[0], -1)


def _even_out_rows(plane: Float32, phase: int) -> None:
    start, count = _blocks(plane.shape[0], phase)
    rows = plane[start : start + count * _BLOCK_PX]
    if count:
        _even_out([rows[k::_BLOCK_PX] for k in range(_BLOCK_PX)], (_WINDOW_PX, _WINDOW_BORDERS))


def _even_out(pixels: list[Float32], window: tuple[int, int]) -> None:
    """Of stretches of 8 pixels (a plane for each place in them), scale the jump amidst to that of the quarters."""

    def jump_at(k: int) -> Float32:
        return np.asarray(
            (pixels[k + 1] - pixels[k]) * np.float32(1.5) - (pixels[k + 2] - pixels[k - 1]) * np.float32(0.5)
        )

    def clipped(jump: Float32) -> Float32:
        return np.minimum(np.abs(jump), np.float32(_CLIP_CODES))

    def local_mean(plane: Float32) -> Float32:
        return np.asarray(cv2.blur(plane, window, borderType=cv2.BORDER_REFLECT_101), np.float32)

    elsewhere = local_mean(clipped(jump_at(1)) + clipped(jump_at(5))) * np.float32(0.5)
    for _ in range(_PASSES):
        change = _excess(jump_at(3), elsewhere, local_mean)
        for distance in range(_BLOCK_PX // 2):
            share = np.float32((2 * (_BLOCK_PX // 2 - distance) - 1) / (2 * _BLOCK_PX))
            pixels[3 - distance] += change * share
            pixels[4 + distance] -= change * share
    for k in (2, 4):  # the steps beside the border, which make up for it
        change = _excess(jump_at(k), elsewhere, local_mean)
        for left, right, share in ((k, k + 1, np.float32(0.25)), (k - 1, k + 2, np.float32(0.1))):
            pixels[left] += change * share
            pixels[right] -= change * share


def _excess(jump: Float32, elsewhere: Float32, local_mean: Callable[[Float32], Float32]) -> Float32:
    """What has to be taken from the jumps so that they are as large as `elsewhere`, in the local mean."""
    size = np.abs(jump)
    too_much = 1 - elsewhere / np.maximum(local_mean(np.minimum(size, np.float32(_CLIP_CODES))), np.float32(1e-3))
    return np.asarray(jump * (np.clip(too_much, 0, 1) * (size < _CONTENT_CODES)), np.float32)
