"""Rectangles around what matters, so that a subject costs its own size and not the photo's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Window = tuple[slice, slice]


def window_of(mask: npt.NDArray[np.bool_], margin_px: int, multiple: int = 1) -> Window:
    """The rectangle around the True pixels, widened by a margin, starting at multiples of `multiple`; empty if none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    top = max(0, int(rows[0]) - margin_px) // multiple * multiple
    left = max(0, int(columns[0]) - margin_px) // multiple * multiple
    bottom = min(mask.shape[0], int(rows[-1]) + 1 + margin_px)
    right = min(mask.shape[1], int(columns[-1]) + 1 + margin_px)
    return slice(top, bottom), slice(left, right)
