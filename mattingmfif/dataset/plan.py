"""The plan: which photographs make which samples in which shards, decided before anything is rendered.

A plan is written once, to `OUT/plan.json`, and every worker, resume and check follows it. Its `plan_id` is the sha256
of what decides the pixels and their grouping; jobs, engine, previews and the package's version are not in it. The split
of a photograph comes from the content of the first of its near-duplicates, and a sample's random streams from the
content of its sources, so photographs that are added change neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mattingmfif.dataset.recipe import Recipe, SplitSettings, recipe_from_plain
from mattingmfif.dataset.sample import FORMAT_VERSION, check_key
from mattingmfif.dataset.shards import parse_shard_name, shard_name
from mattingmfif.dataset.whole_files import write_whole
from mattingmfif.errors import UserError
from mattingmfif.scene.draw import stage_rng

PLAN_FILE = "plan.json"
SPLITS = ("train", "val", "test")
MAX_PLAN_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Source:
    """A photograph that passed the scan."""

    path: str  # relative to the source folder, with forward slashes
    sha256: str
    licence: str
    author: str
    url: str
    height: int  # at the recipe's size
    width: int
    group: str  # near-duplicates share it: sha256 of the first of them
    split: str
    subjects: int  # usable subjects found, 0 when there are none
    why_no_subject: str
    has_depth: bool
    sidecars: tuple[tuple[str, str], ...]  # (name, sha256) of the files that say something about it
    scores: dict[str, float]
    overruled: bool = False  # a person keeps it against the gates


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A photograph, or one sample of it, that was left out: a row of rejects.jsonl."""

    path: str
    sha256: str | None
    stage: str
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class PlannedSample:
    """A sample to make: its kind and the indices of its sources, the first being the one it is named after."""

    sample_id: str
    key: str  # of its random streams
    split: str
    kind: str
    sources: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """A shard to write: its file name and the indices of its samples, in order."""

    name: str
    split: str
    samples: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is decided before rendering."""

    plan_id: str
    recipe: Recipe
    seed: int
    codec: str
    store: str
    inputs: tuple[tuple[str, str], ...]  # (name, sha256) of every file that was read, sorted
    sources: tuple[Source, ...]
    samples: tuple[PlannedSample, ...]
    shards: tuple[PlannedShard, ...]
    rejects: tuple[Reject, ...]

    def part(self, shard: PlannedShard) -> Plan:
        """What one worker needs of the plan for one shard: the same samples with their sources, and nothing else."""
        samples = [self.samples[index] for index in shard.samples]
        kept = sorted({source for sample in samples for source in sample.sources})
        place = {source: index for index, source in enumerate(kept)}
        return replace(
            self,
            inputs=(),
            rejects=(),
            sources=tuple(self.sources[index] for index in kept),
            samples=tuple(replace(item, sources=tuple(place[index] for index in item.sources)) for item in samples),
            shards=(replace(shard, samples=tuple(range(len(samples)))),),
        )

    def to_json(self) -> str:
        """The text of plan.json."""
        plain = {
            "format_version": FORMAT_VERSION,
            "plan_id": self.plan_id,
            "recipe": self.recipe.to_plain(),
            "seed": self.seed,
            "codec": self.codec,
            "store": self.store,
            "inputs": [list(pair) for pair in self.inputs],
            "sources": [asdict(item) for item in self.sources],
            "samples": [asdict(item) for item in self.samples],
            "shards": [asdict(item) for item in self.shards],
            "rejects": [asdict(item) for item in self.rejects],
        }
        return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def plan_identity(recipe: Recipe, seed: int, codec: str, store: str, inputs: tuple[tuple[str, str], ...]) -> str:
    """sha256 of (format version, resolved recipe, seed, codec, store, samples per shard, sorted (path, sha256))."""
    identity = {
        "format_version": FORMAT_VERSION,
        "recipe": recipe.to_plain(),
        "seed": seed,
        "codec": codec,
        "store": store,
        "samples_per_shard": recipe.output.samples_per_shard,
        "inputs": [list(pair) for pair in sorted(inputs)],
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def split_of(group: str, shares: SplitSettings) -> str:
    """The split of a near-duplicate group (a sha256): its hash cut by the recipe's shares."""
    position = int(hashlib.sha256(f"split {group}".encode()).hexdigest()[:13], 16) / 16**13
    if position < shares.train:
        return "train"
    return "val" if position < shares.train + shares.val else "test"


def plan_samples(recipe: Recipe, seed: int, sources: tuple[Source, ...]) -> tuple[PlannedSample, ...]:
    """The samples that the sources make, in the sources' order."""
    with_subject: dict[str, list[int]] = {}
    for index, source in enumerate(sources):
        if source.subjects:
            with_subject.setdefault(source.split, []).append(index)
    samples = []
    for index, source in enumerate(sources):
        for variant in range(recipe.output.samples_per_photo):
            key = f"{source.sha256}/{variant}"
            rng = stage_rng(seed, key, "kind")
            kind = recipe.scene.kind.word(rng)
            members: tuple[int, ...] = (index,)
            if kind == "composite":
                partners = [
                    other for other in with_subject.get(source.split, []) if sources[other].group != source.group
                ]
                count = min(int(recipe.scene.composite_subjects.number(rng)), recipe.scene.subjects_max, len(partners))
                if count:
                    drawn = [partners[number] for number in stage_rng(seed, key, "partners").permutation(len(partners))]
                    first_of_group = {sources[other].group: other for other in reversed(drawn)}
                    chosen = [other for other in drawn if first_of_group[sources[other].group] == other][:count]
                    members = (index, *chosen)  # no two that show the same
                    key = "+".join([key, *(sources[item].sha256 for item in members[1:])])
                else:
                    kind = "in-place"  # nobody in this split has a subject to lend
            text = f"{recipe.recipe_hash}/{seed}/{kind}/{key}"
            samples.append(
                PlannedSample(
                    sample_id=hashlib.sha256(text.encode()).hexdigest()[:20],
                    key=key,
                    split=source.split,
                    kind=kind,
                    sources=members,
                )
            )
    return tuple(samples)


