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


def whole_cells(window: Window, multiple: int, shape: tuple[int, ...]) -> Window:
    """The rectangle with whole cells of `multiple` pixels at its ends, as far as a picture of this shape reaches."""
    rows, columns = (
        slice(side.start // multiple * multiple, min(-(-side.stop // multiple) * multiple, length))
        for side, length in zip(window, shape, strict=False)
    )
    return rows, columns


def overlaps(windows: list[Window]) -> list[Window]:
    """Where two or more of the rectangles lie over one another, as rectangles that do not."""
    met = []
    for k, a in enumerate(windows):
        for b in windows[:k]:
            rows, columns = (slice(max(p.start, q.start), min(p.stop, q.stop)) for p, q in zip(a, b, strict=True))
            met.append((rows, columns))
    return disjoint(met)


def disjoint(windows: list[Window]) -> list[Window]:
    """Rectangles that cover the given ones and do not overlap each other: those that do are merged."""
    merged: list[Window] = []
    for window in windows:
        if is_empty(window):
            continue
        todo = window
        while True:
            met = next((other for other in merged if _overlap(todo, other)), None)
            if met is None:
                break
            merged.remove(met)
            todo = (_union(todo[0], met[0]), _union(todo[1], met[1]))
        merged.append(todo)
    return merged


def is_empty(window: Window) -> bool:
    """True for a rectangle without pixels."""
    return window[0].start >= window[0].stop or window[1].start >= window[1].stop


def _overlap(a: Window, b: Window) -> bool:
    return all(p.start < q.stop and q.start < p.stop for p, q in zip(a, b, strict=True))


def _union(a: slice, b: slice) -> slice:
    return slice(min(a.start, b.start), max(a.stop, b.stop))
