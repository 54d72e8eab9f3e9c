"""Whether a dataset folder is what it claims to be: a list of faults, empty for a good one.

plan       OUT/plan.json is whole and belongs to its plan_id
shard      every planned shard is there, whole, stamped with this plan, and no other file pretends to be one
schema     columns, types and the Hub's declarations are those of the format
count      the samples of a shard are the planned ones in order; those left out are in its list of refusals
record     counts, sizes, types and sources of a sample agree with each other and with the plan
damaged    a cell or a record cannot be read
checksum   the pixels of every image have the recorded hash
depth, sharpest, boundary, in-focus, trust
           the images agree with the camera record (`physics.py`)
split      no source and no near-duplicate group is in two splits
manifest   OUT/manifest.parquet says what the shards say
rerender   samples made again have the same pixels
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mattingmfif.dataset.manifest import MANIFEST_FILE, manifest_rows, read_manifest
from mattingmfif.dataset.plan import Plan, PlannedShard, read_plan
from mattingmfif.dataset.reader import Sample
from mattingmfif.dataset.remote import Mirror
from mattingmfif.dataset.sample import (
    SampleRecord,
)
from mattingmfif.dataset.sample_check import SampleCheck, compare_with_record, rerender_choice
from mattingmfif.dataset.schema import shard_schema
from mattingmfif.dataset.shard_file import ShardFile
from mattingmfif.dataset.shards import parse_shard_name, refused_in_shard
from mattingmfif.errors import UserError

CHECKS = (
    "plan",
    "shard",
    "schema",
    "count",
    "record",
    "damaged",
    "checksum",
    "depth",
    "sharpest",
    "boundary",
    "in-focus",
    "trust",
    "split",
    "manifest",
    "rerender",
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong: the shard and sample (empty for the whole folder), the check, and what was seen."""

    shard: str
    sample: str
    check: str
    detail: str

    def __str__(self) -> str:
        place = " ".join(part for part in (self.shard, self.sample) if part)
        return f"{self.check}: {place + ': ' if place else ''}{self.detail}"


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What was looked at, and the faults in the order of the shards."""

    shards: int
    samples: int
    images: int
    rerendered: int
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def verify(
    out: Path | Mirror,
    rerender: int = 0,
    rerender_sample: Callable[[str], SampleRecord] | None = None,
    on_sample: Callable[[int, int], None] | None = None,
    earlier: Plan | None = None,
) -> VerifyReport:
    """Look at everything in the folder `out`; `rerender` samples are made again by `rerender_sample(sample_id)`.

    Shards are looked at one after another; of a remote folder one at a time lies on this machine. `on_sample(done,
    total)` is told of progress; photographs of an `earlier` plan must still be in its splits. Raises UserError only
    where there is nothing to look at.
    """
    mirror = out if isinstance(out, Mirror) else Mirror(folder=out)
    faults: list[Fault] = []
    plan: Plan | None = None
    try:
        plan = read_plan(mirror.folder)
        if plan is None:
            faults.append(Fault(shard="", sample="", check="plan", detail="plan.json is missing"))
    except UserError as error:
        faults.append(Fault(shard="", sample="", check="plan", detail=str(error)))
    there = mirror.data_files()
    names = [name for name in there if parse_shard_name(name)]
    if not names and plan is None:
        raise UserError(f"{mirror.folder}: neither a plan nor shards; nothing to verify")
    faults += _check_names(plan, there)
    splits, manifest = _Splits(plan, earlier), _Manifest(mirror.folder)
    found: list[tuple[str, str, int]] = []  # sample, shard, row
    images = done = 0
    for name in names:
        with mirror.at_hand(name) as path:
            of_file, file = _check_file(path, plan)
            faults += of_file
            if file is None:
                manifest.skip()
                continue
            in_shard = []
            for row in range(file.rows):
                looked = SampleCheck(file, row, plan)
                faults += [
                    Fault(shard=name, sample=looked.sample_id, check=check, detail=text) for check, text in looked.run()
                ]
                images += looked.images
                done += 1
                if looked.sample is not None:
                    in_shard.append(looked.sample_id)
                    found.append((looked.sample_id, name, row))
                    splits.add(looked.sample)
                if on_sample is not None:
                    on_sample(done, max(done, len(plan.samples) if plan is not None else 0))
            faults += _check_count(name, file, in_shard, plan)
            manifest.compare(file)
            file.close()  # a remote shard's disk space is free when the next one comes
    faults += splits.faults
    faults += [Fault(shard="", sample="", check="manifest", detail=text) for text in manifest.ended()]
    chosen = rerender_choice(found, rerender) if rerender_sample is not None else []
    for sample_id, name, row in chosen:
        assert rerender_sample is not None
        with mirror.at_hand(name) as path:
            file = ShardFile(path)
            faults += [
                Fault(shard=name, sample=sample_id, check="rerender", detail=text)
                for text in compare_with_record(Sample(file, row), rerender_sample)
            ]
            file.close()
    return VerifyReport(shards=len(names), samples=done, images=images, rerendered=len(chosen), faults=tuple(faults))


def _check_names(plan: Plan | None, there: Iterable[str]) -> Iterator[Fault]:
    found = {name for name in there if parse_shard_name(name)}
    planned = {shard.name for shard in plan.shards} if plan is not None else found
    for name in sorted(planned - found):
        yield Fault(shard=name, sample="", check="shard", detail="planned and not there; build again")
    for name in sorted(found - planned):
        yield Fault(shard=name, sample="", check="shard", detail="there and not planned")
    for name in sorted(set(there) - found):
        yield Fault(shard=name, sample="", check="shard", detail="not a shard; left by a killed run?")


def _check_file(path: Path, plan: Plan | None) -> tuple[list[Fault], ShardFile | None]:
    def fault(check: str, detail: str) -> Fault:
        return Fault(shard=path.name, sample="", check=check, detail=detail)

    try:
        file = ShardFile(path)
        schema = pq.read_schema(path)
    except (UserError, OSError, pa.ArrowException) as error:
        return [fault("shard", str(error))], None
    faults = []
    bits = file.metadata.get("bits", "")
    stamp = {"shard": path.name}
    if plan is not None:
        stamp |= {"plan_id": plan.plan_id, "recipe_hash": plan.recipe.recipe_hash, "codec": plan.codec}
        stamp |= {"bits": str(plan.recipe.output.bits)}
    if plan is not None and file.store != plan.store:
        faults.append(fault("shard", f"made with --store {file.store}; planned: {plan.store}"))
    for key, value in stamp.items():
        if file.metadata.get(key) != value:
            faults.append(fault("shard", f"stamped with {key} {file.metadata.get(key)!r}; expected {value!r}"))
    expected = shard_schema(int(bits) if bits in ("8", "16") else 8, {}, file.store)
    if not schema.equals(expected):
        faults.append(fault("schema", "columns or their types are not those of the format"))
    elif file.metadata.get("huggingface") != (expected.metadata or {}).get(b"huggingface", b"").decode():
        faults.append(fault("schema", "the declarations for Hugging Face datasets are not those of the format"))
    return faults, file


def _check_count(name: str, file: ShardFile, found: list[str], plan: Plan | None) -> Iterator[Fault]:
    def fault(detail: str) -> Fault:
        return Fault(shard=name, sample="", check="count", detail=detail)

    if len(set(found)) != len(found):
        yield fault("a sample is there twice")
    shard = next((item for item in plan.shards if item.name == name), None) if plan is not None else None
    if plan is None or shard is None or len(found) != file.rows:
        return  # unplanned shards and rows that cannot be read have faults of their own
    planned = [plan.samples[index].sample_id for index in shard.samples]
    if [sample_id for sample_id in planned if sample_id in set(found)] != found:
        yield fault("samples that are not planned for this shard, or in another order")
        return
    try:
        refused = {str(row["path"]) for row in refused_in_shard(file.path)}
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        yield fault(f"the list of refusals cannot be read ({error})")
        return
    for sample_id in _unexplained(plan, shard, set(found), refused):
        yield fault(f"sample {sample_id} is missing and was not refused")


def _unexplained(plan: Plan, shard: PlannedShard, found: set[str], refused: set[str]) -> Iterator[str]:
    for index in shard.samples:
        sample = plan.samples[index]
        if sample.sample_id not in found and not refused & {plan.sources[source].path for source in sample.sources}:
            yield sample.sample_id


class _Splits:
    """Where sources and near-duplicate groups were first seen, and what is in two splits."""

    def __init__(self, plan: Plan | None, earlier: Plan | None) -> None:
        self.faults: list[Fault] = []
        self._groups = {source.sha256: source.group for source in plan.sources} if plan is not None else {}
        self._homes: dict[tuple[str, str], tuple[str, str]] = {}
        for old in earlier.sources if earlier is not None else ():
            self._homes["source", old.sha256] = (old.split, "of the earlier dataset")
            self._homes["near-duplicate group", old.group] = (old.split, "of the earlier dataset")

    def add(self, sample: Sample) -> None:
        """One sample more."""
        for source in sample.sources:
            marks = [("source", source.sha256), ("path", source.path)]
            if source.sha256 in self._groups:
                marks.append(("near-duplicate group", self._groups[source.sha256]))
            for mark in marks:
                split, first = self._homes.setdefault(mark, (sample.split, sample.sample_id))
                if split != sample.split:
                    detail = f"{mark[0]} of {source.path!r} is in {sample.split!r} and, by sample {first}, in {split!r}"
                    self.faults.append(Fault(shard="", sample=sample.sample_id, check="split", detail=detail))


class _Manifest:
    """The manifest beside the shards as these go by."""

    def __init__(self, out: Path) -> None:
        self._stored: pa.Table | None = None
        self._problem = ""
        self._row = self._different = 0
        if (out / MANIFEST_FILE).is_file():
            try:
                self._stored = read_manifest(out)
            except UserError as error:
                self._problem = str(error)

    def skip(self) -> None:
        """Compare no more: a shard that cannot be read has a fault of its own."""
        self._stored = None

    def compare(self, file: ShardFile) -> None:
        """One shard more."""
        if self._stored is None:
            return
        try:
            true = manifest_rows(file)
        except (UserError, TypeError, KeyError, ValueError):
            self.skip()
            return
        stored = self._stored.slice(self._row, len(true)).to_pylist()
        self._row += len(true)
        self._different += sum(a != b for a, b in zip(stored, true, strict=False)) + len(true) - len(stored)

    def ended(self) -> Iterator[str]:
        """What is wrong with it."""
        if self._problem:
            yield self._problem
        if self._stored is not None:
            different = self._different + max(0, self._stored.num_rows - self._row)
            if different:
                again = "make it again with `mattingmfif index`"
                yield f"{different} rows of {MANIFEST_FILE} differ from the shards; {again}"
