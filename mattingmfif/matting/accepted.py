"""Arrays that callers hand in, made what this room works on; a ValueError, one line, for those that cannot be.

Inside, the compiled loops take shapes and types on trust: an array of another kind must stop at the door.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.planes import extremes

#: encoded or linear values may exceed 1 a little (overshoot, highlights); from here on they are codes
_TOP = 4.0
#: an alpha that was blurred or resampled passes 0 and 1 by this much
_ROUNDING = 1e-4


def accepted_srgb(photo_srgb: npt.ArrayLike) -> Float32:
    """A photograph `[H,W,3]` in encoded sRGB as float32 0..1; uint8 and uint16 are codes and are divided by the top."""
    photo = np.asarray(photo_srgb)
    if photo.dtype.kind == "u" and photo.itemsize <= 2:  # of either order of bytes
        _check_photo_shape(photo)
        return photo.astype(np.float32) / np.float32(np.iinfo(photo.dtype).max)
    return _finite_photo(photo, "sRGB values 0..1, or uint8 or uint16 codes")[0]


def accepted_linear(photo_linear: npt.ArrayLike) -> Float32:
    """A photograph `[H,W,3]` in linear light as float32; codes are refused, because they are not proportional to light.

    What lies below 0 becomes 0, as no light is negative.
    """
    photo = np.asarray(photo_linear)
    if photo.dtype.kind in "iu":
        raise ValueError(
            f"photo of {photo.dtype}: linear light 0..1 is expected (mattingmfif.pixels.colour.decode_srgb)"
        )
    linear, least = _finite_photo(photo, "linear light 0..1")
    return np.maximum(linear, np.float32(0)) if least < 0 else linear


def accepted_masks(
    masks: Sequence[npt.ArrayLike], shape: tuple[int, ...], *, are_alphas: bool
) -> list[npt.NDArray[np.bool_ | np.float32]]:
    """Masks `[H,W]` of a photo of `shape`: bool, or numbers of which the upper half is in; alphas are 0..1."""
    accepted: list[npt.NDArray[np.bool_ | np.float32]] = []
    for number, given in enumerate(masks):
        mask = np.asarray(given)
        what = f"{'alpha' if are_alphas else 'mask'} {number}"
        if mask.shape != tuple(shape[:2]):
            raise ValueError(f"{what} {mask.shape} and photo {tuple(shape)} differ in size")
        if mask.dtype.kind not in "biuf":
            raise ValueError(f"{what} holds {mask.dtype}, not numbers")
        if not are_alphas:
            accepted.append(np.asarray(mask > _half(mask)))
            continue
        low, high = (float(mask.min()), float(mask.max())) if mask.size else (0.0, 0.0)
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # also where they are NaN
            raise ValueError(f"{what} holds values from {low:g} to {high:g}; an alpha is 0..1")
        alpha = np.ascontiguousarray(mask, np.float32)
        accepted.append(alpha if low >= 0 and high <= 1 else np.clip(alpha, 0, 1))
    return accepted


def _half(mask: npt.NDArray[Any]) -> float:
    """What lies between out and in: 0 and 1, or codes of 8 or 16 bits."""
    if mask.dtype.kind not in "iu" or not mask.size:
        return 0.5
    high = int(mask.max())
    return 0.5 if high <= 1 else 127.5 if high <= 255 else 32767.5


def _finite_photo(photo: npt.NDArray[Any], expected: str) -> tuple[Float32, float]:
    """The photo, and its least value."""
    _check_photo_shape(photo)
    if photo.dtype.kind not in "fiu":
        raise ValueError(f"photo of {photo.dtype}: {expected} expected")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        ordered = np.ascontiguousarray(photo, np.float32)
    low, high = extremes(ordered)
    if not np.isfinite([low, high]).all():
        raise ValueError("the photograph holds NaN or infinite values")
    if high > _TOP:
        raise ValueError(f"photo with values up to {high:g}: {expected} expected")
    return ordered, low


def _check_photo_shape(photo: npt.NDArray[Any]) -> None:
    if photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"photo of shape {photo.shape}: [H,W,3] expected")