def plan_shards(recipe: Recipe, samples: tuple[PlannedSample, ...]) -> tuple[PlannedShard, ...]:
    """The samples cut into shards, split by split."""
    shards = []
    per_shard = recipe.output.samples_per_shard
    for split in SPLITS:
        in_split = [index for index, sample in enumerate(samples) if sample.split == split]
        chunks = [in_split[start : start + per_shard] for start in range(0, len(in_split), per_shard)]
        shards += [
            PlannedShard(name=shard_name(split, number, len(chunks)), split=split, samples=tuple(chunk))
            for number, chunk in enumerate(chunks)
        ]
    return tuple(shards)


def stays_inside(name: str) -> bool:
    """Whether a relative path with forward slashes names something inside its folder, on any system."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\\" not in name and "\0" not in name


def write_plan(plan: Plan, out: Path) -> None:
    """Write `OUT/plan.json` whole or not at all."""
    write_whole(out / PLAN_FILE, plan.to_json().encode())


def read_plan(out: Path) -> Plan | None:
    """The plan of a folder, None where there is none; UserError for a damaged one."""
    path = out / PLAN_FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_PLAN_BYTES:
            raise ValueError("too large")
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["format_version"] != FORMAT_VERSION:
            raise UserError(
                f"{PLAN_FILE}: format version {plain['format_version']!r}; this package reads {FORMAT_VERSION}"
            )
        plan = Plan(
            plan_id=plain["plan_id"],
            recipe=recipe_from_plain(plain["recipe"], PLAN_FILE),
            seed=plain["seed"],
            codec=plain["codec"],
            store=plain["store"],
            inputs=tuple((name, digest) for name, digest in plain["inputs"]),
            sources=tuple(
                Source(**{**item, "sidecars": tuple((name, digest) for name, digest in item["sidecars"])})
                for item in plain["sources"]
            ),
            samples=tuple(_listed(PlannedSample, item, "sources") for item in plain["samples"]),
            shards=tuple(_listed(PlannedShard, item, "samples") for item in plain["shards"]),
            rejects=tuple(Reject(**item) for item in plain["rejects"]),
        )
        _check_places(plan)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{PLAN_FILE}: damaged ({type(error).__name__}: {error}); build into a new folder") from None
    if plan.plan_id != plan_identity(plan.recipe, plan.seed, plan.codec, plan.store, plan.inputs):
        raise UserError(f"{PLAN_FILE}: its contents do not belong to its plan_id; build into a new folder")
    return plan


def _check_places(plan: Plan) -> None:
    """ValueError where a name in a plan would lead out of its folder, or a number to nothing: plans travel."""
    for source in plan.sources:
        if not stays_inside(source.path):
            raise ValueError(f"source {source.path!r} lies outside the folder of photographs")
    for sample in plan.samples:
        check_key(sample.sample_id)
        if not sample.sources or not all(0 <= index < len(plan.sources) for index in sample.sources):
            raise ValueError(f"sample {sample.sample_id} has no such source")
    for shard in plan.shards:
        if parse_shard_name(shard.name) is None or not all(0 <= index < len(plan.samples) for index in shard.samples):
            raise ValueError(f"shard {shard.name!r} is none, or has no such sample")


def _listed(kind: Any, item: Mapping[str, Any], key: str) -> Any:
    return kind(**{**item, key: tuple(item[key])})


def differences(
    found: Plan, recipe: Recipe, seed: int, codec: str, store: str, inputs: tuple[tuple[str, str], ...]
) -> list[str]:
    """What keeps a request from continuing a plan: recipe keys with both values, options, files; one line each."""
    lines = []
    before, after = _flat(found.recipe.to_plain()), _flat(recipe.to_plain())
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            lines.append(f"recipe {key}: planned {before.get(key)!r}, now {after.get(key)!r}")
    for name, old, new in (("seed", found.seed, seed), ("codec", found.codec, codec), ("store", found.store, store)):
        if old != new:
            lines.append(f"--{name}: planned {old!r}, now {new!r}")
    old_files, new_files = dict(found.inputs), dict(inputs)
    for path in sorted(old_files.keys() | new_files.keys()):
        if path not in new_files:
            lines.append(f"file {path}: planned, not there now")
        elif path not in old_files:
            lines.append(f"file {path}: not planned, there now")
        elif old_files[path] != new_files[path]:
            lines.append(f"file {path}: its content changed")
    return lines


def _flat(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, dict) and not prefix:
            flat |= _flat(value, f"{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
