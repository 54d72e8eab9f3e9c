"""Blur of one layer: flat layers by one convolution, receding ones by interpolation between levels of blur.

Notation. r is the signed blur radius in px of the layer, a number or a map; `planes` `[C,H,W]` are premultiplied
colours and, last, alpha. A `Pyramid` holds a layer's planes cropped to where it is not transparent, and its reductions.

Inside one layer whose radius varies, discs of a set of radii ("levels") are convolved with the layer and the result is
interpolated between the two levels next to each pixel's radius; each level uses the perspective disc of the layer's
mean slope of radius there, which is exact for planes. Levels of large radius work on a reduced picture; their disc is
made smaller so that reduction, tent and enlargement together keep the disc's second moment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.optics.aperture import Aperture
from mattingmfif.optics.kernels import add_level, copy_sharp
from mattingmfif.optics.lens import INVISIBLE_RADIUS_PX
from mattingmfif.optics.psf import aperture_kernel
from mattingmfif.optics.pyramid import Box, Placed, Pyramid, box_of
from mattingmfif.optics.spectra import Spectra

Float32 = npt.NDArray[np.float32]

#: distance maps are looked at on every so many pixels for their slopes
SLOPE_STEP = 8
#: discs are tilted by no more than this, px of radius per px
MOST_SLOPE = 0.5

_LEVEL_STEP_PX = 0.5
_LEVEL_STEP_SHARE = 0.05
#: OpenCV convolves kernels of up to 11 px directly
_LEAST_SPECTRUM_REACH = 4
#: of larger pictures the spectra would take too much memory
_MOST_SPECTRUM_PX = 1 << 20
#: transforms of a window are less work than OpenCV's convolution of a box of so many times fewer pixels
_SPECTRUM_GAIN = 4.0


def blur_flat(
    pyramid: Pyramid,
    radius_px: float,
    aperture: Aperture,
    field: tuple[float, float] = (0.0, 0.0),
    seen: Box | None = None,
) -> Placed:
    """The layer blurred by one radius, placed in the frame; itself (the same array) when the radius is invisible.

    Where only a box of the frame can be `seen`, no more than that is blurred.
    """
    if abs(radius_px) < INVISIBLE_RADIUS_PX:
        return Placed(pyramid.planes, pyramid.y0, pyramid.x0)
    kernel = aperture_kernel(aperture, float(radius_px), field)
    reach = kernel.shape[0] // 2
    wanted = pyramid.wanted_box(reach, seen)
    y0, y1, x0, x1 = wanted
    blurred = np.empty((pyramid.planes.shape[0], y1 - y0, x1 - x0), np.float32)
    if not blurred.size:
        return Placed(blurred, y0, x0)
    if _by_spectrum(pyramid, reach, wanted):
        if pyramid.spectra is None:
            pyramid.spectra = Spectra(pyramid)
        pyramid.spectra.blur(kernel, wanted, blurred)
        return Placed(blurred, y0, x0)
    read = pyramid.read_box(wanted, reach)
    inner = np.s_[y0 - read[0] : y1 - read[0], x0 - read[2] : x1 - read[2]]
    for source, result in zip(pyramid.planes, blurred, strict=True):
        # beyond the crop there is nothing; beyond the frame (where the crop touches it) the edge goes on
        window = pyramid.window(source, read)
        if window.shape == result.shape:
            _convolve(window, kernel, pyramid.border, result)
        else:
            whole: Float32 = np.empty(window.shape, np.float32)
            _convolve(window, kernel, pyramid.border, whole)
            result[...] = whole[inner]
    return Placed(blurred, y0, x0)


def _by_spectrum(pyramid: Pyramid, reach: int, wanted: Box) -> bool:
    """Whether one transform of the whole window is less work than OpenCV's convolution of the wanted box."""
    if reach < _LEAST_SPECTRUM_REACH or reach > pyramid.widest_reach:
        return False
    height, width = Spectra.shape_of(pyramid)
    if height * width > _MOST_SPECTRUM_PX:
        return False
    area = (wanted[1] - wanted[0]) * (wanted[3] - wanted[2])
    return height * width < _SPECTRUM_GAIN * area


