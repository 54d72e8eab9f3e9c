"""Sizes and area resampling. Photographs are only ever reduced, in linear light, never enlarged or cropped."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

#: factor of reduction from which area averages leave no pattern
AREA_FROM = 2.0


def fit_long_side(height: int, width: int, long_side_px: int) -> tuple[int, int]:
    """(height, width) of the same picture with a long side of at most `long_side_px`, each at least 1; never larger."""
    scale = min(1.0, long_side_px / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def reduce_to(image: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[np.float32]:
    """`image` `[H,W]` or `[H,W,C]` reduced to (height, width), float32, 0 or more; unchanged at its own size.

    Averaged over areas; by less than `AREA_FROM` through a Lanczos filter, because averages over areas of little more
    than a pixel are sharp where they meet a pixel and soft between, in a pattern that tells what was resampled. Give
    linear light: averaging sRGB codes darkens fine texture. Raises ValueError when asked to enlarge.
    """
    source_height, source_width = image.shape[:2]
    if height > source_height or width > source_width:
        raise ValueError(f"cannot enlarge {source_width}x{source_height} to {width}x{height}")
    image = np.ascontiguousarray(image, np.float32)
    if (height, width) == (source_height, source_width):
        return image
    factor = max(source_height / height, source_width / width)
    if factor >= AREA_FROM or min(image.shape[:2]) < 8:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    sigma_px = 0.5 * float(np.sqrt(factor**2 - 1))
    if sigma_px > 0.15:  # below, it would change nothing
        image = cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    reduced = cv2.resize(image, (width, height), interpolation=cv2.INTER_LANCZOS4)
    return np.asarray(np.maximum(reduced, np.float32(0), out=reduced), np.float32)
