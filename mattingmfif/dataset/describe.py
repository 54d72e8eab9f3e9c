"""What a dataset holds, in numbers: counted from the records of all samples, measured on the maps of some.

Counting reads no pixel. Shares (gap, boundary, trust) need the maps, so they are measured on at most `MEASURED`
samples, picked by the hash of their ids.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

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
    ranked = sorted(range(len(shards)), key=lambda k: hashlib.sha256(shards[k].sample_id.encode()).hexdigest())
    return sorted(ranked[:count])


def describe(shards: Shards, measured: int = MEASURED) -> Description:
    """Count all samples and measure the maps of at most `measured` of them."""
    sources: dict[str, SourceRecord] = {}
    by_split: dict[str, list[Sample]] = {}
    radii, nearest, farthest, focal, f_numbers = [], [], [], [], []
    sizes: Counter[tuple[int, int]] = Counter()
    image_bytes = 0
    models: Counter[tuple[str, str, str, str]] = Counter()
    for sample in shards:
        for part, model in dict(sample.camera.draws.get("models", {})).items():
            models[part, *(str(model.get(key, "")) for key in ("model", "model_licence", "model_sha256"))] += 1
        by_split.setdefault(sample.split, []).append(sample)
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
    everything = [sample for samples in by_split.values() for sample in samples]
    return Description(
        splits=[_split(name, samples, shards) for name, samples in by_split.items()],
        sizes=sizes,
        frames=Counter(sample.n_frames for sample in everything),
        layers=Counter(len(sample.layers) for sample in everything),
        plans=Counter(sample.focus_plan for sample in everything),
        licences=Counter(sample.licence for sample in everything),
        bits=int(shards.files[0].metadata.get("bits", "8")),
        codec=shards.files[0].metadata.get("codec", ""),
        store=shards.files[0].store,
        recipe_hashes=sorted({sample.recipe_hash for sample in everything}),
        plan_ids=sorted({sample.plan_id for sample in everything}),
        toolkit_versions=sorted({sample.toolkit_version for sample in everything}),
        sources=sorted(sources.values(), key=lambda source: (source.path, source.sha256)),
        largest_radius_px=radii,
        nearest_m=nearest,
        farthest_m=farthest,
        focal_length_mm=focal,
        f_number=f_numbers,
        image_bytes=image_bytes,
        models=models,
        shares=_shares([shards[index] for index in spread_choice(shards, measured)]),
    )


def _split(name: str, samples: Sequence[Sample], shards: Shards) -> SplitNumbers:
    files = [file for file in shards.files if file.path.name.startswith(f"{name}-")]
    return SplitNumbers(
        name=name,
        shards=len(files),
        samples=len(samples),
        frames=sum(sample.n_frames for sample in samples),
        sources=len({source.sha256 for sample in samples for source in sample.sources}),
        total_bytes=sum(file.file_bytes for file in files),
    )


def _shares(samples: Sequence[Sample]) -> Shares:
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
