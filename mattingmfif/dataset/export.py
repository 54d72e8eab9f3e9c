"""A dataset in the forms that other tools read: folders of pictures, or WebDataset tar files.

    folders      DEST/<split>/<sample id>/A.png B.png … gt.png depth.png [alpha_0.png …] info.json
    webdataset   DEST/<split>-NNNNN.tar with members <sample id>.a.png … .gt.png .depth.png … .json, whole samples only

Frames stand in the order of their focus distances, nearest first. depth.png holds the codes of the inverse distance (16
bit, larger is nearer): 1 / metres = code * depth_scale + depth_offset of info.json; `mattingmfif build --depth-kind
disparity` takes it as it is. DEST/sources.csv names every photograph with its licence and author.

In info.json a distance of null is infinity.

Nothing in a file's name comes from data but the sample's id and split, and these are checked: lower-case letters,
digits, `-` and `_`. What is there is whole: files are written aside and renamed, the tar files have no times in them.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import string
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mattingmfif.dataset.card import sources_csv
from mattingmfif.dataset.cells import encode_cell
from mattingmfif.dataset.escape import redacted
from mattingmfif.dataset.reader import Sample, open_shards
from mattingmfif.dataset.sample import ALPHA_COLUMNS, SourceRecord, check_key, check_split
from mattingmfif.dataset.whole_files import write_whole
from mattingmfif.errors import EXIT_FAULTS, UserError

KINDS = ("folders", "webdataset")
#: a tar file is closed after the sample that makes it larger than this
TAR_BYTES = 1_000_000_000
SOURCES_FILE = "sources.csv"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and what was left out because of its licence."""

    samples: int
    files: int
    total_bytes: int
    left_out: dict[str, int]  # by licence


