"""Small pictures of a sample for the `preview` column: the target and the frames side by side, as JPEG.

Everything here is a function of the sample's pixels; no fonts, so that the bytes do not depend on the machine's.
"""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

_GAP_PX = 4
_JPEG_QUALITY = 85


def to_8_bit(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """uint8 of a uint8 or uint16 image of the same encoding, rounded to nearest."""
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return image.astype(np.uint8, copy=False)


def thumbnail(image: npt.NDArray[Any], width: int, height: int) -> npt.NDArray[np.uint8]:
    """A uint8 picture of the given size, by area averaging of the stored codes (for eyes, not for measurement)."""
    return np.asarray(cv2.resize(to_8_bit(image), (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def preview_jpeg(target: npt.NDArray[Any], frames: list[npt.NDArray[Any]], long_side_px: int) -> bytes:
    """JPEG strip of the target and the frames in order, `long_side_px` wide in all; at least 16 px an image."""
    count = 1 + len(frames)
    height, width = target.shape[:2]
    each_width = max(16, (long_side_px - _GAP_PX * (count - 1)) // count)
    each_height = max(16, round(each_width * height / width))
    strip = np.full((each_height, count * (each_width + _GAP_PX) - _GAP_PX, 3), 255, np.uint8)
    for k, image in enumerate([target, *frames]):
        left = k * (each_width + _GAP_PX)
        strip[:, left : left + each_width] = thumbnail(image, each_width, each_height)
    stream = io.BytesIO()
    Pillow.fromarray(strip).save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()
