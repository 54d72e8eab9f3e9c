"""The checks of one sample that need no other: its record, its pixels' hashes, the physics, and making it again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np

from mattingmfif.dataset.layer_store import LAYER_COLUMNS, expected_columns
from mattingmfif.dataset.physics import check_physics
from mattingmfif.dataset.plan import Plan
from mattingmfif.dataset.reader import Sample
from mattingmfif.dataset.sample import (
    ALPHA_COLUMNS,
    FRAME_COLUMNS,
    TRUST_COLUMNS,
    SampleRecord,
    encode_depth,
    pixel_sha256,
)
from mattingmfif.dataset.schema import COLOUR_COLUMNS, pixel_columns
from mattingmfif.dataset.shard_file import ShardFile
from mattingmfif.dataset.shards import parse_shard_name, stored_pixels
from mattingmfif.errors import UserError

#: images of 16 bits whatever the colour has
_WIDE = ("depth", "alpha_", "layer_alpha_", "layer_distance_")


class SampleCheck:
    """The checks of one row that need no other row: damaged, record, checksum and the physics."""

    def __init__(self, file: ShardFile, row: int, plan: Plan | None) -> None:
        self.file, self.row, self.plan = file, row, plan
        self.sample: Sample | None = None
        self.sample_id = f"row {row}"
        self.images = 0

    def run(self) -> Iterator[tuple[str, str]]:
        """(check, detail) of every fault; a cell that cannot be read ends the checks of its row."""
        try:
            sample = Sample(self.file, self.row)
            self.sample_id = str(sample.sample_id)
            faulty = False
            for finding in [*self._record(sample), *self._pixels(sample)]:
                faulty = True
                yield finding
            self.sample = sample
            if not faulty:
                yield from check_physics(sample)
        except UserError as error:
            yield "damaged", str(error)
        except (TypeError, ValueError, KeyError, AssertionError) as error:
            yield "record", f"cannot be understood ({type(error).__name__}: {error})"

    def _record(self, sample: Sample) -> Iterator[tuple[str, str]]:
        stamp = self.file.metadata
        named = parse_shard_name(self.file.path.name)
        for key, value in (("plan_id", sample.plan_id), ("recipe_hash", sample.recipe_hash), ("codec", sample.codec)):
            if value != stamp.get(key):
                yield "record", f"{key} {value!r} differs from that of the shard"
        if named and sample.split != named[0]:
            yield "record", f"split {sample.split!r} in a shard of {named[0]!r}"
        present = {name for name, digest in sample.pixel_sha256.items() if digest is not None}
        n_alphas = sum(name in present for name in ALPHA_COLUMNS)
        expected = {"depth", "sharpest_frame", "boundary", "trust"}
        expected |= {*TRUST_COLUMNS[: sample.n_frames], *ALPHA_COLUMNS[:n_alphas]}
        optional: set[str] = set()
        if sample.layer_store is not None:
            stored, optional = expected_columns(sample.layer_store, len(sample.layers))
            expected |= stored
        else:
            expected |= {"all_in_focus", *FRAME_COLUMNS[: sample.n_frames]}
        for name in sorted((present ^ expected) - optional):
            yield (
                "record",
                f"{name} is {'there without' if name in present else 'missing for'} its focus distance or layer",
            )
        if len(sample.layers) != n_alphas + 1:
            yield "record", f"{len(sample.layers)} layers for {n_alphas} mattes and a background"
        for layer in sample.layers:
            if not 0 <= layer.source < len(sample.sources) or not 0 < layer.near_m <= layer.far_m:
                yield "record", f"layer {layer.kind!r}: source {layer.source}, {layer.near_m} to {layer.far_m} m"
        if min(sample.focus_distance_m) * 1000 <= sample.camera.focal_length_mm:
            yield "record", "a focus distance lies inside the focal length"
        if self.plan is not None:
            planned = {(source.path, source.sha256): source for source in self.plan.sources}
            for source in sample.sources:
                known = planned.get((source.path, source.sha256))
                if known is None:
                    yield "record", f"source {source.path!r} is not in the plan"
                elif (known.licence, known.author, known.url) != (source.licence, source.author, source.url):
                    yield "record", f"source {source.path!r}: licence or attribution differs from the plan"

    def _pixels(self, sample: Sample) -> Iterator[tuple[str, str]]:
        bits = int(self.file.metadata.get("bits", "8"))
        margin = int(sample.layer_store["margin_px"]) if sample.layer_store is not None else 0
        canvas = sample.size[0] + 2 * margin, sample.size[1] + 2 * margin
        for name in pixel_columns(self.file.store):
            digest, image = sample.pixel_sha256.get(name), self.file.image(self.row, name)
            if (digest is None) != (image is None):
                yield "record", f"{name}: {'no image' if image is None else 'no hash'}"
            if image is None:
                continue
            self.images += 1
            colour = name in COLOUR_COLUMNS
            wide = bits == 16 if colour else name.startswith(_WIDE)
            size = canvas if name in LAYER_COLUMNS else sample.size
            shape = (*size, 3) if colour else size
            if image.shape != shape or image.dtype != (np.uint16 if wide else np.uint8):
                yield "record", f"{name}: {image.dtype} {list(image.shape)}; expected {list(shape)}"
            elif digest is not None and pixel_sha256(image) != digest:
                yield "checksum", f"{name}: the pixels are not those that were written"


def rerender_choice(found: list[tuple[str, str, int]], count: int) -> list[tuple[str, str, int]]:
    """`count` samples (id, shard, row) picked by the hash of their ids: spread, the same at every call."""
    return sorted(found, key=lambda item: hashlib.sha256(item[0].encode()).hexdigest())[:count]


def compare_with_record(sample: Sample, make: Callable[[str], SampleRecord]) -> Iterator[str]:
    """What differs between a stored sample and the same sample made again by `make(sample_id)`."""
    try:
        record = make(sample.sample_id)
    except Exception as error:  # the fault of one sample is a row of the report, whatever it is
        yield f"could not be made again ({type(error).__name__}: {error})"
        return
    codes, _, _ = encode_depth(record.depth_m)
    again = stored_pixels(record, sample.store, codes)
    for name in pixel_columns(sample.store):
        stored = sample.image(name)
        if (stored is None) != (name not in again):
            yield f"{name}: {'now made' if stored is None else 'no longer made'}"
        elif stored is not None and (stored.shape != again[name].shape or stored.dtype != again[name].dtype):
            yield f"{name}: {again[name].dtype} {list(again[name].shape)} instead of {list(stored.shape)}"
        elif stored is not None and not np.array_equal(stored, again[name]):
            difference = np.abs(stored.astype(np.int64) - again[name])
            yield f"{name}: {np.count_nonzero(difference)} values differ, by up to {int(difference.max())} codes"
