"""The sRGB transfer curve between code values and linear light (IEC 61966-2-1, the exact piecewise form).

`*_srgb` values are encoded, 0..1 floats or integer codes; `*_linear` values are proportional to light.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

#: Rec. 709 / sRGB luminance of linear red, green and blue
LUMINANCE_WEIGHTS = np.array([0.2126, 0.7152, 0.0722], np.float32)


#: elements of a run: a few hundred kilobytes with everything computed from it
_RUN = 1 << 15


def srgb_to_linear(encoded_srgb: npt.ArrayLike) -> Float32:
    """Linear light of encoded sRGB values (any shape, nominal range 0..1; negative values follow the linear toe)."""
    encoded = np.ascontiguousarray(encoded_srgb)
    linear = np.empty(encoded.shape, np.float32)
    for source, target in _chunks(encoded, linear):
        x = source.astype(np.float64)
        target[:] = np.where(x <= 0.04045, x / 12.92, ((np.maximum(x, 0.0) + 0.055) / 1.055) ** 2.4)
    return linear


def linear_to_srgb(colour_linear: npt.ArrayLike) -> Float32:
    """Encoded sRGB of linear light (any shape, nominal range 0..1; not clipped)."""
    linear = np.ascontiguousarray(colour_linear, np.float32)
    encoded = np.empty(linear.shape, np.float32)
    for source, target in _chunks(linear, encoded):
        target[:] = _curve(source)
    return encoded


def _curve(x: Float32) -> Float32:
    """Encoded values of a flat run of linear light."""
    limit = np.float32(0.0031308)
    encoded = np.asarray(cv2.pow(np.maximum(x, limit)[None], 1 / 2.4), np.float32)[0]  # seven times numpy's speed
    encoded *= np.float32(1.055)
    encoded -= np.float32(0.055)
    np.copyto(encoded, x * np.float32(12.92), where=x <= limit)
    return encoded


def _chunks(source: npt.NDArray[Any], target: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Flat views of the same runs of two arrays, short enough that what is computed on the way stays in the cache."""
    flat_source, flat_target = source.reshape(-1), target.reshape(-1)
    for start in range(0, flat_source.size, _RUN):
        yield flat_source[start : start + _RUN], flat_target[start : start + _RUN]


@lru_cache(maxsize=2)
def _decode_table(codes: int) -> Float32:
    table = srgb_to_linear(np.arange(codes, dtype=np.float64) / (codes - 1))
    table.setflags(write=False)
    return table


def decode_srgb(codes: npt.NDArray[Any]) -> Float32:
    """Linear light of uint8 or uint16 sRGB codes (any shape), 0..1 float32."""
    if codes.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"sRGB codes must be uint8 or uint16, got {codes.dtype}")
    if codes.dtype == np.uint8 and codes.size:
        flat = np.ascontiguousarray(codes).reshape(-1)
        return np.asarray(cv2.LUT(flat, _decode_table(256)), np.float32).reshape(codes.shape)  # a fifth of numpy's time
    table, ordered = _decode_table(np.iinfo(codes.dtype).max + 1), np.ascontiguousarray(codes)
    linear = np.empty(codes.shape, np.float32)
    for source, target in _chunks(ordered, linear):  # of short runs, because numpy makes an index of 8 bytes of each
        target[:] = table.take(source, mode="clip")
    return linear


def encode_srgb(colour_linear: npt.ArrayLike, bits: int = 8) -> npt.NDArray[Any]:
    """The nearest uint8 (bits=8) or uint16 (bits=16) sRGB codes of linear light; values outside 0..1 are clipped.

    NaN is an error, because a cast would turn it into some colour.
    """
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16, got {bits}")
    linear = np.ascontiguousarray(colour_linear, np.float32)
    codes = np.empty(linear.shape, np.uint8 if bits == 8 else np.uint16)
    for source, target in _chunks(linear, codes):
        if np.isnan(source.max()):
            raise ValueError("cannot encode NaN as an sRGB code")
        values = _curve(np.clip(source, 0.0, 1.0))
        values *= np.float32(2**bits - 1)
        values += np.float32(0.5)
        target[:] = values  # a cast rounds towards zero
    return codes


def luminance(colour_linear: npt.ArrayLike) -> Float32:
    """Rec. 709 luminance `[...]` of linear RGB `[..., 3]`."""
    return np.asarray(colour_linear, np.float32) @ LUMINANCE_WEIGHTS
