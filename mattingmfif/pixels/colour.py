"""The sRGB transfer curve between code values and linear light (IEC 61966-2-1, the exact piecewise form).

`*_srgb` values are encoded, 0..1 floats or integer codes; `*_linear` values are proportional to light.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

#: Rec. 709 / sRGB luminance of linear red, green and blue
LUMINANCE_WEIGHTS = np.array([0.2126, 0.7152, 0.0722], np.float32)


def srgb_to_linear(encoded_srgb: npt.ArrayLike) -> Float32:
    """Linear light of encoded sRGB values (any shape, nominal range 0..1; negative values follow the linear toe)."""
    x = np.asarray(encoded_srgb, np.float64)
    return np.where(x <= 0.04045, x / 12.92, ((np.maximum(x, 0.0) + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(colour_linear: npt.ArrayLike) -> Float32:
    """Encoded sRGB of linear light (any shape, nominal range 0..1; not clipped)."""
    x = np.asarray(colour_linear, np.float32)
    if not x.size:
        return x.copy()
    limit = np.float32(0.0031308)
    above = np.maximum(x, limit).reshape(1, -1)
    encoded = np.asarray(cv2.pow(above, 1 / 2.4), np.float32).reshape(x.shape)  # seven times numpy's speed
    encoded *= np.float32(1.055)
    encoded -= np.float32(0.055)
    np.copyto(encoded, x * np.float32(12.92), where=x <= limit)
    return encoded


@lru_cache(maxsize=2)
def _decode_table(codes: int) -> Float32:
    table = srgb_to_linear(np.arange(codes, dtype=np.float64) / (codes - 1))
    table.setflags(write=False)
    return table


def decode_srgb(codes: npt.NDArray[Any]) -> Float32:
    """Linear light of uint8 or uint16 sRGB codes (any shape), 0..1 float32."""
    if codes.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"sRGB codes must be uint8 or uint16, got {codes.dtype}")
    return _decode_table(256 if codes.dtype == np.uint8 else 65536)[codes]


def encode_srgb(colour_linear: npt.ArrayLike, bits: int = 8) -> npt.NDArray[Any]:
    """The nearest uint8 (bits=8) or uint16 (bits=16) sRGB codes of linear light; values outside 0..1 are clipped.

    NaN is an error, because a cast would turn it into some colour.
    """
    x = np.clip(np.asarray(colour_linear, np.float32), 0.0, 1.0)
    if np.isnan(x).any():
        raise ValueError("cannot encode NaN as an sRGB code")
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16, got {bits}")
    codes = linear_to_srgb(x) * np.float32(2**bits - 1) + np.float32(0.5)
    return codes.astype(np.uint8 if bits == 8 else np.uint16)


def luminance(colour_linear: npt.ArrayLike) -> Float32:
    """Rec. 709 luminance `[...]` of linear RGB `[..., 3]`."""
    return np.asarray(colour_linear, np.float32) @ LUMINANCE_WEIGHTS
