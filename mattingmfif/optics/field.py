"""The picture in cells, where the opening looks different from every place of it (cat's eye).

Seen from the corner of the picture a second rim cuts the opening. Every cell is photographed with the opening as it is
seen from the cell's middle, and neighbouring cells are faded into one another over a quarter of a cell, so that no seam
shows; what is equal in both stays the same bits. Cells are as many as keep the rim of a disc within about
RIM_STEP_PX px of its place, and no smaller than the blur is wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mattingmfif.optics.aperture import Aperture, seen_from

Float32 = npt.NDArray[np.float32]

RIM_STEP_PX = 3.0
MOST_CELLS = 9
#: beyond the blur radius: tent, reduced levels and nodes of the correction
BEYOND_PX = 12
_ALIGN = 8  # windows start where the nodes of the correction and reduced pixels of the whole frame do


@dataclass(frozen=True)
class Cell:
    """A part of the picture: what of it is shown, and the larger window that has to be looked at for that."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    window: tuple[int, int, int, int]  # rows y0..y1, columns x0..x1
    field: tuple[float, float]

    def aperture(self, aperture: Aperture) -> Aperture:
        """The opening as this cell sees it."""
        return seen_from(aperture, self.field)


def rows_of_cells(
    shape: tuple[int, int], image_width_px: float, aperture: Aperture, greatest_radius_px: float
) -> Iterator[list[Cell]]:
    """The cells of a frame, row by row; neighbours overlap by a quarter of a cell."""
    reach = math.ceil(greatest_radius_px) + BEYOND_PX
    steps = aperture.cats_eye * greatest_radius_px / RIM_STEP_PX
    spans = [_spans(length, min(MOST_CELLS, 2 * math.ceil(steps) + 1), greatest_radius_px) for length in shape]
    share = shape[1] / image_width_px  # of the whole picture, for a crop from its middle
    for top, bottom, y in spans[0]:
        yield [
            Cell(
                rows=(top, bottom),
                columns=(left, right),
                window=(*_grown(top, bottom, reach, shape[0]), *_grown(left, right, reach, shape[1])),
                field=(float(np.clip(x * share, -1.0, 1.0)), float(np.clip(y * share, -1.0, 1.0))),
            )
            for left, right, x in spans[1]
        ]


def fade_in(picture: Float32, part: Float32, start: int, overlap: int, axis: int, skipped: int = 0) -> None:
    """Lay `part` into `picture` from index `start` of `axis`, rising from 0 to 1 over its first `overlap` pixels.

    The first `skipped` of these lie outside the picture, and `part` begins behind them.
    """
    target = np.moveaxis(picture, axis, 0)[start : start + part.shape[axis]]
    source = np.moveaxis(part, axis, 0)
    weight = (np.arange(overlap, dtype=np.float32) + np.float32(0.5)) / np.float32(max(overlap, 1))
    weight = weight[skipped : skipped + len(target)]
    overlap = len(weight)
    faded = target[:overlap]  # equal values stay the same bits
    faded += weight.reshape(-1, *[1] * (picture.ndim - 1)) * (source[:overlap] - faded)
    target[overlap:] = source[overlap:]


def _spans(length: int, count: int, radius_px: float) -> list[tuple[int, int, float]]:
    """Start, end and middle (-1..1) of cells along one axis; each but the first starts inside the one before it."""
    count = max(1, min(count, int(length / max(8.0, radius_px))))
    count -= 1 - count % 2  # an odd number: the middle of the picture is the middle of a cell
    edges = np.linspace(0, length, count + 1).round().astype(int)
    spans = []
    for low, high in pairwise(edges.tolist()):
        half = (high - low) // 8
        start = max(0, low - half) if low else 0
        end = min(length, high + half) if high < length else length
        spans.append((start, end, (low + high) / length - 1.0))
    return spans


def _grown(low: int, high: int, reach: int, length: int) -> tuple[int, int]:
    return max(0, (low - reach) // _ALIGN * _ALIGN), min(length, high + reach)
