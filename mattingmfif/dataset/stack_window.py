"""One window of one sample as the loader gives it: some of its frames, and maps that belong to these frames.

Arrays are read, or photographed from stored layers, when they are asked for and not before.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.camera import lens_of
from mattingmfif.dataset.crops import Codes, radii_px, sharpest_of
from mattingmfif.dataset.reader import Sample
from mattingmfif.dataset.sample import ALPHA_COLUMNS, FRAME_COLUMNS, MAX_ALPHAS, TRUST_COLUMNS, CameraRecord, Float32
from mattingmfif.dataset.shard_file import ShardFile
from mattingmfif.dataset.tiff import Window
from mattingmfif.optics.lens import ThinLens

if TYPE_CHECKING:
    from mattingmfif.dataset.photograph import Photographs

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the loader keeps of a sample's record."""

    row: int
    sample_id: str
    camera: CameraRecord
    focus_m: npt.NDArray[np.float64]
    record: Any  # all of it, where frames are photographed

    def sample(self, file: ShardFile, window: Window) -> Sample:
        """The window of the sample as the reader gives it."""
        return Sample(file, self.row, window, self.record)


@dataclass(frozen=True, kw_only=True)
class Taking:
    """The camera of one item: the stored one, or one that was drawn."""

    lens: ThinLens
    focus_m: npt.NDArray[np.float64]
    quality: str | None = None


def facts_of(sample: Sample) -> Facts:
    """The facts of a sample."""
    return Facts(
        row=sample.row,
        sample_id=sample.sample_id,
        camera=sample.camera,
        focus_m=np.array(sample.focus_distance_m),
        record=sample.record if sample.store == "layers" else None,
    )


def stack_window(
    file: ShardFile, facts: Facts, window: Window, camera: Taking, kept: Numbers, count: int
) -> StackWindow | TakenWindow:
    """The window with the `kept` frames of the camera's, filled up with zeros to `count`."""
    kind = TakenWindow if file.store == "layers" else StackWindow
    return kind(file, facts, window, camera, kept, count)


class StackWindow:
    """A window of stored frames."""

    def __init__(
        self, file: ShardFile, facts: Facts, window: Window, camera: Taking, kept: Numbers, count: int
    ) -> None:
        self.file, self.facts, self.row, self.window = file, facts, facts.row, window
        self.taking, self.kept, self.count = camera, kept, count
        self.focus_m = camera.focus_m[kept]

    @functools.cached_property
    def frames(self) -> Codes:
        """[count,h,w,3] codes."""
        return self._stacked([FRAME_COLUMNS[k] for k in self.kept], self.count)

    @functools.cached_property
    def target(self) -> Codes:
        """[h,w,3] codes."""
        return self._image("all_in_focus")

    @functools.cached_property
    def dioptres(self) -> Float32:
        """[h,w] inverse distance in 1 / m, 0 for infinity."""
        inverse = self._image("depth").astype(np.float32)
        inverse *= np.float32(self.facts.camera.depth_scale)
        inverse += np.float32(self.facts.camera.depth_offset)
        return inverse

    @functools.cached_property
    def depth_m(self) -> Float32:
        """[h,w] metres, infinity allowed."""
        with np.errstate(divide="ignore"):
            return np.float32(1.0) / self.dioptres

    @functools.cached_property
    def blur_radius_px(self) -> Float32:
        """[count,h,w] signed."""
        return padded(self._radii, self.count)

    @functools.cached_property
    def sharpest_frame(self) -> npt.NDArray[np.uint8]:
        """[h,w] place of the sharpest of the frames that are here, 255 for none."""
        return self._stored_sharpest()

    @functools.cached_property
    def boundary(self) -> npt.NDArray[np.bool_]:
        """[h,w] reached by the blur of a matte edge in some frame of the whole stack."""
        return self._image("boundary") > 0

    @functools.cached_property
    def trust(self) -> Float32:
        """[h,w] photographed share of the target."""
        return self._image("trust") * np.float32(1 / 255)

    @functools.cached_property
    def frame_trust(self) -> Float32:
        """[count,h,w] the same of the frames."""
        return self._stacked([TRUST_COLUMNS[k] for k in self.kept], self.count) * np.float32(1 / 255)

    @functools.cached_property
    def alphas(self) -> Float32:
        """[6,h,w] mattes, nearest first, zeros beyond the last."""
        there = [name for name in ALPHA_COLUMNS if self.file.span(self.row, name) is not None]
        if not there:
            return np.zeros((MAX_ALPHAS, *self.window[2:]), np.float32)
        return self._stacked(there, MAX_ALPHAS) * np.float32(1 / 65535)

    @functools.cached_property
    def _radii(self) -> Float32:
        return radii_px(self.taking.lens, self.facts.camera.image_width_px, self.dioptres, self.focus_m)

    def _stored_sharpest(self) -> npt.NDArray[np.uint8]:
        stored: npt.NDArray[np.uint8] = self._image("sharpest_frame")
        if np.array_equal(self.kept, np.arange(len(self.facts.focus_m))):
            return stored
        return sharpest_of(stored, self.kept, self._radii)

    def _image(self, column: str, result: Codes | None = None) -> Codes:
        image = self.file.image(self.row, column, self.window, result)
        if image is None:
            raise self.file.fault(self.row, column, ValueError("absent"))
        return image

    def _stacked(self, columns: Sequence[str], count: int) -> Codes:
        """[count,h,w,…] of the columns, zeros beyond the last."""
        first = self._image(columns[0])
        stack = np.empty((count, *first.shape), first.dtype)
        stack[0] = first
        for place, column in enumerate(columns[1:], start=1):
            self._image(column, stack[place])
        stack[len(columns) :] = 0
        return stack


