"""A layer's planes where it is not transparent, reduced as blurring wants them, and boxes of the frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

#: side of the cells for which the range of a layer's values is kept
RANGE_CELL = 4
_ALIGN = 8  # crops start at multiples of the coarsest reduction

Box = tuple[int, int, int, int]  # rows y0..y1, columns x0..x1 of the frame


class Placed(NamedTuple):
    """Planes `[C,h,w]` and the frame pixel at which their first row and column stand."""

    planes: Float32
    y0: int
    x0: int


class Pyramid:
    """A layer's planes cropped to what is not transparent (with an empty margin), and their reductions by 2, 4 and 8.

    With `repeat_edges` the frame's edge pixels go on outside it, else there is nothing outside. Of what is blurred only
    `view` (rows y0..y1, columns x0..x1 of the frame; None: all of it) is wanted.
    """

    def __init__(
        self,
        planes: Float32,
        frame_shape: tuple[int, int],
        is_opaque: bool,
        repeat_edges: bool = True,
        view: Box | None = None,
    ) -> None:
        self.frame_shape = frame_shape
        self.view = view or (0, frame_shape[0], 0, frame_shape[1])
        self.border = cv2.BORDER_REPLICATE if repeat_edges else cv2.BORDER_CONSTANT
        self.is_opaque = is_opaque  # no alpha plane: opaque everywhere
        self.y0 = self.x0 = 0
        if not self.is_opaque:
            y0, y1, x0, x1 = _occupied(planes[-1])
            planes = np.ascontiguousarray(planes[:, y0:y1, x0:x1])
            self.y0, self.x0 = y0, x0
        self.planes = planes
        self._reduced: dict[int, Float32] = {1: planes}
        self._extremes: tuple[Float32, Float32] | None = None
        #: the widest kernel, px from its middle, that is going to be asked for; spectra are made to hold it
        self.widest_reach = 0
        self.spectra: Any = None  # of `spectra`, made when a stack first wants them

    @property
    def is_empty(self) -> bool:
        """True when the layer is transparent everywhere."""
        return self.planes.size == 0

    def reduced(self, step: int) -> Float32:
        """The planes averaged over `step` x `step` pixels (edge pixels repeated to fill the last cells)."""
        if step not in self._reduced:
            fine = self.reduced(step // 2)
            count, height, width = fine.shape
            coarse = np.empty((count, -(-height // 2), -(-width // 2)), np.float32)
            for c in range(count):
                plane = fine[c]
                if height % 2 or width % 2:
                    padded = cv2.copyMakeBorder(plane, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
                    plane = np.asarray(padded, np.float32)
                coarse[c] = cv2.resize(plane, (coarse.shape[2], coarse.shape[1]), interpolation=cv2.INTER_AREA)
            self._reduced[step] = coarse
        return self._reduced[step]

    def extremes(self) -> tuple[Float32, Float32]:
        """The least and the greatest value of every plane in each cell of RANGE_CELL x RANGE_CELL px."""
        if self._extremes is None:
            count, height, width = self.planes.shape
            low = np.empty((count, -(-height // RANGE_CELL), -(-width // RANGE_CELL)), np.float32)
            high = np.empty_like(low)
            shape = (low.shape[1], RANGE_CELL, low.shape[2], RANGE_CELL)
            pad = ((0, -height % RANGE_CELL), (0, -width % RANGE_CELL))
            for c in range(count):
                plane = np.pad(self.planes[c], pad, mode="edge") if pad != ((0, 0), (0, 0)) else self.planes[c]
                cells = plane.reshape(shape)
                low[c] = cells.min(axis=1).min(axis=2)
                high[c] = cells.max(axis=1).max(axis=2)
            self._extremes = (low, high)
        return self._extremes

    def out_box(self, reach: int) -> Box:
        """Rows y0..y1 and columns x0..x1 of the frame that the layer reaches when blurred by `reach` px."""
        height, width = self.frame_shape
        return (
            max(0, self.y0 - reach),
            min(height, self.y0 + self.planes.shape[1] + reach),
            max(0, self.x0 - reach),
            min(width, self.x0 + self.planes.shape[2] + reach),
        )

    def wanted_box(self, reach: int, seen: Box | None = None) -> Box:
        """What of `out_box` lies in the view, and in the box `seen` where it is given; maybe nothing."""
        y0, y1, x0, x1 = self.out_box(reach)
        for box in (self.view, seen or self.view):
            y0, x0, y1, x1 = max(y0, box[0]), max(x0, box[2]), min(y1, box[1]), min(x1, box[3])
        return y0, max(y0, y1), x0, max(x0, x1)

    def read_box(self, wanted: Box, reach: int) -> Box:
        """What of the frame a blur by `reach` px looks at for the box `wanted`."""
        y0, y1, x0, x1 = self.out_box(reach)
        return (
            max(wanted[0] - reach, y0),
            min(wanted[1] + reach, y1),
            max(wanted[2] - reach, x0),
            min(wanted[3] + reach, x1),
        )

    def window(self, plane: Float32, box: Box) -> Float32:
        """The pixels of one of the `planes` in a box of the frame, 0 beyond the layer."""
        return box_of(plane, box[0] - self.y0, box[1] - self.y0, box[2] - self.x0, box[3] - self.x0)


def box_of(plane: Float32, y0: int, y1: int, x0: int, x1: int) -> Float32:
    """Rows y0..y1 and columns x0..x1 of `plane`, empty where these lie outside it."""
    height, width = plane.shape
    if y0 >= 0 and x0 >= 0 and y1 <= height and x1 <= width:
        return plane[y0:y1, x0:x1]
    window = np.zeros((y1 - y0, x1 - x0), np.float32)
    a, b, c, d = max(y0, 0), min(y1, height), max(x0, 0), min(x1, width)
    if a < b and c < d:
        window[a - y0 : b - y0, c - x0 : d - x0] = plane[a:b, c:d]
    return window


def _occupied(alpha: Float32) -> tuple[int, int, int, int]:
    """Box around alpha > 0, with an empty margin of a coarsest cell, starting at multiples of the coarsest cell."""
    height, width = alpha.shape
    rows = np.flatnonzero(alpha.max(axis=1) > 0)
    columns = np.flatnonzero(alpha.max(axis=0) > 0)
    if not rows.size:
        return 0, 0, 0, 0
    return (
        max(0, int(rows[0]) // _ALIGN - 1) * _ALIGN,
        min(height, (int(rows[-1]) // _ALIGN + 2) * _ALIGN),
        max(0, int(columns[0]) // _ALIGN - 1) * _ALIGN,
        min(width, (int(columns[-1]) // _ALIGN + 2) * _ALIGN),
    )
