"""Shards as arrays: a sequence of samples, each decoded only as far as it is looked at.

    shards = open_shards("out")
    sample = shards[0]
    sample.frames              [N,H,W,3] uint8 or uint16, sRGB codes
    sample.target              [H,W,3] likewise
    sample.depth_m             [H,W] float32, infinity allowed
    sample.blur_radius_px(i)   [H,W] float32, signed: positive behind the focus plane of frame i
    sample.crop(y, x, h, w)    the same, of a window; with tiled TIFF cells only the tiles it touches are read

Of a dataset built with `--store layers`, target and frames are photographed here and now (`photograph.py`).

A damaged shard gives one UserError that names file, row and column.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.sample import (
    ALPHA_COLUMNS,
    FRAME_COLUMNS,
    MAX_FRAMES,
    MIN_FRAMES,
    TRUST_COLUMNS,
    CameraRecord,
    Float32,
    LayerRecord,
    SourceRecord,
    decode_depth,
)
from mattingmfif.dataset.shard_file import ShardFile, ShardFiles, shard_places
from mattingmfif.dataset.tiff import Window
from mattingmfif.errors import UserError

if TYPE_CHECKING:
    from mattingmfif.dataset.photograph import Photographs

Codes = npt.NDArray[Any]


def open_shards(out: str | Path, split: str | None = None) -> Shards:
    """The samples of a built folder (or of one shard file) in the order of their names; `split` picks one split.

    `out` is a path or an address of a file system that pyarrow knows, such as `s3://bucket/folder`.
    Raises UserError if there is none, or if a file is torn or not a shard of this format.
    """
    return Shards(shard_places(out, split))


class Shards(Sequence["Sample"]):
    """The samples of several shards in order; an index makes a new Sample that holds what it has decoded."""

    def __init__(self, places: Sequence[Path | str]) -> None:
        """Open every shard once; UserError for a damaged one."""
        self.files = ShardFiles(places)
        self._starts = np.concatenate([[0], np.cumsum([file.rows for file in self.files], dtype=np.int64)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: Any) -> Any:
        """The sample at an integer index, a list of samples for a slice."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return Sample(self.files[number], index - int(self._starts[number]))

    def __iter__(self) -> Iterator[Sample]:
        return (Sample(file, row) for file in self.files for row in range(file.rows))

    def __repr__(self) -> str:
        return f"<{len(self)} samples in {len(self.files)} shards>"


