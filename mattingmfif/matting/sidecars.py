"""The user's own mattes, read from files beside the photo or from a folder of mattes.

For `trip/fox.jpg`, beside it (or under `--mattes DIR`, in the same sub-folder):

    fox.alpha.png      alpha, 8 or 16 bit grey (or a cut-out with an alpha channel)
    fox.alpha.2.png    a second subject, and so on
    fox.mask.png       black and white; refined by matting
    fox.trimap.png     black, grey, white
    fox.scribbles.png  white strokes on the subject, black strokes off it, grey (128) elsewhere
    fox.box.txt        x0 y0 x1 y1 in pixels, one subject a line
    fox.plate.png      the picture without the subjects
    DIR/trip/fox.png   in a folder of mattes a plain name is an alpha

All have the photo's size, upright.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused
from mattingmfif.matting.subjects import UserInput
from mattingmfif.matting.trimap import UNKNOWN, Labels, labels_from_trimap
from mattingmfif.photo.png_chunks import without_metadata
from mattingmfif.pixels.colour import Float32, decode_srgb

_SUFFIXES = (".png", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")
_MAX_SUBJECTS = 6


def read_user_input(
    root: Path | str,
    rel_path: str,
    source_shape: tuple[int, int],
    output_shape: tuple[int, int] | None = None,
    mattes: Path | str | None = None,
) -> UserInput:
    """What the user's files say about the photo `root/rel_path` of `source_shape` (H, W), at `output_shape`.

    Raises `Refused` with a reason for each kind of unusable file; the detail names the file.
    """
    target = output_shape or source_shape
    files = _files(Path(root), rel_path, Path(mattes) if mattes else None)
    _refuse_doubles(files, Path(rel_path).stem)

    def planes(kind: str) -> list[Float32]:
        return [_plane(file, source_shape, target) for file in files.get(kind, [])]

    trimaps = [_trimap(file, source_shape, target) for file in files.get("trimap", [])]
    scribbles = [_trimap(file, source_shape, target, strokes=True) for file in files.get("scribbles", [])]
    plates = [_plate(file, source_shape, target) for file in files.get("plate", [])]
    return UserInput(
        alphas=tuple(planes("alpha")),
        masks=tuple(plane > 0.5 for plane in planes("mask")),
        labels=_joined(trimaps),
        boxes=tuple(box for file in files.get("box", []) for box in _boxes(file, source_shape, target)),
        scribbles=_joined(scribbles),
        plate_linear=plates[0] if plates else None,
    )


def matte_files(root: Path | str, rel_path: str, mattes: Path | str | None = None) -> list[Path]:
    """All files that `read_user_input` would read (their content belongs to the sample's identity)."""
    files = _files(Path(root), rel_path, Path(mattes) if mattes else None)
    return [file for kind in sorted(files) for file in files[kind]]


def _files(root: Path, rel_path: str, mattes: Path | None) -> dict[str, list[Path]]:
    """By kind, the files of a photo in the order of their numbers."""
    numbered: dict[str, list[tuple[int, Path]]] = {}
    stem = Path(rel_path).stem
    folders = [root / Path(rel_path).parent] if mattes is None else [mattes / Path(rel_path).parent, mattes]
    pattern = re.compile(re.escape(stem) + r"(?:\.((?i:alpha|mask|trimap|scribbles|plate|box)))?(?:\.(\d+))?\.(\w+)")
    for folder in folders:
        for file in _listed(folder, stem):
            match = pattern.fullmatch(file.name)
            if match is None:
                continue
            kind, suffix = (match.group(1) or "").lower(), "." + match.group(3).lower()
            if not kind and mattes is not None and suffix not in (".jpg", ".jpeg"):
                kind = "alpha"
            if kind and (suffix == ".txt" if kind == "box" else suffix in _SUFFIXES):
                numbered.setdefault(kind, []).append((int(match.group(2) or 1), file))
        if numbered:
            break  # the mirrored sub-folder counts before the flat one
    return {kind: [file for _, file in sorted(files)] for kind, files in numbered.items()}


def _refuse_doubles(files: dict[str, list[Path]], stem: str) -> None:
    """Refused where two files are the same input under two names: they would be two subjects in one place."""
    for kind, same in files.items():
        names: dict[int, str] = {}
        for file in same:
            numbered = re.search(r"\.(\d+)\.\w+$", file.name[len(stem) :])
            number = int(numbered.group(1)) if numbered and kind != "plate" else 1
            if number in names:
                detail = f"{names[number]} and {file.name} are the same {kind} twice; leave one of them"
                raise Refused("two-mattes", detail, stage="matte")
            names[number] = file.name


def _listed(folder: Path, stem: str) -> Iterator[Path]:
    # called for every photograph: in a folder of many, a Path for each name would cost more than the photograph
    if folder.is_dir():
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(stem) and entry.is_file()]
        yield from (folder / name for name in sorted(names))


