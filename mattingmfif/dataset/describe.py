"""What a dataset holds, in numbers: counted from the records of all samples, measured on the maps of some.

Counting reads no pixel. Shares (gap, boundary, trust) need the maps, so they are measured on at most `MEASURED`
samples, picked by the hash of their ids.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mattingmfif.dataset.physics import layer_radii_px
from mattingmfif.dataset.reader import Sample, Shards
from mattingmfif.dataset.sample import MAX_FRAMES, NO_FRAME, TRUST_COLUMNS, SourceRecord
from mattingmfif.dataset.schema import pixel_columns

MEASURED = 200


@dataclass(frozen=True, kw_only=True)
class SplitNumbers:
    """One split: how many shards, samples, frames and source photographs, and the bytes of its shards."""

    name: str
    shards: int
    samples: int
    frames: int
    sources: int
    total_bytes: int


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Shares of pixels (0..1) by sample, in the order of the measured samples."""

    gap: list[float] = field(default_factory=list)
    boundary: list[float] = field(default_factory=list)
    target_photographed: list[float] = field(default_factory=list)
    frames_photographed: list[float] = field(default_factory=list)
    sharpest: list[list[float]] = field(default_factory=list)  # by frame index, 0 beyond the frames of a sample


@dataclass(frozen=True, kw_only=True)
class Description:
    """The numbers of a dataset; lists and counters run over all samples unless they stand in `shares`."""

    splits: list[SplitNumbers]
    sizes: Counter[tuple[int, int]]  # (width, height) in px
    frames: Counter[int]
    layers: Counter[int]
    plans: Counter[str]
    licences: Counter[str]
    bits: int
    codec: str
    store: str  # frames or layers
    recipe_hashes: list[str]
    plan_ids: list[str]
    toolkit_versions: list[str]
    sources: list[SourceRecord]
    largest_radius_px: list[float]  # of any layer in any frame, by sample
    nearest_m: list[float]
    farthest_m: list[float]
    focal_length_mm: list[float]
    f_number: list[float]
    image_bytes: int
    models: Counter[tuple[str, str, str, str]]  # (part, name, licence, sha256) of networks that had one
    shares: Shares

    @property
    def samples(self) -> int:
        """Samples of all splits."""
        return sum(split.samples for split in self.splits)

    @property
    def total_frames(self) -> int:
        """Frames of all splits."""
        return sum(split.frames for split in self.splits)

    @property
    def total_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(split.total_bytes for split in self.splits)


def spread_choice(shards: Shards, count: int) -> list[int]:
    """At most `count` indices picked by the hash of the sample ids, in the order of the dataset."""
    if len(shards) <= count:
        return list(range(len(shards)))
    # once through in order: by index every sample might open its shard anew
    ranked = sorted((hashlib.sha256(sample.sample_id.encode()).digest(), k) for k, sample in enumerate(shards))
    return sorted(k for _, k in ranked[:count])


def describe(shards: Shards, measured: int = MEASURED) -> Description:
    """Count all samples and measure the maps of at most `measured` of them."""
    sources: dict[str, SourceRecord] = {}
    splits: dict[str, _Split] = {}
    counted: dict[str, Counter[Any]] = {name: Counter() for name in _COUNTED}
    radii, nearest, farthest, focal, f_numbers = [], [], [], [], []
    sizes: Counter[tuple[int, int]] = Counter()
    image_bytes = 0
    models: Counter[tuple[str, str, str, str]] = Counter()
    for sample in shards:
        for part, model in dict(sample.camera.draws.get("models", {})).items():
            models[part, *(str(model.get(key, "")) for key in ("model", "model_licence", "model_sha256"))] += 1
        split = splits.setdefault(sample.split, _Split())
        split.samples += 1
        split.frames += sample.n_frames
        split.sources.update(source.sha256 for source in sample.sources)
        for name, value in _COUNTED.items():
            counted[name][value(sample)] += 1
        sizes[sample.size[1], sample.size[0]] += 1
        radii.append(float(np.abs(layer_radii_px(sample)).max()))
        nearest.append(min(layer.near_m for layer in sample.layers))
        farthest.append(max(layer.far_m for layer in sample.layers))
        focal.append(sample.camera.focal_length_mm)
        f_numbers.append(sample.camera.f_number)
        spans = (sample.file.span(sample.row, name) for name in (*pixel_columns(sample.store), "preview"))
        image_bytes += sum(span[1] for span in spans if span is not None)
        for source in sample.sources:
            sources.setdefault(source.sha256, source)
    return Description(
        splits=[_split_numbers(name, split, shards) for name, split in splits.items()],
        sizes=sizes,
        frames=counted["frames"],
        layers=counted["layers"],
        plans=counted["plans"],
        licences=counted["licences"],
        bits=int(shards.files[0].metadata.get("bits", "8")),
        codec=shards.files[0].metadata.get("codec", ""),
        store=shards.files[0].store,
        recipe_hashes=sorted(counted["recipe_hashes"]),
        plan_ids=sorted(counted["plan_ids"]),
        toolkit_versions=sorted(counted["toolkit_versions"]),
        sources=sorted(sources.values(), key=lambda source: (source.path, source.sha256)),
        largest_radius_px=radii,
        nearest_m=nearest,
        farthest_m=farthest,
        focal_length_mm=focal,
        f_number=f_numbers,
        image_bytes=image_bytes,
        models=models,
        shares=_shares(shards[index] for index in spread_choice(shards, measured)),
    )


@dataclass
class _Split:
    """Counts of one split while its samples go by: none of them is kept."""

    samples: int = 0
    frames: int = 0
    sources: set[str] = field(default_factory=set)


_COUNTED: dict[str, Callable[[Sample], Any]] = {
    "frames": lambda sample: sample.n_frames,
    "layers": lambda sample: len(sample.layers),
    "plans": lambda sample: sample.focus_plan,
    "licences": lambda sample: sample.licence,
    "recipe_hashes": lambda sample: sample.recipe_hash,
    "plan_ids": lambda sample: sample.plan_id,
    "toolkit_versions": lambda sample: sample.toolkit_version,
}


def _split_numbers(name: str, split: _Split, shards: Shards) -> SplitNumbers:
    sizes = [file.file_bytes for file in shards.files if file.path.name.startswith(f"{name}-")]
    return SplitNumbers(
        name=name,
        shards=len(sizes),
        samples=split.samples,
        frames=split.frames,
        sources=len(split.sources),
        total_bytes=sum(sizes),
    )


def _shares(samples: Iterable[Sample]) -> Shares:
    shares = Shares()
    for sample in samples:
        index = sample.sharpest_frame
        shares.gap.append(float((index == NO_FRAME).mean()))
        shares.sharpest.append([float((index == k).mean()) for k in range(MAX_FRAMES)])
        shares.boundary.append(float(sample.boundary.mean()))
        shares.target_photographed.append(float((sample.trust == 1).mean()))
        worst = np.full(sample.size, 255, np.uint8)
        for name in TRUST_COLUMNS[: sample.n_frames]:
            trust = sample.image(name)
            if trust is not None:
                worst = np.minimum(worst, trust)
        shares.frames_photographed.append(float((worst == 255).mean()))
    return shares
