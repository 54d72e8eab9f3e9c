"""8-bit sRGB codes of many pixels, by a table: what `encode_srgb` gives, in a tenth of its time."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mattingmfif.pixels.colour import encode_srgb

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


def codes_of(light_linear: Float32, bits: int) -> npt.NDArray[Any]:
    """The nearest uint8 or uint16 sRGB codes of linear light (any shape), clipped; NaN is an error."""
    if bits != 8:
        return encode_srgb(light_linear, bits)
    from mattingmfif.pixels.kernels import codes_of_light

    light = np.ascontiguousarray(light_linear, np.float32)
    codes = np.empty(light.shape, np.uint8)
    if not codes_of_light(light.reshape(-1).view(np.int32), *_table(), codes.reshape(-1)):
        raise ValueError("cannot encode NaN as an sRGB code")
    return codes


@cache
def _table() -> tuple[int, Int32, Int32]:
    """The first cell's number, and of every cell its lowest code and the bits at which the next code begins."""
    from mattingmfif.pixels.kernels import CELL_SHIFT

    lowest = int(np.float32(1e-4).view(np.int32)) >> CELL_SHIFT  # all light below has code 0
    highest = int(np.float32(1.0).view(np.int32)) >> CELL_SHIFT
    starts = np.arange(lowest, highest + 1, dtype=np.int32) << CELL_SHIFT
    first, last = starts.copy(), starts + np.int32((1 << CELL_SHIFT) - 1)
    base, end = (encode_srgb(at.view(np.float32)) for at in (first, last))
    changes = end > base
    while (last - first > 1).any():  # the code of `first` is the base, that of `last` is not (or the cell has but one)
        middle = first + (last - first) // 2
        above = changes & (encode_srgb(middle.view(np.float32)) > base)
        first, last = np.where(above, first, middle), np.where(above, middle, last)
    threshold = np.where(changes, last, np.iinfo(np.int32).max).astype(np.int32)
    threshold[-1] = np.iinfo(np.int32).max  # white and beyond
    return lowest, base, threshold
