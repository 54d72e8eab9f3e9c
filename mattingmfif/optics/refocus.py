"""A photograph and its depth map, photographed again at another focus.

Two levels: where depth jumps the photo is cut into layers, laid over one another (so that what is in front covers and
uncovers what is behind); inside a layer depth varies smoothly and blur is interpolated. Notation: d = 1 / z is inverse
distance; jumps are measured as differences of blur radius, px, of the lens at hand.

Cuts are thresholds of depth, as few as separate every jump. A surface that runs through a threshold is cut as well, but
both sides keep the photo's own pixels there, so that the seam cannot be seen. Behind a jump the farther layer goes on
under the nearer one, filled from its own pixels; the mixed pixels next to the jump are not asked.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import UserError
from mattingmfif.optics.lens import ThinLens
from mattingmfif.optics.render import render
from mattingmfif.optics.scene import Layer, Scene
from mattingmfif.pixels.colour import decode_srgb, encode_srgb
from mattingmfif.pixels.fill import push_pull

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

DEPTH_KINDS = ("metres", "disparity")
#: range given to disparities that come without one, metres
DEFAULT_NEAR_M, DEFAULT_FAR_M = 1.0, np.inf
MOST_LAYERS = 6

_JUMP_PX = 3.0  # a step of the blur radius within 5 px that counts as a depth edge
_SEAM_PX = 2.0  # how far, in blur radius, both sides of a cut through a surface keep the photo's pixels
_MIXED_PX = 2  # width of the mixed pixels along a depth edge


def refocus(
    photo: npt.NDArray[Any],
    depth: npt.NDArray[Any],
    lens: ThinLens,
    focus_distance_m: float,
    depth_kind: str = "metres",
    *,
    depth_near_m: float | None = None,
    depth_far_m: float | None = None,
    quality: str = "exact",
    image_width_px: float | None = None,
) -> npt.NDArray[Any]:
    """The photo as `lens` sees it when focused at `focus_distance_m`: same shape and type as `photo`.

    `photo` `[H,W,3]` is uint8 or uint16 sRGB codes, or floats in linear light (0 or more). `depth` `[H,W]` is as
    `distance_from_depth` reads it. The photo should be sharp all over; what the lens sees behind edges is filled in.
    """
    codes = np.asarray(photo)
    if codes.ndim != 3 or codes.shape[2] != 3 or codes.size == 0:
        raise UserError(f"photo: shape {codes.shape}; allowed: [height, width, 3]")
    distance_m = distance_from_depth(depth, depth_kind, depth_near_m, depth_far_m)
    if distance_m.shape != codes.shape[:2]:
        raise UserError(f"depth: shape {distance_m.shape} beside a photo of {codes.shape[:2]}; allowed: the same size")
    if codes.dtype in (np.uint8, np.uint16):
        linear = decode_srgb(codes)
    elif np.issubdtype(codes.dtype, np.floating):
        linear = np.asarray(codes, np.float32)
    else:
        raise UserError(f"photo: {codes.dtype} values; allowed: uint8, uint16 (sRGB codes) or floats (linear light)")
    scene = scene_from_depth(linear, distance_m, lens, image_width_px)
    frame = render(scene, lens, focus_distance_m, quality, image_width_px)
    if codes.dtype == np.uint8 or codes.dtype == np.uint16:
        return encode_srgb(frame, bits=8 * codes.dtype.itemsize)
    return frame.astype(codes.dtype, copy=False)


def distance_from_depth(
    depth: npt.NDArray[Any], depth_kind: str = "metres", near_m: float | None = None, far_m: float | None = None
) -> Float32:
    """Distances in metres `[H,W]` float32 (may be infinite) of a depth map.

    "metres": +inf is infinitely far; 0 is unknown. "disparity": larger is nearer, 0 is infinitely far; relative: the
    largest lies at `near_m` and the smallest positive one at `far_m` (default 1 m and infinity), evenly in inverse
    distance. NaN is unknown. Unknown pixels take the nearest known value. Negative values, infinite disparities, and
    maps without a known value are refused.
    """
    if depth_kind not in DEPTH_KINDS:
        raise UserError(f"depth_kind: {depth_kind!r}; allowed: {', '.join(DEPTH_KINDS)}")
    values = np.asarray(depth, np.float32)
    if values.ndim != 2 or values.size == 0:
        raise UserError(f"depth: shape {values.shape}; allowed: [height, width]")
    unknown = np.isnan(values) | ((values == 0) if depth_kind == "metres" else False)
    if unknown.all():
        raise UserError("depth: no pixel has a known value; allowed: at least one known value")
    if (values[~unknown] < 0).any():
        raise UserError("depth: negative values; allowed: 0 or more, NaN where unknown")
    if unknown.any():
        _, labels = cv2.distanceTransformWithLabels(
            unknown.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        table = np.zeros(int(labels.max()) + 1, np.float32)
        table[labels[~unknown]] = values[~unknown]
        values = table[labels]
    if depth_kind == "metres":
        return values
    if not np.isfinite(values).all():
        raise UserError("depth: infinite disparities; allowed: finite numbers, NaN where unknown")
    near, far = near_m or DEFAULT_NEAR_M, far_m or DEFAULT_FAR_M
    if not 0 < near < far:
        raise UserError(f"depth_near_m, depth_far_m: {near:g}, {far:g}; allowed: above 0, nearer before farther")
    most = float(values.max())
    if most == 0.0:
        return np.full(values.shape, np.inf, np.float32)
    least = 0.0 if np.isinf(far) else float(values[values > 0].min())
    share = (values - least) / (most - least) if most > least else np.ones_like(values)
    inverse = np.where(values > 0, 1.0 / far + share * (1.0 / near - 1.0 / far), 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.float32(1.0) / inverse.astype(np.float32), np.float32)


def scene_from_depth(
    photo_linear: Float32, distance_m: Float32, lens: ThinLens, image_width_px: float | None = None
) -> Scene:
    """The photo cut at its depth edges into at most MOST_LAYERS layers, filled behind; for any focus of this lens."""
    width_px = float(photo_linear.shape[1] if image_width_px is None else image_width_px)
    per_dioptre = lens.blur_per_dioptre_px(np.inf, width_px)
    nearness = np.asarray(per_dioptre / distance_m, np.float32)  # px of blur against infinity; larger is nearer
    nearness, jumps = _sharpened(nearness)
    cuts = depth_cuts(nearness, jumps)
    edges = [np.inf, *sorted(cuts, reverse=True), -np.inf]
    layers = []
    for high, low in pairwise(edges):  # nearest first
        own = (nearness <= high) & (nearness > low)
        if not own.any():
            continue
        nearer = nearness > high
        layers.append(_layer(photo_linear, nearness, own, nearer, jumps, high, per_dioptre, is_last=low == -np.inf))
    return Scene(layers)


def depth_cuts(nearness_px: Float32, jumps: Mask) -> list[float]:
    """Thresholds that separate every jump of `nearness_px`, as few as possible and at most MOST_LAYERS - 1.

    Each jump is an interval of nearness; the fewest points that stab all intervals, each in the middle of what its
    intervals have in common. When they are too many, smaller jumps are given up; of equal ones as many are cut as there
    is room for, spread over the range.
    """
    if not jumps.any():
        return []
    box = np.ones((5, 5), np.uint8)
    high = np.asarray(cv2.dilate(nearness_px, box)[jumps], np.float32)
    low = np.asarray(cv2.erode(nearness_px, box)[jumps], np.float32)
    least, given_up = _JUMP_PX, list[float]()
    while True:
        wide = high - low > least
        points = _stabs(low[wide], high[wide])
        if len(points) < MOST_LAYERS:
            return _filled_up(points, given_up, [float(nearness_px.min()), float(nearness_px.max())])
        least, given_up = least * 1.3, points


def _filled_up(points: list[float], given_up: list[float], ends: list[float]) -> list[float]:
    """The points, and of those given up last the farthest from all others, up to MOST_LAYERS - 1, with a jump between.

    All jumps may be given up at once: a flight of equal steps would stay one surface.
    """
    points = list(points)
    while given_up and len(points) < MOST_LAYERS - 1:
        farthest = max(given_up, key=lambda point: min(abs(point - other) for other in (*points, *ends)))
        if min(abs(farthest - other) for other in points or [np.inf]) < _JUMP_PX:
            break
        points.append(farthest)
    return points


def _stabs(low: Float32, high: Float32) -> list[float]:
    points: list[float] = []
    order = np.argsort(high, kind="stable")
    low, high = low[order], high[order]
    while low.size:
        right = float(high[0])  # all intervals that begin before this one ends have a point in common with it
        stabbed = low < right
        points.append(0.5 * (float(low[stabbed].max()) + right))
        low, high = low[~stabbed], high[~stabbed]
    return points


def _sharpened(nearness: Float32) -> tuple[Float32, Mask]:
    """Nearness with the soft ramps of depth edges made steps, and where these edges are."""
    box = np.ones((5, 5), np.uint8)
    high, low = cv2.dilate(nearness, box), cv2.erode(nearness, box)
    jumps = np.asarray(high - low > _JUMP_PX)
    nearer_side = nearness - low > high - nearness
    return np.where(jumps, np.where(nearer_side, high, low), nearness).astype(np.float32), jumps


def _layer(
    photo: Float32,
    nearness: Float32,
    own: Mask,
    nearer: Mask,
    jumps: Mask,
    high: float,
    per_dioptre: float,
    is_last: bool,
) -> Layer:
    """One layer: its own pixels, and what goes on behind nearer ones."""
    # the same surface on the other side of the cut: joined to this layer without passing a depth edge
    seam = _joined(own & ~jumps, nearer & ~jumps & (nearness <= high + _SEAM_PX))
    behind_edge = cv2.dilate((nearer & ~seam).astype(np.uint8), np.ones((2 * _MIXED_PX + 1,) * 2, np.uint8)) > 0
    sure = (own | seam) & ~behind_edge
    if not sure.any():
        sure = own
    weight = sure.astype(np.float32)
    hidden = nearer | (own & ~sure)
    colour = np.where(hidden[..., None] & ~sure[..., None], push_pull(photo, weight), photo)
    far = push_pull(np.where(sure, nearness, 0.0).astype(np.float32), weight)
    depth = np.where(own | seam, nearness, far)
    if is_last:
        alpha = np.ones(own.shape, np.float32)
    else:
        reach = float(np.abs(nearness).max()) + 4.0
        away = cv2.distanceTransform((~own).astype(np.uint8), cv2.DIST_L2, 5)
        covers = own | (nearer & np.asarray(away <= reach))
        alpha = np.asarray(cv2.GaussianBlur(covers.astype(np.float32), (3, 3), 0.6), np.float32)
    with np.errstate(divide="ignore"):
        distance_m = np.where(depth > 0, per_dioptre / np.maximum(depth, 1e-9), np.inf).astype(np.float32)
    return Layer(colour, np.clip(alpha, 0.0, 1.0), distance_m, known=weight)


def _joined(own: Mask, candidates: Mask) -> Mask:
    """Those candidates that hang together with `own`."""
    count, labels = cv2.connectedComponents((own | candidates).astype(np.uint8), connectivity=4)
    touched = np.zeros(count, bool)
    touched[np.unique(labels[own])] = True
    touched[0] = False
    return np.asarray(touched[labels] & candidates)