def blur_receding(
    pyramid: Pyramid,
    radius_px: Float32,
    slopes: Slopes | None,
    aperture: Aperture,
    field: tuple[float, float] = (0.0, 0.0),
    seen: Box | None = None,
) -> Placed:
    """The layer blurred by a map of radii `[H,W]` of the frame, placed in the frame.

    `slopes` tilt the discs (those of the surface's own radius; None: not tilted, as for field curvature, which belongs
    to the receiving pixel).
    """
    reach = math.ceil(max(abs(float(radius_px.min())), abs(float(radius_px.max())))) + 2
    y0, y1, x0, x1 = pyramid.wanted_box(reach, seen)
    radius = np.ascontiguousarray(radius_px[y0:y1, x0:x1])
    if not radius.size:
        return Placed(np.empty((pyramid.planes.shape[0], *radius.shape), np.float32), y0, x0)
    total = np.zeros((pyramid.planes.shape[0], y1 - y0, x1 - x0), np.float32)
    levels = blur_levels(float(radius.min()), float(radius.max()))
    lows, highs = _row_and_column_ranges(radius)
    for below, here, above in levels:
        if here == -INVISIBLE_RADIUS_PX:
            above = here + 1e-6  # between the two smallest levels the layer is sharp
        elif here == INVISIBLE_RADIUS_PX:
            below = here - 1e-6
        rows = np.flatnonzero((lows[0] < above) & (highs[0] > below))
        columns = np.flatnonzero((lows[1] < above) & (highs[1] > below))
        if not (rows.size and columns.size):
            continue
        box = (y0 + int(rows[0]), y0 + int(rows[-1]) + 1, x0 + int(columns[0]), x0 + int(columns[-1]) + 1)
        slope = (0.0, 0.0) if slopes is None else slopes.mean(below, above)
        for c, blurred in enumerate(_blur_window(pyramid, here, slope, aperture, field, box)):
            add_level(total[c], blurred, radius, box[0] - y0, box[2] - x0, below, here, above)
    sharp = np.flatnonzero((lows[0] < INVISIBLE_RADIUS_PX) & (highs[0] > -INVISIBLE_RADIUS_PX))
    if sharp.size:
        _copy_sharp_part(total, pyramid, radius, y0, x0, (int(sharp[0]), int(sharp[-1]) + 1))
    return Placed(total, y0, x0)


def blur_levels(least_px: float, most_px: float) -> list[tuple[float, float, float]]:
    """The signed radii between which a map of radii is interpolated, each between its neighbours.

    They are dense near focus, 5 % apart far from it, and the same for every part of a map.
    """
    magnitudes = [INVISIBLE_RADIUS_PX, 0.5]
    while magnitudes[-2] < max(abs(least_px), abs(most_px)):
        magnitudes.append(magnitudes[-1] + max(_LEVEL_STEP_PX, _LEVEL_STEP_SHARE * magnitudes[-1]))
    signed = [-m for m in reversed(magnitudes)] + magnitudes
    inside = [k for k, r in enumerate(signed) if least_px <= r <= most_px]
    if not inside:
        inside = [int(np.searchsorted(signed, least_px))]
    chosen = range(max(1, inside[0] - 1), min(inside[-1] + 2, len(signed) - 1))
    return [(signed[k - 1], signed[k], signed[k + 1]) for k in chosen]


