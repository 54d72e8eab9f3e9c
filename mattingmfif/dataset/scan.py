"""What a scan's findings add up to: duplicates refused, near-duplicates together, licences allowed or not, splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from mattingmfif.dataset.intake import Scanned, ScanTask
from mattingmfif.dataset.plan import Plan, Reject, Source, split_of
from mattingmfif.dataset.recipe import Recipe
from mattingmfif.photo.duplicates import NEAR_DUPLICATE_BITS, VIEWS, distances, words_of
from mattingmfif.photo.sources import as_text

#: hashes that differ by at most this many of 256 bits are the same picture, saved again
SAME_PICTURE_BITS = 6


@dataclass(frozen=True)
class Home:
    """Where a photograph belongs: the SHA-256 of the first of its near-duplicates, and the split of them all."""

    group: str
    split: str


def homes_of(plan: Plan) -> dict[str, Home]:
    """By SHA-256, where the photographs of a plan belong."""
    return {source.sha256: Home(source.group, source.split) for source in plan.sources}


def settle(
    tasks: Sequence[ScanTask],
    results: Sequence[Scanned | Reject | None],
    recipe: Recipe,
    allow_licences: tuple[str, ...],
    earlier: Mapping[str, Home] = MappingProxyType({}),
) -> tuple[tuple[Source, ...], tuple[Reject, ...]]:
    """The sources of a plan in path order, and the refused photographs, from what was scanned (None: a worker died).

    `earlier` has, by SHA-256, the homes of photographs of an earlier dataset: they come first and stay there.
    """
    rejects: list[Reject] = []
    kept: list[Scanned] = []
    for task, result in zip(tasks, results, strict=True):
        if result is None:
            rejects.append(_reject(task.path, None, "crashed-worker", "its worker process died twice while scanning"))
        elif isinstance(result, Reject):
            rejects.append(result)
        elif allow_licences and result.licence.licence not in allow_licences:
            detail = f"{result.licence.licence!r}; allowed: {', '.join(allow_licences)}"
            rejects.append(_reject(result.path, result.sha256, "licence-not-allowed", detail))
        else:
            kept.append(result)
    kept, doubles = _without_doubles(sorted(kept, key=lambda item: (item.sha256 not in earlier, item.path)))
    rejects += doubles
    kept, homes, bridges = _grouped(kept, recipe, earlier)
    rejects += bridges
    sources = []
    for item in sorted(kept, key=lambda item: item.path):
        sources.append(
            Source(
                path=item.path,
                sha256=item.sha256,
                licence=item.licence.licence,
                author=item.licence.author,
                url=item.licence.url,
                height=item.height,
                width=item.width,
                group=homes[item.path].group,
                split=homes[item.path].split,
                subjects=item.subjects,
                why_no_subject=item.why_no_subject,
                has_depth=item.has_depth,
                sidecars=item.sidecars,
                scores=item.scores,
                overruled=item.overruled,
            )
        )
    rejects = [replace(item, path=as_text(item.path)) for item in rejects]
    return tuple(sources), tuple(sorted(rejects, key=lambda item: item.path))


def _without_doubles(kept: list[Scanned]) -> tuple[list[Scanned], list[Reject]]:
    """The first of every set of equal files or equal pictures, and refusals of the others."""
    unique: list[Scanned] = []
    rejects: list[Reject] = []
    by_digest: dict[str, Scanned] = {}
    words = np.zeros((len(kept), 4), np.uint64)  # hashes of the unique ones so far
    for item in kept:
        if item.sha256 in by_digest:
            detail = f"the same file as {by_digest[item.sha256].path}"
            rejects.append(_reject(item.path, item.sha256, "duplicate", detail))
            continue
        word = words_of(item.perceptual_hash)[0]
        same = np.flatnonzero(distances(words[: len(unique)], word) <= SAME_PICTURE_BITS)
        if len(same):
            detail = f"the same picture as {unique[int(same[0])].path}"
            rejects.append(_reject(item.path, item.sha256, "duplicate", detail))
            continue
        by_digest[item.sha256] = item
        words[len(unique)] = word
        unique.append(item)
    return unique, rejects


def _grouped(
    kept: list[Scanned], recipe: Recipe, earlier: Mapping[str, Home]
) -> tuple[list[Scanned], dict[str, Home], list[Reject]]:
    """Those that stay, by path their home, and refusals. `kept` comes in the order in which photographs have a say.

    A photograph joins the near-duplicates before it and takes their split; groups that it joins become one. Where they
    are in different splits it is refused, so that none of those before it moves. Those of an earlier dataset stay where
    they were, whatever they are near to.
    """
    stay: list[Scanned] = []
    rejects: list[Reject] = []
    homes: list[Home] = []  # of each that stays
    words = np.zeros((len(kept), 4), np.uint64)
    views = np.zeros((len(kept), VIEWS, 4), np.uint64)
    for item in kept:
        word, own_views = words_of(item.perceptual_hash)[0], words_of(item.view_hashes)
        home = earlier.get(item.sha256)
        if home is None:
            before = slice(len(stay))
            least = distances(words[before], word)
            if len(own_views) and len(stay):  # either may be a part of the other, or turned
                least = np.minimum(least, distances(views[before], word).min(axis=1))
                least = np.minimum(least, distances(words[before, None], own_views).min(axis=1))
            near = {homes[int(index)]: int(index) for index in np.flatnonzero(least <= NEAR_DUPLICATE_BITS)[::-1]}
            splits = {joined.split: stay[index].path for joined, index in near.items()}
            if len(splits) > 1:
                detail = " and of ".join(f"{path} ({split})" for split, path in sorted(splits.items()))
                rejects.append(
                    _reject(item.path, item.sha256, "near-duplicate-across-splits", f"a near-duplicate of {detail}")
                )
                continue
            own = Home(group=item.sha256, split=split_of(item.sha256, recipe.splits))
            home = min(near, key=lambda joined: near[joined], default=own)
            homes = [home if other in near else other for other in homes]
        words[len(stay)] = word
        views[len(stay)] = own_views if len(own_views) else word
        homes.append(home)
        stay.append(item)
    return stay, {item.path: home for item, home in zip(stay, homes, strict=True)}, rejects


def _reject(path: str, digest: str | None, reason: str, detail: str) -> Reject:
    return Reject(path=path, sha256=digest, stage="scan", reason=reason, detail=detail)
