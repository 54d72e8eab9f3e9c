"""Stacks in folders of image files, as benchmarks and people keep them, with or without a true image.

Four layouts are known:

    source_1/01.jpg source_2/01.jpg [full_clear/01.jpg]          MFI-WHU
    scene/A.jpg scene/B.jpg …  [scene/gt.png]                    one folder a scene; MFFW's larger stacks
    lytro-01-A.jpg lytro-01-B.jpg … [lytro-01-gt.png]            Lytro, MFFW, Real-MFF (_A _B and truth _F)
    a.jpg b.jpg c.jpg …                                          one stack
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from mattingmfif.errors import UserError
from mattingmfif.vaeedof.frames import MOST_FRAMES, TRUTHS, Report, images_in, in_order

_NAMED = re.compile(r"^(?P<scene>.+?)[-_ ](?P<frame>[A-Za-z]|\d{1,5}|gt|GT)$")


@dataclass(frozen=True, kw_only=True)
class StackFiles:
    """Files of one stack: frames in order, and the true image if there is one."""

    name: str
    frames: list[Path]
    truth: Path | None = None


def _stack(name: str, images: dict[str, Path]) -> StackFiles | None:
    """A stack of images by frame name, one of which may be the truth; None if they are fewer than two frames."""
    truth = next((key for key in images if key.lower() in TRUTHS), None)
    if truth is None and sorted(images) == ["A", "B", "F"]:
        truth = "F"
    frames = sorted((path for key, path in images.items() if key != truth), key=in_order)
    return StackFiles(name=name, frames=frames, truth=images.get(truth or "")) if len(frames) >= 2 else None


def _whole(folder: Path) -> StackFiles | None:
    """All images of a folder as one stack; frame names are what the file names do not have in common."""
    images = {path.stem: path for path in images_in(folder)}
    named = {match["frame"]: path for stem, path in images.items() if (match := _NAMED.match(stem))}
    return _stack(folder.name, named if len(named) == len(images) else images)


def _by_sources(folder: Path, report: Report) -> list[StackFiles]:
    found = (path for path in folder.iterdir() if path.is_dir() and re.fullmatch(r"source_?\d+", path.name, re.I))
    sources = sorted(found, key=in_order)
    if len(sources) < 2:
        return []
    truths = {
        p.stem: p for sub in folder.iterdir() if sub.is_dir() and sub.name.lower() in TRUTHS for p in images_in(sub)
    }
    others = [{path.stem: path for path in images_in(source)} for source in sources]
    everywhere = set.intersection(*[set(other) for other in others])
    if alone := sorted(set.union(*[set(other) for other in others]) - everywhere):
        report(f"{folder.name}: {len(alone)} left out, not in every source folder: {', '.join(alone[:5])}")
    return [
        StackFiles(name=stem, frames=[other[stem] for other in others], truth=truths.get(stem))
        for stem in sorted(everywhere)
    ]


def _by_names(images: list[Path], report: Report) -> list[StackFiles]:
    """Stacks of files called <scene>-<frame>; empty unless every file is, with several scenes, most of them stacks."""
    scenes: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in images:
        match = _NAMED.match(path.stem)
        if match is None:
            return []
        scenes[match["scene"]][match["frame"]] = path
    stacks = {scene: _stack(scene, members) for scene, members in sorted(scenes.items())}
    found = [stack for stack in stacks.values() if stack is not None]
    alone = [scene for scene, stack in stacks.items() if stack is None]
    if len(found) <= max(1, len(alone)):
        return []
    _say_alone(alone, report)
    return found


def _say_alone(scenes: list[str], report: Report) -> None:
    for scene in scenes:
        report(f"{scene}: left out: fewer than two frames")


def find_stacks(folder: Path, report: Report = lambda _: None) -> list[StackFiles]:
    """The stacks in `folder`, sorted by name; UserError if there is none, or one has too many frames."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    stacks = _by_sources(folder, report)
    if not stacks:
        stacks = _by_names(images_in(folder), report)
        candidates = [] if stacks else [_whole(folder)]
        subs = [sub for sub in sorted(folder.iterdir()) if sub.is_dir()]
        of_sub = {sub: _whole(sub) for sub in subs}
        stacks += [stack for stack in [*candidates, *of_sub.values()] if stack is not None]
        if stacks:
            _say_alone([sub.name for sub in subs if of_sub[sub] is None and images_in(sub)], report)
    if not stacks:
        raise UserError(f"{folder}: no stack found: neither shards, nor folders or names of two or more frames a scene")
    for stack in stacks:
        if len(stack.frames) > MOST_FRAMES:
            raise UserError(f"{stack.name}: {len(stack.frames)} frames; at most {MOST_FRAMES} can be fused")
    return stacks
