"""Depth files become metres along the axis, as large as the photo, with a map of what was really measured.

Two kinds, always named by the user, because no file says which it is:

    metres     distances. Millimetres in a 16-bit PNG (as depth cameras write them), metres in .npy and .pfm.
               +inf is infinitely far; 0, negative and NaN values are unknown.
    disparity  larger is nearer, in any unit. 0 is infinitely far; negative, NaN and +inf values are unknown. The
               smallest and largest positive value are laid on `far_m` and `near_m`, linearly in 1 / distance.

Unknown pixels take the nearest known value and are not trusted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused, UserError
from mattingmfif.pixels.colour import Float32

KINDS = ("metres", "disparity")
SUFFIXES = (".npy", ".png", ".pfm")
_MAX_VALUES = 400_000_000


def find_depth(folder: Path | str, rel_path: str) -> Path | None:
    """The depth file of the photo `rel_path`: same sub-folder and stem under `folder`, any known suffix."""
    stem = Path(folder) / Path(rel_path).with_suffix("")
    for suffix in SUFFIXES:
        for candidate in (stem.with_name(stem.name + suffix), stem.with_name(stem.name + ".depth" + suffix)):
            if candidate.is_file():
                return candidate
    return None


def read_depth(
    path: Path | str,
    kind: str,
    near_m: float | None,
    far_m: float | None,
    shape: tuple[int, int],
    source_shape: tuple[int, int] | None = None,
) -> tuple[Float32, npt.NDArray[np.bool_]]:
    """(distance_m `[H,W]` > 0, may be inf; trusted `[H,W]` bool) of a depth file for a photo of `shape` (H, W).

    `source_shape` is the photo's size before it was reduced to `shape`; the file must have one of the two. Reducing
    takes single values (a mean across an outline would float in mid-air). Raises `Refused` for an unusable file.
    """
    if kind not in KINDS:
        raise UserError(f"depth kind: {kind!r} is unknown; allowed: {', '.join(KINDS)}")
    values = _read(Path(path))
    allowed = {shape, source_shape or shape}
    if values.shape not in allowed:
        sizes = " or ".join(f"{w}x{h}" for h, w in sorted(allowed))
        detail = f"the depth map is {values.shape[1]}x{values.shape[0]}, the photo {sizes}"
        raise Refused("depth-size", detail, stage="depth")
    scale = 0.001 if kind == "metres" and np.issubdtype(values.dtype, np.integer) else 1.0
    numbers = values.astype(np.float32) * np.float32(scale)
    distance_m = numbers if kind == "metres" else _from_disparity(numbers, near_m, far_m)
    with np.errstate(invalid="ignore"):
        trusted = distance_m > 0
    if not trusted.any():
        raise Refused("depth-unknown", "no pixel of the depth map holds a usable distance", stage="depth")
    if distance_m.shape != shape:
        rows = (np.arange(shape[0]) * distance_m.shape[0] + distance_m.shape[0] // 2) // shape[0]
        columns = (np.arange(shape[1]) * distance_m.shape[1] + distance_m.shape[1] // 2) // shape[1]
        distance_m, trusted = distance_m[np.ix_(rows, columns)], trusted[np.ix_(rows, columns)]
        if not trusted.any():
            raise Refused("depth-unknown", "no pixel of the reduced depth map holds a usable distance", stage="depth")
    return _filled_from_nearest(distance_m, trusted), trusted


def _from_disparity(disparity: Float32, near_m: float | None, far_m: float | None) -> Float32:
    near, far = near_m or 1.0, far_m or float("inf")
    if not 0 < near < far:
        raise UserError(f"depth near and far: {near} and {far} m; near must be above 0 and less than far")
    with np.errstate(invalid="ignore", divide="ignore"):
        positive = np.isfinite(disparity) & (disparity > 0)
        low = float(disparity[positive].min()) if positive.any() else 0.0
        high = float(disparity[positive].max()) if positive.any() else 1.0
        if np.isinf(far):
            low = 0.0  # nothing is laid on infinity but zero itself
        inverse = np.full(disparity.shape, np.nan, np.float32)
        span = max(high - low, 1e-12 * max(abs(high), 1e-30))
        share = (disparity[positive] - low) / span if high > low else np.ones(int(positive.sum()), np.float32)
        inverse[positive] = 1 / far + share * (1 / near - 1 / far)
        inverse[disparity == 0] = 0.0
        return np.asarray(np.float32(1) / inverse, np.float32)


def _filled_from_nearest(distance_m: Float32, trusted: npt.NDArray[np.bool_]) -> Float32:
    if trusted.all():
        return np.ascontiguousarray(distance_m, np.float32)
    _, label = cv2.distanceTransformWithLabels(
        (~trusted).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    value_of = np.zeros(int(label.max()) + 1, np.float32)
    value_of[label[trusted]] = distance_m[trusted]
    return np.where(trusted, distance_m, value_of[label]).astype(np.float32)


def _read(file: Path) -> npt.NDArray[Any]:
    suffix = file.suffix.lower()
    try:
        if suffix == ".npy":
            values = np.load(file, allow_pickle=False, mmap_mode="r")
            values = np.asarray(values) if values.size <= _MAX_VALUES else values
        elif suffix == ".pfm":
            values = _read_pfm(file.read_bytes())
        elif suffix == ".png":
            values = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        else:
            raise Refused("depth-unreadable", f"{suffix or 'no suffix'}: use .npy, .pfm or 16-bit .png", stage="depth")
    except (OSError, ValueError, EOFError, cv2.error) as error:
        raise Refused("depth-unreadable", " ".join(str(error).split())[:200], stage="depth") from error
    if values is None or values.ndim != 2 or values.dtype.kind not in "fiu" or values.size > _MAX_VALUES:
        detail = "not a plane of numbers" if values is None else f"{values.dtype} {values.shape} is no plane of numbers"
        raise Refused("depth-unreadable", detail, stage="depth")
    return values


def _read_pfm(content: bytes) -> npt.NDArray[np.float32]:
    """A grey PFM: `Pf`, width height, scale (negative: little-endian), then float32 rows from the bottom up."""
    lines = content.split(b"\n", 3)
    if len(lines) < 4 or lines[0].strip() != b"Pf":
        raise ValueError("not a grey PFM file")
    width, height = (int(word) for word in lines[1].split())
    order = "<f4" if float(lines[2]) < 0 else ">f4"
    if width < 1 or height < 1 or width * height * 4 != len(lines[3]):
        raise ValueError(f"a PFM of {width}x{height} needs {width * height * 4} bytes of pixels, not {len(lines[3])}")
    return np.frombuffer(lines[3], order).reshape(height, width)[::-1].astype(np.float32)
