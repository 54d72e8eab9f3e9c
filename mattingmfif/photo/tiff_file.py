"""A finished picture as a TIFF file of 8 or 16 bits with profile and EXIF.

OpenCV writes 16 bits but no metadata; Pillow writes no 16-bit colours, and fails where a compressed file is to hold the
EXIF of a camera. So the pixels are packed here, and Pillow lays out the directory.

Source: TIFF revision 6.0 (directory, predictor 2); Adobe's technical note of 2002 (Deflate, compression 8).
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MEANING, _OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PREDICTOR, _PROFILE = (
    256, 257, 258, 259, 262, 273, 277, 278, 279, 317, 34675,
)  # fmt: skip
#: tags that say how a file's pixels lie in it, and so mean nothing in another file
LAYOUT_TAGS = frozenset(
    {*range(254, 260), *range(262, 267), 273, *range(277, 282), 284, *range(288, 294), 297, 301}
    | {*range(317, 326), *range(330, 348), *range(512, 522), *range(529, 533), 32997, 32998, 34675}
)


def tiff_bytes(codes: npt.NDArray[np.uint8 | np.uint16], icc_profile: bytes = b"", exif: bytes = b"") -> bytes:
    """A TIFF file of uint8 or uint16 codes `[H,W]` or `[H,W,3]`, packed; profile and EXIF where not empty."""
    directory = Image.Exif()
    directory.endian = "<"
    if exif:
        directory.load(exif)  # which keeps its order of bytes
    for tag in LAYOUT_TAGS & set(directory):
        del directory[tag]
    height, width = codes.shape[:2]
    samples = 1 if codes.ndim == 2 else codes.shape[2]
    steps = codes.copy()
    steps[:, 1:] -= codes[:, :-1]  # what a pixel differs by from the one on its left, modulo the type's range
    packed = zlib.compress(steps.astype(codes.dtype.newbyteorder(">" if directory.endian == ">" else "<")).tobytes(), 4)
    directory[_WIDTH], directory[_HEIGHT], directory[_SAMPLES] = width, height, samples
    directory[_BITS] = (8 * codes.itemsize,) * samples
    directory[_COMPRESSION], directory[_PREDICTOR], directory[_MEANING] = 8, 2, 1 if samples == 1 else 2
    directory[_ROWS], directory[_COUNTS] = height, len(packed)
    directory[_OFFSETS] = 0  # from the end of the directory: Pillow adds where that is
    if icc_profile:
        directory[_PROFILE] = icc_profile
    return directory.tobytes().removeprefix(b"Exif\0\0") + packed
