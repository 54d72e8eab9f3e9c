"""Files of depth become planes of numbers, as they stand in the file: .npy, .png, .pfm, .exr.

What the numbers mean is for `depth` to say. Nothing larger than MAX_VALUES is decoded, and no pickle is opened.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused
from mattingmfif.photo.png_chunks import without_metadata

SUFFIXES = (".npy", ".png", ".pfm", ".exr")
MAX_VALUES = 400_000_000
#: channels of an EXR file that hold depth, the first one there; by its last part, as layers are named `Camera.Z`
_EXR_CHANNELS = ("Z", "depth", "Y", "R")


def read_numbers(file: Path) -> npt.NDArray[Any]:
    """The plane of numbers `[H,W]` (float, or integer) in a file; `Refused("depth-unreadable")` where it has none."""
    readers = {".npy": _read_npy, ".png": _read_png, ".pfm": _read_pfm, ".exr": _read_exr}
    suffix = file.suffix.lower()
    if suffix not in readers:
        known = ", ".join(SUFFIXES)
        raise Refused("depth-unreadable", f"{suffix or 'no suffix'}: not among {known}", stage="depth")
    try:
        values = readers[suffix](file)
    except MemoryError:
        raise
    except Exception as error:  # libraries meet damaged files with exceptions of every type
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise Refused("depth-unreadable", said, stage="depth") from error
    if values is None or values.ndim != 2 or values.dtype.kind not in "fiu" or not 0 < values.size <= MAX_VALUES:
        detail = "not a plane of numbers" if values is None else f"{values.dtype} {values.shape} is no plane of numbers"
        raise Refused("depth-unreadable", detail, stage="depth")
    return values


def _read_npy(file: Path) -> npt.NDArray[Any]:
    try:
        values = np.load(file, allow_pickle=False, mmap_mode="r")
    except ValueError as error:
        if "pickle" in str(error):  # whose advice is to trust the file
            raise ValueError("no .npy file of plain numbers") from error
        raise
    if not isinstance(values, np.ndarray):  # an archive of arrays
        values.close()
        raise ValueError("an .npz archive, not one array")
    return np.asarray(values) if values.size <= MAX_VALUES else values


def _read_png(file: Path) -> npt.NDArray[Any] | None:
    content = without_metadata(file.read_bytes())
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    if values is not None and values.ndim == 3:  # grey saved as colours is grey
        if not (values[..., :3] == values[..., :1]).all():
            raise ValueError("the depth map has colours; a map is grey (a false-colour picture of one cannot be read)")
        values = np.ascontiguousarray(values[..., 0])
    return values


def _read_pfm(file: Path) -> npt.NDArray[np.float32]:
    """A grey PFM: `Pf`, width height, scale (negative: little-endian), then float32 rows from the bottom up."""
    lines = file.read_bytes().split(b"\n", 3)
    if len(lines) < 4 or lines[0].strip() != b"Pf":
        raise ValueError("not a grey PFM file")
    width, height = (int(word) for word in lines[1].split())
    order = "<f4" if float(lines[2]) < 0 else ">f4"
    if width < 1 or height < 1 or width * height * 4 != len(lines[3]):
        raise ValueError(f"a PFM of {width}x{height} needs {width * height * 4} bytes of pixels, not {len(lines[3])}")
    return np.frombuffer(lines[3], order).reshape(height, width)[::-1].astype(np.float32)


def _read_exr(file: Path) -> npt.NDArray[np.float32]:
    """The depth channel of an OpenEXR picture, float32; NaN where its data window does not cover the picture."""
    if find_spec("OpenEXR") is None:
        raise ValueError("reading .exr needs the extra exr: pip install 'mattingmfif[exr]'")
    import OpenEXR

    try:
        with _library_silent():
            header = OpenEXR.File(str(file), header_only=True, num_threads=0).header()
            (left, top), (right, bottom) = (map(int, corner) for corner in header["dataWindow"])
            (x0, y0), (x1, y1) = (map(int, corner) for corner in header["displayWindow"])
            size, whole = (bottom - top + 1, right - left + 1), (y1 - y0 + 1, x1 - x0 + 1)
            if min(*size, *whole) < 1 or max(size[0] * size[1], whole[0] * whole[1]) > MAX_VALUES:
                raise OverflowError(f"windows of {size[1]}x{size[0]} and {whole[1]}x{whole[0]} pixels")
            picture = OpenEXR.File(str(file), separate_channels=True, num_threads=0)
            planes = {name: channel.pixels for name, channel in picture.channels().items()}
    except (RuntimeError, KeyError, TypeError, ValueError, OverflowError) as error:  # for every kind of damage another
        raise ValueError(f"the EXR file is damaged: {error}") from error
    values = _depth_channel(planes)
    if values.dtype.kind not in "fiu" or values.shape != size:
        raise ValueError(f"its depth is {values.dtype} {values.shape}, not one number for each of its pixels")
    if (left, top, right, bottom) == (x0, y0, x1, y1):
        return np.asarray(values, np.float32)
    placed = np.full(whole, np.nan, np.float32)
    rows = slice(max(top, y0) - y0, max(min(bottom, y1) + 1, y0) - y0)
    columns = slice(max(left, x0) - x0, max(min(right, x1) + 1, x0) - x0)
    placed[rows, columns] = values[
        max(y0 - top, 0) : max(y0 - top, 0) + rows.stop - rows.start,
        max(x0 - left, 0) : max(x0 - left, 0) + columns.stop - columns.start,
    ]
    return placed


def _depth_channel(planes: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The only channel, or that of depth; three equal colours are a grey picture."""
    lasts = {name.rpartition(".")[2].lower() for name in planes}
    if {"ry", "by"} & lasts:
        raise ValueError("channels Y, RY, BY are a colour picture; depth is one channel Z, Y or R")
    if len(planes) == 1 and lasts != {"a"}:
        return next(iter(planes.values()))
    for wanted in _EXR_CHANNELS:
        found = [name for name in sorted(planes) if name.rpartition(".")[2].lower() == wanted.lower()]
        if len(found) > 1:
            raise ValueError(f"channels {', '.join(found)}: which of them is depth?")
        if not found:
            continue
        layer = found[0].rpartition(".")[0] + "." if "." in found[0] else ""
        others = [planes[layer + colour] for colour in ("G", "B") if layer + colour in planes]
        if wanted == "R" and not all(np.array_equal(planes[found[0]], other, equal_nan=True) for other in others):
            raise ValueError("channels R, G, B that differ are colours; depth is one channel Z, Y or R")
        return planes[found[0]]
    raise ValueError(f"channels {', '.join(sorted(planes))}; depth is one channel Z, Y or R")


@contextlib.contextmanager
def _library_silent() -> Iterator[None]:
    """What the library itself prints about a damaged file goes nowhere: the reason is told once, in one line."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