def export(
    out: str | Path,
    dest: Path,
    kind: str,
    *,
    split: str | None = None,
    limit: int | None = None,
    allow_licences: tuple[str, ...] = (),
    all_maps: bool = False,
    tar_bytes: int = TAR_BYTES,
    on_sample: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write the samples of a dataset (folder or address) into the new or empty folder `dest`.

    With `allow_licences` only samples whose every source has one of these licences; `all_maps` adds the mattes,
    sharpest_frame, boundary and trust. UserError (exit code 1) when nothing is left to write.
    """
    if kind not in KINDS:
        raise UserError(f"--to {kind}: allowed: {', '.join(KINDS)}")
    shards = open_shards(out, split)
    kept, left_out = [], Counter[str]()
    for index, sample in enumerate(shards):
        bad = [source.licence for source in sample.sources if allow_licences and source.licence not in allow_licences]
        if bad:
            left_out.update(set(bad))
        else:
            kept.append(index)
    kept = kept[:limit]
    if not kept:
        reasons = ", ".join(f"{licence} ({count})" for licence, count in sorted(left_out.items()))
        raise UserError(
            f"{redacted(str(out))}: nothing to export; left out by --allow-licences: {reasons}", EXIT_FAULTS
        )
    _prepare(dest)
    sink: _Folders | _Tars = _Folders(dest) if kind == "folders" else _Tars(dest, tar_bytes)
    sources: dict[str, SourceRecord] = {}
    try:
        for done, index in enumerate(kept, start=1):
            sample = shards[index]
            sink.add(sample, list(pictures(sample, all_maps)))
            sources |= {source.sha256: source for source in sample.sources}
            if on_sample is not None:
                on_sample(done, len(kept))
        sink.close()
    except BaseException:
        sink.drop()
        raise
    named = sorted(sources.values(), key=lambda source: (source.path, source.sha256))
    write_whole(dest / SOURCES_FILE, sources_csv(named).encode())
    return Exported(
        samples=len(kept), files=sink.files + 1, total_bytes=sink.total_bytes, left_out=dict(sorted(left_out.items()))
    )


def pictures(sample: Sample, all_maps: bool) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file of a sample, info.json last."""
    for letter, frame in zip(string.ascii_uppercase, sample.frames, strict=False):
        yield f"{letter}.png", encode_cell(frame, "png")
    yield "gt.png", encode_cell(sample.target, "png")
    depth = sample.image("depth")
    assert depth is not None
    yield "depth.png", encode_cell(depth, "png")
    if all_maps:
        for name in (*ALPHA_COLUMNS, "sharpest_frame", "boundary", "trust"):
            image = sample.image(name)
            if image is not None:
                yield f"{name}.png", encode_cell(np.ascontiguousarray(image), "png")
    yield "info.json", (json.dumps(_info(sample), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _info(sample: Sample) -> dict[str, Any]:
    camera = asdict(sample.camera)
    return {
        "sample_id": sample.sample_id,
        "split": sample.split,
        "licence": sample.licence,
        "sources": [{**asdict(source), "url": redacted(source.url)} for source in sample.sources],
        "focus_plan": sample.focus_plan,
        "focus_distance_m": [_finite(value) for value in sample.focus_distance_m],
        "camera": {name: value for name, value in camera.items() if name != "draws"},
        "layers": [
            {"kind": layer.kind, "near_m": _finite(layer.near_m), "far_m": _finite(layer.far_m)}
            for layer in sample.layers
        ],
        "plan_id": sample.plan_id,
        "recipe_hash": sample.recipe_hash,
        "toolkit_version": sample.toolkit_version,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None  # JSON has no infinity


def _safe_names(sample: Sample) -> tuple[str, str]:
    """Split and id as parts of file names; UserError for any that could leave the folder."""
    try:
        check_key(sample.sample_id)
        check_split(sample.split)
    except (ValueError, TypeError) as error:
        raise UserError(f"{sample.file.path.name}, row {sample.row}: {error}", EXIT_FAULTS) from None
    return sample.split, sample.sample_id


class _Folders:
    """One folder a sample."""

    def __init__(self, dest: Path) -> None:
        self.dest, self.files, self.total_bytes = dest, 0, 0
        self._open: Path | None = None

    def add(self, sample: Sample, content: list[tuple[str, bytes]]) -> None:
        split, name = _safe_names(sample)
        final = self.dest / split / name
        self._open = final.with_name(f".{name}.part")
        self._open.mkdir(parents=True)
        for file, data in content:
            (self._open / file).write_bytes(data)
            self.files += 1
            self.total_bytes += len(data)
        self._open.rename(final)
        self._open = None

    def close(self) -> None:
        """Nothing is open between samples."""

    def drop(self) -> None:
        if self._open is not None:
            shutil.rmtree(self._open, ignore_errors=True)


class _Tars:
    """Tar files of whole samples, one after another for each split."""

    def __init__(self, dest: Path, tar_bytes: int) -> None:
        self.dest, self.tar_bytes, self.files, self.total_bytes = dest, tar_bytes, 0, 0
        self._counts = Counter[str]()
        self._split, self._part = "", dest / ".part"
        self._tar: tarfile.TarFile | None = None

    def add(self, sample: Sample, content: list[tuple[str, bytes]]) -> None:
        split, name = _safe_names(sample)
        if self._tar is not None and (split != self._split or self._tar.offset >= self.tar_bytes):
            self.close()
        if self._tar is None:
            self._split = split
            self._tar = tarfile.open(self._part, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        for file, data in content:
            # a key ends at the first dot; readers lower the rest
            member = tarfile.TarInfo(f"{name}.{'json' if file == 'info.json' else file.lower()}")
            member.size, member.mode = len(data), 0o644
            self._tar.addfile(member, io.BytesIO(data))

    def close(self) -> None:
        if self._tar is None:
            return
        self._tar.close()
        self._tar = None
        with self._part.open("rb") as stream:
            os.fsync(stream.fileno())
        self.total_bytes += self._part.stat().st_size
        self.files += 1
        self._part.rename(self.dest / f"{self._split}-{self._counts[self._split]:05d}.tar")
        self._counts[self._split] += 1

    def drop(self) -> None:
        if self._tar is not None:
            self._tar.close()
        self._part.unlink(missing_ok=True)


def _prepare(dest: Path) -> None:
    try:
        dest.mkdir(parents=True, exist_ok=True)
        there = next(iter(sorted(item.name for item in dest.iterdir())), None)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"--dest {dest}: is a file, not a folder") from None
    if there is not None:
        raise UserError(f"--dest {dest}: holds {there!r}; give a new or empty folder")