def _blur_window(
    pyramid: Pyramid,
    radius_px: float,
    slope: tuple[float, float],
    aperture: Aperture,
    field: tuple[float, float],
    box: tuple[int, int, int, int],
) -> Iterator[Float32]:
    """Plane by plane, rows and columns of `box` of the layer blurred by one level."""
    step = reduction(radius_px)
    shrunk = math.copysign(math.sqrt(radius_px**2 - (step**2 - 1)), radius_px) / step
    kernel = aperture_kernel(aperture, shrunk, field, slope)
    reach = kernel.shape[0] // 2
    source = pyramid.reduced(step)
    oy, ox = pyramid.y0 // step, pyramid.x0 // step
    height, width = pyramid.frame_shape
    frame_rows, frame_columns = -(-height // step), -(-width // step)
    wanted = (
        max(0, box[0] // step - 2),
        min(frame_rows, -(-box[1] // step) + 2),
        max(0, box[2] // step - 2),
        min(frame_columns, -(-box[3] // step) + 2),
    )
    read = (
        max(0, wanted[0] - reach),
        min(frame_rows, wanted[1] + reach),
        max(0, wanted[2] - reach),
        min(frame_columns, wanted[3] + reach),
    )
    top, left = box[0] - wanted[0] * step, box[2] - wanted[2] * step
    for plane in source:
        window = box_of(plane, read[0] - oy, read[1] - oy, read[2] - ox, read[3] - ox)
        blurred: Float32 = np.empty(window.shape, np.float32)
        _convolve(window, kernel, pyramid.border, blurred)
        blurred = blurred[wanted[0] - read[0] : wanted[1] - read[0], wanted[2] - read[2] : wanted[3] - read[2]]
        if step > 1:
            size = (blurred.shape[1] * step, blurred.shape[0] * step)
            blurred = _float32(cv2.resize(blurred, size, interpolation=cv2.INTER_CUBIC))
        yield np.ascontiguousarray(blurred[top : top + box[1] - box[0], left : left + box[3] - box[2]])


def reduction(radius_px: float) -> int:
    """How far the picture is reduced for a level of this radius (a power of two)."""
    magnitude = abs(radius_px)
    return 1 if magnitude < 8.0 else 2 if magnitude < 20.0 else 4


def _convolve(plane: Float32, kernel: Float32, border: int, result: Float32) -> None:
    turned = np.ascontiguousarray(kernel[::-1, ::-1])  # OpenCV correlates
    cv2.filter2D(plane, cv2.CV_32F, turned, dst=result, borderType=border)


def _float32(image: npt.NDArray[Any]) -> Float32:
    return np.asarray(image, np.float32)


def _copy_sharp_part(
    total: Float32, pyramid: Pyramid, radius: Float32, y0: int, x0: int, rows: tuple[int, int]
) -> None:
    """Copy what is sharp; `rows` first..end of `radius` are those where something is."""
    height, width = pyramid.planes.shape[1:]
    top, bottom = max(y0 + rows[0], pyramid.y0), min(y0 + rows[1], pyramid.y0 + height)
    left, right = max(x0, pyramid.x0), min(x0 + radius.shape[1], pyramid.x0 + width)
    if top >= bottom or left >= right:
        return
    here = (slice(top - y0, bottom - y0), slice(left - x0, right - x0))
    there = (slice(top - pyramid.y0, bottom - pyramid.y0), slice(left - pyramid.x0, right - pyramid.x0))
    for c in range(total.shape[0]):
        copy_sharp(total[c][here], pyramid.planes[c][there], radius[here], INVISIBLE_RADIUS_PX)


def _row_and_column_ranges(radius: Float32) -> tuple[tuple[Float32, Float32], tuple[Float32, Float32]]:
    return (radius.min(axis=1), radius.min(axis=0)), (radius.max(axis=1), radius.max(axis=0))


class Slopes:
    """The slopes of a map of radii in px per px (x, y), looked up on every SLOPE_STEP-th pixel and sorted by radius."""

    def __init__(self, coarse_radius_px: Float32, seen: npt.NDArray[np.bool_] | None = None) -> None:
        """The map on every SLOPE_STEP-th pixel `[h,w]`, and where on it the layer is not transparent (None: all)."""
        coarse = np.ascontiguousarray(coarse_radius_px)
        along_y = np.gradient(coarse, SLOPE_STEP, axis=0) if coarse.shape[0] > 1 else np.zeros_like(coarse)
        along_x = np.gradient(coarse, SLOPE_STEP, axis=1) if coarse.shape[1] > 1 else np.zeros_like(coarse)
        radii, along_x, along_y = (
            values.reshape(-1) if seen is None or not seen.any() else values[seen]
            for values in (coarse, along_x, along_y)
        )
        order = np.argsort(radii, kind="stable")
        self._radii = radii[order]
        both = np.stack([along_x[order], along_y[order]], axis=1).astype(np.float64)
        self._sums = np.concatenate([np.zeros((1, 2)), np.cumsum(both, axis=0)])

    def mean(self, below: float, above: float) -> tuple[float, float]:
        """The mean slope where the radius lies between the two, or next to them where the map is steep."""
        first = int(np.searchsorted(self._radii, below, side="right"))
        last = int(np.searchsorted(self._radii, above, side="left"))
        if last <= first:  # no sample falls between: the next smaller and the next greater radius
            first, last = max(0, min(first, last) - 1), min(len(self._radii), max(first, last) + 1)
        slope = (self._sums[last] - self._sums[first]) / (last - first)
        size = float(np.hypot(*slope))
        if size > MOST_SLOPE:  # steeper than a disc's half: not a surface but an edge inside the layer
            slope *= MOST_SLOPE / size
        return (round(float(slope[0]), 4), round(float(slope[1]), 4))