def _load(file: Path, source_shape: tuple[int, int], target: tuple[int, int]) -> npt.NDArray[Any]:
    try:
        content = without_metadata(file.read_bytes())
    except OSError as error:
        raise Refused("matte-unreadable", f"{file.name}: {error.strerror or error}", stage="matte") from error
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    except cv2.error:  # whose words name a line of its source
        pixels = None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise Refused("matte-unreadable", f"{file.name}: not an 8 or 16 bit image", stage="matte")
    if pixels.shape[:2] not in (source_shape, target):
        raise Refused(
            "matte-size",
            f"{file.name} is {pixels.shape[1]}x{pixels.shape[0]}, the photo {source_shape[1]}x{source_shape[0]}",
            stage="matte",
        )
    return np.asarray(pixels)


def _grey(file: Path, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 4 and pixels[..., 3].min() < np.iinfo(pixels.dtype).max:
        return np.ascontiguousarray(pixels[..., 3])
    tolerance = np.iinfo(pixels.dtype).max // 100
    colours = pixels[..., :3].astype(np.int32)
    if (colours.max(axis=-1) - colours.min(axis=-1)).max() > tolerance:
        raise Refused("colour-matte", f"{file.name} has colours; a matte is grey (or an alpha channel)", stage="matte")
    return np.ascontiguousarray(pixels[..., 0])


def _plane(file: Path, source_shape: tuple[int, int], target: tuple[int, int]) -> Float32:
    pixels = _grey(file, _load(file, source_shape, target))
    top, high = np.iinfo(pixels.dtype).max, int(pixels.max())
    if 0 < high < 0.05 * top:  # numbers of objects, or 8 bits in a file of 16
        detail = f"{file.name}: its brightest pixel is {high} of {top}; the subject must be white ({top})"
        raise Refused("empty-matte", detail, stage="matte")
    return _resized(pixels.astype(np.float32) / np.float32(top), target)


def _resized(plane: Float32, target: tuple[int, int]) -> Float32:
    if plane.shape[:2] == target:
        return plane
    return np.asarray(cv2.resize(plane, target[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _trimap(file: Path, source_shape: tuple[int, int], target: tuple[int, int], *, strokes: bool = False) -> Labels:
    pixels = _grey(file, _load(file, source_shape, target))
    try:
        labels = labels_from_trimap(pixels)
    except ValueError as error:
        raise Refused("matte-unreadable", f"{file.name}: {error}", stage="matte") from error
    if labels.shape == target:
        return labels
    # a reduced pixel is known where all its pixels agree; a stroke counts however thin it is
    shares = [_resized((labels == k).astype(np.float32), target) for k in (0, 1)]
    least = 1e-4 if strokes else 0.99
    out = np.full(target, UNKNOWN, np.int16)
    out[shares[0] >= least] = 0
    out[shares[1] >= least] = 1
    return out


def _joined(parts: list[Labels]) -> Labels | None:
    """One label map of several single-subject ones: a subject's pixels are its own, background is what all call so."""
    if not parts:
        return None
    joined = np.where(np.all([part == 0 for part in parts], axis=0), 0, UNKNOWN).astype(np.int16)
    for k, part in enumerate(parts[:_MAX_SUBJECTS], start=1):
        joined[part == 1] = k
    return joined


def _boxes(file: Path, source_shape: tuple[int, int], target: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    height, width = source_shape
    scale_y, scale_x = target[0] / height, target[1] / width
    boxes = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("box-invalid", f"{file.name}: not a text file", stage="matte") from error
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            x0, y0, x1, y1 = (float(word) for word in words)
        except ValueError as error:
            raise Refused("box-invalid", f"{file.name} line {number}: x0 y0 x1 y1 expected", stage="matte") from error
        if not (x0 < x1 and y0 < y1):
            detail = f"{file.name} line {number}: x0 y0 x1 y1 with x0 < x1 and y0 < y1 expected"
            raise Refused("box-invalid", detail, stage="matte")
        if not (x0 >= 0 and x1 <= width and y0 >= 0 and y1 <= height):
            raise Refused(
                "box-invalid", f"{file.name} line {number}: not inside the photo of {width}x{height}", stage="matte"
            )
        boxes.append((int(x0 * scale_x), int(y0 * scale_y), round(x1 * scale_x), round(y1 * scale_y)))
    if not boxes:
        raise Refused("box-invalid", f"{file.name}: no box in it", stage="matte")
    return boxes


def _plate(file: Path, source_shape: tuple[int, int], target: tuple[int, int]) -> Float32:
    pixels = _load(file, source_shape, target)
    if pixels.ndim != 3:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return _resized(decode_srgb(np.ascontiguousarray(pixels[..., 2::-1])), target)
