"""Sizes and area resampling. Photographs are only ever reduced, in linear light, never enlarged or cropped."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


def fit_long_side(height: int, width: int, long_side_px: int) -> tuple[int, int]:
    """(height, width) of the same picture with a long side of at most `long_side_px`, each at least 1; never larger."""
    scale = min(1.0, long_side_px / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def reduce_to(image: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[np.float32]:
    """`image` `[H,W]` or `[H,W,C]` averaged over areas down to (height, width), float32; unchanged at its own size.

    Give linear light: averaging sRGB codes darkens fine texture. Raises ValueError when asked to enlarge.
    """
    source_height, source_width = image.shape[:2]
    if height > source_height or width > source_width:
        raise ValueError(f"cannot enlarge {source_width}x{source_height} to {width}x{height}")
    image = np.ascontiguousarray(image, np.float32)
    if (height, width) == (source_height, source_width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
