"""What a scan's findings add up to: duplicates refused, near-duplicates together, licences allowed or not, splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mattingmfif.dataset.intake import Scanned, ScanTask
from mattingmfif.dataset.plan import Reject, Source, split_of
from mattingmfif.dataset.recipe import Recipe
from mattingmfif.photo.duplicates import NEAR_DUPLICATE_BITS

#: hashes that differ by at most this many of 256 bits are the same picture, saved again
SAME_PICTURE_BITS = 6


def settle(
    tasks: Sequence[ScanTask],
    results: Sequence[Scanned | Reject | None],
    recipe: Recipe,
    allow_licences: tuple[str, ...],
) -> tuple[tuple[Source, ...], tuple[Reject, ...]]:
    """The sources of a plan in path order, and the refused photographs, from what was scanned (None: a worker died)."""
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
    kept, doubles = _without_doubles(sorted(kept, key=lambda item: item.path))
    rejects += doubles
    kept, groups, bridges = _grouped(kept, recipe)
    rejects += bridges
    sources = []
    for item in kept:
        first = groups[item.path]
        sources.append(
            Source(
                path=item.path,
                sha256=item.sha256,
                licence=item.licence.licence,
                author=item.licence.author,
                url=item.licence.url,
                height=item.height,
                width=item.width,
                group=first,
                split=split_of(first, recipe.splits),
                subjects=item.subjects,
                why_no_subject=item.why_no_subject,
                has_depth=item.has_depth,
                sidecars=item.sidecars,
                scores=item.scores,
                overruled=item.overruled,
            )
        )
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
        word = np.frombuffer(bytes.fromhex(item.perceptual_hash), np.uint64)
        distances = np.bitwise_count(words[: len(unique)] ^ word).sum(axis=1)
        same = np.flatnonzero(distances <= SAME_PICTURE_BITS)
        if len(same):
            detail = f"the same picture as {unique[int(same[0])].path}"
            rejects.append(_reject(item.path, item.sha256, "duplicate", detail))
            continue
        by_digest[item.sha256] = item
        words[len(unique)] = word
        unique.append(item)
    return unique, rejects


def _grouped(kept: list[Scanned], recipe: Recipe) -> tuple[list[Scanned], dict[str, str], list[Reject]]:
    """Those that stay, by path the sha256 of the first of their near-duplicates, and refusals, in path order.

    A photograph joins the near-duplicates before it and takes their split; groups that it joins become one. Where they
    are in different splits it is refused, so that none of those before it moves.
    """
    stay: list[Scanned] = []
    rejects: list[Reject] = []
    first_of: list[int] = []  # for each that stays, the first of its group
    words = np.zeros((len(kept), 4), np.uint64)
    for item in kept:
        word = np.frombuffer(bytes.fromhex(item.perceptual_hash), np.uint64)
        distances = np.bitwise_count(words[: len(stay)] ^ word).sum(axis=1)
        near = sorted({first_of[int(index)] for index in np.flatnonzero(distances <= NEAR_DUPLICATE_BITS)})
        splits = {split_of(stay[index].sha256, recipe.splits): stay[index].path for index in reversed(near)}
        if len(splits) > 1:
            detail = " and of ".join(f"{path} ({split})" for split, path in sorted(splits.items()))
            rejects.append(
                _reject(item.path, item.sha256, "near-duplicate-across-splits", f"a near-duplicate of {detail}")
            )
            continue
        if len(near) > 1:
            first_of = [near[0] if index in near else index for index in first_of]
        words[len(stay)] = word
        first_of.append(near[0] if near else len(stay))
        stay.append(item)
    return stay, {item.path: stay[first].sha256 for item, first in zip(stay, first_of, strict=True)}, rejects


def _reject(path: str, digest: str | None, reason: str, detail: str) -> Reject:
    return Reject(path=path, sha256=digest, stage="scan", reason=reason, detail=detail)
