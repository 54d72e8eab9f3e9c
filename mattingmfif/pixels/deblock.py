"""Photographs without the grid that JPEG compression left in them.

Blur takes the grid away, so in frames made from a blocky photograph a network could see where the grid is left instead
of what is in focus. Across the borders of the 8 x 8 blocks the jump (see `traces`) is larger than in the middle of the
blocks; locally, jumps are scaled down until both are alike, by ramps over the half blocks on either side. Edges of the
content, which jump everywhere, are left alone.
"""

from __future__ import annotations

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
#: of the lines, so many are looked at for a grid: one in
_LOOKED_AT = 3
#: pixels along a border, and borders, over which the jumps are compared
_WINDOW_PX, _WINDOW_BORDERS = 65, 9


def without_grid(codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`codes` `[H,W]` or `[H,W,3]` (uint8 or uint16) as uint16 without a JPEG grid; the same array where there is none.

    Each channel is corrected by itself: the grid of the colours is coarser than that of the brightness.
    """
    factor = np.float32(255 / np.iinfo(codes.dtype).max)
    planes = [codes] if codes.ndim == 2 else cv2.split(codes)
    out: list[npt.NDArray[np.uint16]] | None = None
    for channel, own in enumerate(planes):
        plane = own.astype(np.float32)
        plane *= factor
        phases = grid_phases(plane, share=_LOOKED_AT)
        if phases is None or min(strength for _, strength in phases) < LEAST_STRENGTH:
            continue
        (row, _), (column, _) = phases
        _even_out_columns(plane, column)
        _even_out_rows(plane, row)
        if out is None:
            out = [part.astype(np.uint16) * np.uint16(65535 // np.iinfo(codes.dtype).max) for part in planes]
        plane *= np.float32(257)
        np.rint(plane, out=plane)
        out[channel] = np.clip(plane, 0, 65535, out=plane).astype(np.uint16)
    if out is None:
        return codes
    return out[0] if codes.ndim == 2 else np.asarray(cv2.merge(out))


def _blocks(length: int, phase: int) -> tuple[int, int]:
    """(first pixel, count) of the stretches of 8 px that have a border between x = phase modulo 8 and x + 1 amidst."""
    start = (phase - _BLOCK_PX // 2 + 1) % _BLOCK_PX
    return start, max(0, length - start) // _BLOCK_PX


def _even_out_columns(plane: Float32, phase: int) -> None:
    start, count = _blocks(plane.shape[1], phase)
    if not count:
        return
    part = plane[:, start : start + count * _BLOCK_PX].reshape(plane.shape[0], count, _BLOCK_PX)
    pixels = [np.asarray(pixel, np.float32) for pixel in cv2.split(part)]  # each place lies together in memory
    _even_out(pixels, (_WINDOW_BORDERS, _WINDOW_PX))
    plane[:, start : start + count * _BLOCK_PX] = cv2.merge(pixels).reshape(plane.shape[0], -1)


def _even_out_rows(plane: Float32, phase: int) -> None:
    start, count = _blocks(plane.shape[0], phase)
    rows = plane[start : start + count * _BLOCK_PX]
    if count:
        _even_out([rows[k::_BLOCK_PX] for k in range(_BLOCK_PX)], (_WINDOW_PX, _WINDOW_BORDERS))


def _even_out(pixels: list[Float32], window: tuple[int, int]) -> None:
    """Of stretches of 8 pixels (a plane for each place in them), scale the jump amidst to that of the quarters."""

    jump, size, mean = np.empty_like(pixels[0]), np.empty_like(pixels[0]), np.empty_like(pixels[0])

    def jump_at(k: int) -> Float32:
        cv2.subtract(pixels[k + 1], pixels[k], dst=jump)
        cv2.subtract(pixels[k + 2], pixels[k - 1], dst=mean)
        return np.asarray(cv2.addWeighted(jump, 1.5, mean, -0.5, 0.0, dst=jump), np.float32)

    def clipped(step: Float32) -> Float32:
        return np.minimum(np.abs(step, out=size), np.float32(_CLIP_CODES), out=mean)

    def local_mean(plane: Float32) -> Float32:
        return np.asarray(cv2.blur(plane, window, borderType=cv2.BORDER_REFLECT_101), np.float32)

    def excess(k: int) -> Float32:
        """What has to be taken from the jumps at k so that they are as large as `elsewhere`, in the local mean."""
        step = jump_at(k)
        too_much = np.maximum(local_mean(clipped(step)), np.float32(1e-3))
        np.subtract(np.float32(1), cv2.divide(elsewhere, too_much, dst=too_much), out=too_much)
        np.maximum(too_much, np.float32(0), out=too_much)  # it is 1 at most
        step *= too_much
        step *= size < _CONTENT_CODES
        return step

    elsewhere = clipped(jump_at(1)).copy()
    elsewhere += clipped(jump_at(5))
    elsewhere = local_mean(elsewhere) * np.float32(0.5)
    for _ in range(_PASSES):
        change = excess(3)
        for distance in range(_BLOCK_PX // 2):
            share = (2 * (_BLOCK_PX // 2 - distance) - 1) / (2 * _BLOCK_PX)
            _add(change, share, pixels[3 - distance])
            _add(change, -share, pixels[4 + distance])
    for k in (2, 4):  # the steps beside the border, which make up for it
        change = excess(k)
        for left, right, share in ((k, k + 1, 0.25), (k - 1, k + 2, 0.1)):
            _add(change, share, pixels[left])
            _add(change, -share, pixels[right])


def _add(change: Float32, share: float, pixel: Float32) -> None:
    cv2.scaleAdd(change, share, pixel, dst=pixel)