class Sample:
    """One sample, or a window of one; arrays are decoded when first asked for and kept with the object."""

    def __init__(self, file: ShardFile, row: int, window: Window | None = None, record: Any = None) -> None:
        self.file = file
        self.row = row
        self.window = window
        #: the columns other than images as plain values
        self.record: dict[str, Any] = file.record(row) if record is None else record
        self.focus_distance_m: list[float] = list(self.record["focus_distance_m"] or ())
        self.n_frames = len(self.focus_distance_m)
        if not MIN_FRAMES <= self.n_frames <= MAX_FRAMES:
            raise file.fault(row, "focus_distance_m", ValueError("not 2 to 7 focus distances"))
        self.sample_id: str = self.record["sample_id"]
        self.split: str = self.record["split"]
        self.licence: str = self.record["licence"]
        self.focus_plan: str = self.record["focus_plan"]
        self.codec: str = self.record["codec"]
        self.recipe_hash: str = self.record["recipe_hash"]
        self.plan_id: str = self.record["plan_id"]
        self.toolkit_version: str = self.record["toolkit_version"]
        self.store = file.store
        #: of `--store layers`: margin, quality, largest radius, coding of distance maps; else None
        self.layer_store: dict[str, Any] | None = self.record.get("layer_store")
        #: hash of every whole image by column, None where the sample has none
        self.pixel_sha256: dict[str, str | None] = dict(self.record["pixel_sha256"] or {})

    def image(self, column: str) -> Codes | None:
        """Stored codes of any image column (`frame_3`, `depth`, `alpha_0`, …), None where the sample has none."""
        return self.file.image(self.row, column, self.window)

    def crop(self, y: int, x: int, height: int, width: int) -> Sample:
        """The same sample seen through a window, y and x counted from this one's corner; UserError if it leaves it."""
        top, left, full_height, full_width = self.window or (0, 0, *self.size)
        if min(y, x) < 0 or min(height, width) < 1 or y + height > full_height or x + width > full_width:
            raise UserError(f"crop({y}, {x}, {height}, {width}): leaves the sample of {full_height} x {full_width} px")
        return Sample(self.file, self.row, (top + y, left + x, height, width), self.record)

    @functools.cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) in px of every image of the sample, or of the window."""
        return self.window[2:] if self.window else self.file.image_size(self.row, "depth")

    @functools.cached_property
    def frames(self) -> Codes:
        """[N,H,W,3] sRGB codes, uint8 or uint16, in the order of `focus_distance_m`."""
        if self.store == "layers":
            return self._photographs.frames
        return self._stack(FRAME_COLUMNS[: self.n_frames])

    @functools.cached_property
    def target(self) -> Codes:
        """[H,W,3] sRGB codes of the scene without blur."""
        if self.store == "layers":
            from mattingmfif.dataset.photograph import reassembled

            return reassembled(self)
        return self._need("all_in_focus")

    def quick_frame(self, number: int) -> Codes:
        """[H,W,3] one of `frames`, for looking: stored layers are photographed by the layered product.

        That takes a fraction of the time; what is in focus has the same codes.
        """
        if self.store == "layers":
            codes: Codes = self._quick_photographs.frames[number]
            return codes
        return self._need(FRAME_COLUMNS[number])

    @functools.cached_property
    def _quick_photographs(self) -> Photographs:
        from mattingmfif.dataset.photograph import photograph

        return photograph(self, quality="fast", maps=False)

    @functools.cached_property
    def _photographs(self) -> Photographs:
        from mattingmfif.dataset.photograph import photograph

        return photograph(self)

    @functools.cached_property
    def depth_m(self) -> Float32:
        """[H,W] distance in metres of the layer that is seen most, float32, infinity allowed."""
        return decode_depth(self._need("depth"), self.camera.depth_scale, self.camera.depth_offset)

    @functools.cached_property
    def alphas(self) -> Float32:
        """[K,H,W] mattes in 0..1, float32, nearest layer first; K may be 0."""
        count = sum(self.pixel_sha256.get(name) is not None for name in ALPHA_COLUMNS)
        if not count:
            return np.zeros((0, *self.size), np.float32)
        return self._stack(ALPHA_COLUMNS[:count]).astype(np.float32) / np.float32(65535)

    @functools.cached_property
    def sharpest_frame(self) -> npt.NDArray[np.uint8]:
        """[H,W] index of the frame with the least blur, 255 where none has a radius of 0.5 px or less (the gap)."""
        return self._need("sharpest_frame")

    @functools.cached_property
    def boundary(self) -> npt.NDArray[np.bool_]:
        """[H,W] pixels that the blur of a matte edge reaches in some frame."""
        return self._need("boundary") > 0

    @functools.cached_property
    def trust(self) -> Float32:
        """[H,W] share of the target's light that was photographed rather than invented, 0..1."""
        return self._need("trust").astype(np.float32) / np.float32(255)

    @functools.cached_property
    def frame_trust(self) -> Float32:
        """[N,H,W] the same share for each frame, 0..1."""
        return self._stack(TRUST_COLUMNS[: self.n_frames]).astype(np.float32) / np.float32(255)

    def blur_radius_px(self, frame: int) -> Float32:
        """[H,W] signed blur radius of the frame in px at full image width: negative in front of the focus plane."""
        from mattingmfif.dataset.camera import radius_px

        return radius_px(self.camera, self.depth_m, self.focus_distance_m[frame])

    @functools.cached_property
    def sources(self) -> list[SourceRecord]:
        """The photographs of which the sample is made."""
        return [SourceRecord(**source) for source in self.record["sources"]]

    @functools.cached_property
    def camera(self) -> CameraRecord:
        """The camera as drawn."""
        try:
            plain = dict(self.record["camera"])
            for name in ("lens_options", "sensor", "draws"):
                plain[name] = json.loads(plain[name])
            return CameraRecord(**plain)
        except (TypeError, ValueError) as error:
            raise self.file.fault(self.row, "camera", error) from None

    @functools.cached_property
    def layers(self) -> list[LayerRecord]:
        """The layers nearest first; the last is the opaque background, the others belong to `alphas`."""
        try:
            return [LayerRecord(**{**layer, "scores": json.loads(layer["scores"])}) for layer in self.record["layers"]]
        except (TypeError, ValueError) as error:
            raise self.file.fault(self.row, "layers", error) from None

    def __repr__(self) -> str:
        return f"<sample {self.sample_id}: {self.n_frames} frames of {self.size[1]} x {self.size[0]} px>"

    def _need(self, column: str) -> Codes:
        image = self.image(column)
        if image is None:
            raise self.file.fault(self.row, column, ValueError("absent"))
        return image

    def _stack(self, columns: Sequence[str]) -> Codes:
        first = self._need(columns[0])
        stack = np.empty((len(columns), *first.shape), first.dtype)
        stack[0] = first
        for k, column in enumerate(columns[1:], start=1):
            if self.file.image(self.row, column, self.window, stack[k]) is None:
                raise self.file.fault(self.row, column, ValueError("absent"))
        return stack
