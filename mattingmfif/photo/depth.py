"""Depth files become metres along the axis, as large as the photo, with a map of what was really measured.

Two kinds, always named by the user, because no file says which it is:

    metres     distances. Whole numbers (a 16-bit PNG as depth cameras write it, or .npy) are millimetres, others
               (.npy, .pfm, .exr) metres.
               +inf, and anything from 1e9 m on, is infinitely far; 0 (and less than 1e-6 m), negative and NaN values
               are unknown.
    disparity  larger is nearer, in any unit. 0 is infinitely far; negative, NaN and +inf values are unknown. The
               smallest and largest positive value are laid on `far_m` and `near_m`, linearly in 1 / distance.

Unknown pixels take the nearest known value and are not trusted. A map of another size than the photo is brought to it
where both have the same shape: phones and networks give depth with fewer pixels than the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused, UserError
from mattingmfif.photo.depth_files import SUFFIXES, read_numbers
from mattingmfif.photo.heif import SUFFIXES as HEIF_SUFFIXES
from mattingmfif.photo.heif import heif_depth
from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.surfaces import enlarged_surfaces, sampled_at

KINDS = ("metres", "disparity")
#: renderers write such numbers for what no ray hit; and nothing is nearer than a micrometre
INFINITE_FROM_M, NOTHING_BELOW_M = 1e9, 1e-6
#: how far the ratio of the sides may differ from the photo's, and how many times larger the photo may be
ASPECT_TOLERANCE, MOST_ENLARGED = 0.01, 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Depth:
    """Distances of a photo: `distance_m` `[H,W]` > 0, may be inf; `trusted` where known; how much it was enlarged."""

    distance_m: Float32
    trusted: npt.NDArray[np.bool_]
    map_shape: tuple[int, int]  # (H, W) before it was brought to the photo's size

    @property
    def resized(self) -> bool:
        """Whether the map had another size."""
        return self.map_shape != self.distance_m.shape


def find_depth(folder: Path | str, rel_path: str) -> Path | None:
    """The depth file of the photo `rel_path` in a folder of them: same sub-folder and stem, any known suffix.

    `name.depth.png` goes before `name.png`, which, where the photos lie in the same folder, may be a photo.
    """
    beside = find_depth_beside(folder, rel_path)
    if beside is not None:
        return beside
    return _with_any_suffix(Path(folder) / Path(rel_path).with_suffix(""))


def find_depth_beside(folder: Path | str, rel_path: str) -> Path | None:
    """The depth file that lies beside the photo `rel_path` as `name.depth.*`."""
    stem = Path(folder) / Path(rel_path).with_suffix("")
    return _with_any_suffix(stem.with_name(f"{stem.name}.depth"))


def _with_any_suffix(stem: Path) -> Path | None:
    """The first file of that name with a known suffix, in small or in capital letters."""
    spelt = (spelling for suffix in SUFFIXES for spelling in (suffix, suffix.upper()))
    return next((file for file in (stem.with_name(stem.name + suffix) for suffix in spelt) if file.is_file()), None)


def read_depth(path: Path | str, kind: str, near_m: float | None, far_m: float | None, shape: tuple[int, int]) -> Depth:
    """The distances in a depth file for a photo of `shape` (H, W); raises `Refused` for an unusable file.

    A HEIC picture with depth in it is one too, and says itself of which kind that is.
    """
    file = Path(path)
    if file.suffix.lower() in HEIF_SUFFIXES:
        depth = read_depth_within(file, near_m, far_m, shape)
        if depth is None:
            raise Refused("depth-unreadable", "the HEIC picture has no depth in it", stage="depth")
        return depth
    return depth_from_numbers(read_numbers(file), kind, near_m, far_m, shape)


def read_depth_within(photo: Path, near_m: float | None, far_m: float | None, shape: tuple[int, int]) -> Depth | None:
    """The depth that lies in a photograph's own file (HEIC), None where there is none. Raises `Refused` as above."""
    if photo.suffix.lower() not in HEIF_SUFFIXES:
        return None
    try:
        found = heif_depth(photo.read_bytes())
    except OSError as error:
        raise Refused("depth-unreadable", f"{error.strerror or error}", stage="depth") from error
    return None if found is None else depth_from_numbers(*found, near_m, far_m, shape)


def depth_from_numbers(
    values: npt.NDArray[Any],
    kind: str,
    near_m: float | None,
    far_m: float | None,
    shape: tuple[int, int],
    *,
    stretched: bool = False,
) -> Depth:
    """The distances that a plane of numbers `[h,w]` of that kind means, for a photo of `shape` (H, W).

    `stretched`: the plane covers the whole photo whatever its shape, as a network gives it. A larger map is reduced by
    taking single values, a smaller one enlarged without mixing surfaces. Raises `Refused` for a map of another shape,
    or without a usable number.
    """
    if kind not in KINDS:
        raise UserError(f"depth kind: {kind!r} is unknown; allowed: {', '.join(KINDS)}")
    if not stretched:
        _check_size(values.shape, shape)
    scale = 0.001 if kind == "metres" and np.issubdtype(values.dtype, np.integer) else 1.0
    with np.errstate(over="ignore"):  # beyond float32 is infinitely far, or no disparity
        numbers = values.astype(np.float32) * np.float32(scale)
    distance_m = _from_metres(numbers) if kind == "metres" else _from_disparity(numbers, near_m, far_m)
    with np.errstate(invalid="ignore"):
        trusted = distance_m > 0
    if trusted.any() and distance_m.shape != shape:
        distance_m, trusted = _at_size(distance_m, trusted, shape)
    if not trusted.any():
        raise Refused("depth-unknown", "no pixel of the depth map holds a usable distance", stage="depth")
    filled = _filled_from_nearest(distance_m, trusted)
    return Depth(distance_m=filled, trusted=trusted, map_shape=(values.shape[0], values.shape[1]))


def _check_size(found: tuple[int, ...], shape: tuple[int, int]) -> None:
    aspect = (found[1] * shape[0]) / (found[0] * shape[1])
    if abs(aspect - 1) > ASPECT_TOLERANCE:
        detail = f"the depth map is {found[1]}x{found[0]}, of another shape than the photo of {shape[1]}x{shape[0]}"
        raise Refused("depth-size", detail, stage="depth")
    if found[0] * MOST_ENLARGED < shape[0]:
        detail = f"the depth map is {found[1]}x{found[0]}, too coarse for the photo of {shape[1]}x{shape[0]}"
        raise Refused("depth-size", detail, stage="depth")


def _at_size(
    distance_m: Float32, trusted: npt.NDArray[np.bool_], shape: tuple[int, int]
) -> tuple[Float32, npt.NDArray[np.bool_]]:
    if distance_m.shape[0] >= shape[0] and distance_m.shape[1] >= shape[1]:
        return np.asarray(sampled_at(distance_m, *shape), np.float32), np.asarray(sampled_at(trusted, *shape), bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        nearness = np.where(trusted, np.float32(1) / distance_m, np.float32(0))
        nearness, trusted = enlarged_surfaces(np.asarray(nearness, np.float32), trusted, *shape)
        return np.where(trusted, np.float32(1) / nearness, np.float32(np.nan)).astype(np.float32), trusted


def _from_metres(numbers: Float32) -> Float32:
    with np.errstate(invalid="ignore"):
        known = np.where(numbers >= NOTHING_BELOW_M, numbers, np.float32(np.nan))
        return np.where(known >= INFINITE_FROM_M, np.float32(np.inf), known)


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