class TakenWindow(StackWindow):
    """A window of stored layers: what depends on the camera is photographed."""

    @functools.cached_property
    def anew(self) -> bool:
        """Whether the camera is another than the stored one."""
        same_lens = self.taking.lens == lens_of(self.facts.camera)
        return not (same_lens and np.array_equal(self.taking.focus_m, self.facts.focus_m))

    @functools.cached_property
    def frames(self) -> Codes:
        """[count,h,w,3] codes."""
        return padded(self._photographs.frames, self.count)

    @functools.cached_property
    def target(self) -> Codes:
        """[h,w,3] codes."""
        if "_photographs" in self.__dict__:  # the layers are at hand
            return self._photographs.target
        return self.facts.sample(self.file, self.window).target

    @functools.cached_property
    def sharpest_frame(self) -> npt.NDArray[np.uint8]:
        """[h,w] place of the sharpest of the frames that are here, 255 for none."""
        from mattingmfif.dataset.photograph import sharpest_of_radii

        return sharpest_of_radii(self._radii) if self.anew else self._stored_sharpest()

    @functools.cached_property
    def boundary(self) -> npt.NDArray[np.bool_]:
        """[h,w] reached by the blur of a matte edge in some frame that is here (of the stored stack in any frame)."""
        return self._photographs.boundary if self.anew else self._image("boundary") > 0

    @functools.cached_property
    def frame_trust(self) -> Float32:
        """[count,h,w] photographed share of the frames."""
        if self.anew:
            return padded(self._photographs.frame_trust, self.count)
        return self._stacked([TRUST_COLUMNS[k] for k in self.kept], self.count) * np.float32(1 / 255)

    @functools.cached_property
    def _photographs(self) -> Photographs:
        from mattingmfif.dataset.photograph import photograph

        return photograph(
            self.facts.sample(self.file, self.window),
            lens=self.taking.lens if self.anew else None,
            focus_distance_m=self.focus_m.tolist(),
            quality=self.taking.quality,
            maps=self.anew,  # of the stored camera they are stored
        )


def padded(stack: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """The stack with zeros behind it up to `count` entries."""
    if len(stack) == count:
        return stack
    return np.concatenate([stack, np.zeros((count - len(stack), *stack.shape[1:]), stack.dtype)])
