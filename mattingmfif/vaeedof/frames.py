"""Frames from files: found, read, checked against each other, brought to one exposure.

A stack is float32 `[H,W,3]` linear light per frame, in the files' own primaries, which all frames must share.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import UserError
from mattingmfif.photo.images import EditablePhoto, read_image, same_colours
from mattingmfif.photo.sources import FORMATS_OF_SUFFIX, names_photo
from mattingmfif.pixels.colour import decode_srgb, encode_srgb

#: what lies beside the frames of a scene (also as `mattingmfif export --to folders` writes it): truths and maps
TRUTHS = ("gt", "groundtruth", "ground_truth", "full_clear", "all_in_focus", "allinfocus", "target", "expected")
MAPS = re.compile(r"depth|alpha_\d|sharpest_frame|boundary|trust", re.I)
MOST_FRAMES = 40
SAME_EXPOSURE = 0.03  # gains nearer to 1 than this are left alone
MOST_GAIN = 4.0  # two stops; beyond, the frames are no focus stack

Float32 = npt.NDArray[Any]
Report = Callable[[str], None]


class StoredFrames(Sequence[Float32]):
    """Frames kept as 16-bit sRGB codes, half the size of float32, and given as linear float32 `[H,W,3]`, 0..1.

    So that forty frames of 4K fit into 2 GB, of which a few at a time are in use.
    """

    def __init__(self, frames: Iterable[Float32]) -> None:
        self.codes: list[npt.NDArray[np.uint16]] = [encode_srgb(frame, 16) for frame in frames]
        self.gains = [1.0] * len(self.codes)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        frame = decode_srgb(self.codes[index])
        if self.gains[index] != 1:
            frame /= np.float32(self.gains[index])
        return frame


@dataclass(frozen=True, kw_only=True, eq=False)
class FileStack:
    """Frames of one size, in linear light, and the file whose metadata the result takes over."""

    paths: list[Path]
    frames: Sequence[Float32]
    like: EditablePhoto
    bits: int


def is_no_frame(path: Path) -> bool:
    """Whether the file's name says that it is a scene's true image, or a map."""
    return path.stem.lower() in TRUTHS or MAPS.fullmatch(path.stem) is not None


def in_order(path: Path) -> list[tuple[str, int]]:
    """What to sort files by: step before step2 before step10. Neighbours of a stack are fused and aligned together."""
    words = re.findall(r"(\D*)(\d*)", path.stem.lower())
    return [*[(text, int(number or -1)) for text, number in words], (path.name, 0)]


def images_in(folder: Path) -> list[Path]:
    """The images in a folder by name, numbers in their order; no hidden files, no maps, nothing beside a photograph."""
    found = (path for path in folder.iterdir() if names_photo(path.name) and path.is_file())
    return sorted((path for path in found if not MAPS.fullmatch(path.stem)), key=in_order)


def _may_be_a_frame(path: Path, frames: Sequence[Path]) -> bool:
    """Whether a file that lies where the result shall go is not surely a result of before.

    Such a result is named otherwise than the frames, but for numbers and single letters, and no older than they are.
    """

    def series(of: Path) -> str:
        return re.sub(r"\d+|(?<![a-z])[a-z]$", "#", of.stem.lower())

    written = path.stat().st_mtime_ns
    return any(series(frame) == series(path) or frame.stat().st_mtime_ns > written for frame in frames)


def find_frames(
    inputs: Sequence[str | Path], *, outputs: Sequence[Path] = (), report: Report = lambda _: None
) -> list[Path]:
    """The frame files: those given, or the images in the one folder given, by name; UserError if too many.

    In a folder, what is called as a scene's true image or map (gt, depth, ...) is no frame, nor is an output of before;
    a frame that would be written over, given by name or by the folder, is a UserError.
    """
    paths = [Path(item) for item in inputs]
    written = {output.resolve() for output in outputs}
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        found = images_in(folder)
        paths = [path for path in found if not is_no_frame(path) and path.resolve() not in written]
        for path in found:
            if path.resolve() in written and _may_be_a_frame(path, paths):
                raise UserError(f"{path}: may be a frame and would be written over; choose another file for the result")
        if left_out := [path.name for path in found if path not in paths]:
            report(f"no frames, by their names: {', '.join(left_out)}")
        if not paths:
            raise UserError(f"{folder}: no image in this folder; frames end in {', '.join(FORMATS_OF_SUFFIX)}")
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path}: give one folder, or files; not both")
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        if path.resolve() in written:
            raise UserError(f"{path}: a frame would be written over; choose another file for the result")
    if not paths:
        raise UserError("no frames given; give two or more files, or a folder")
    if len(paths) > MOST_FRAMES:
        raise UserError(f"{len(paths)} frames; at most {MOST_FRAMES} can be fused at once: leave frames out")
    return paths


def exposure_gains(frames: Sequence[Float32]) -> list[float]:
    """Gain of each frame against the stack's median brightness: blur moves light but keeps it, so means compare.

    Measured on thumbnails where no frame is nearly black or clipped; 1 where nothing can be measured.
    """
    thumbs = np.stack([cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA).mean(-1) for frame in frames])
    usable = ((thumbs > 0.005) & (thumbs < 0.9)).all(0)
    if usable.sum() < 32:
        return [1.0] * len(frames)
    levels = np.log(thumbs[:, usable])
    gains = np.exp(np.median(levels - np.median(levels, axis=0), axis=1))
    return [float(gain) for gain in gains]


def read_stack(paths: Sequence[Path], report: Report = print) -> FileStack:
    """The frames read, checked, brought to one exposure; what was done is reported, what cannot be is a UserError.

    One frame alone keeps its exact values; several are `StoredFrames`.
    """
    first = read_image(paths[0])
    height, width = first.linear.shape[:2]
    bits, grey, icc_profile = first.bits, first.grey, first.icc_profile
    if len(paths) == 1:
        return FileStack(paths=list(paths), frames=[first.linear], like=first, bits=bits)

    def read() -> Iterator[Float32]:
        nonlocal bits, grey, icc_profile
        yield first.linear
        for path in paths[1:]:
            photo = read_image(path)
            h, w = photo.linear.shape[:2]
            if (h, w) != (height, width):
                other = f"{paths[0].name} is {width} x {height}"
                raise UserError(f"{path.name}: {w} x {h} px, but {other}; frames of a stack have one size")
            if not same_colours(photo, first):
                raise UserError(f"{path.name}: another colour profile than {paths[0].name}; convert the frames first")
            if photo.grey != first.grey:
                report(f"{path.name}: {'grey' if photo.grey else 'coloured'}, unlike {paths[0].name}")
            if grey and not photo.grey:  # a profile of greys describes no colours
                icc_profile = photo.icc_profile
            bits, grey = max(bits, photo.bits), grey and photo.grey
            yield photo.linear

    frames = StoredFrames(read())
    for i, (path, gain) in enumerate(zip(paths, exposure_gains(frames), strict=True)):
        if not 1 / MOST_GAIN < gain < MOST_GAIN:
            raise UserError(f"{path.name}: {np.log2(gain):+.1f} stops against the others; too much for one stack")
        if abs(gain - 1) > SAME_EXPOSURE:
            report(f"{path.name}: {np.log2(gain):+.2f} stops against the others, evened out")
            frames.gains[i] = gain
    like = dataclasses.replace(first, grey=grey, icc_profile=icc_profile)
    return FileStack(paths=list(paths), frames=frames, like=like, bits=bits)
