"""Trimaps: which pixels certainly belong to a subject, which certainly to none, and which have to be solved for.

Several subjects share one `label` map, int16 `[H,W]`: 0 background, k = 1..K subject k, `UNKNOWN` = -1. Widths come
from distance transforms, so they are the same in all directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.matting.windows import window_of
from mattingmfif.pixels.colour import Float32

UNKNOWN = -1
REFERENCE_LONG_SIDE_PX = 3840

Labels = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]


def scaled_px(length_px: float, shape: tuple[int, ...]) -> float:
    """A length given for a long side of 3840 px, for an image of this shape; at least 1."""
    return max(1.0, length_px * max(shape[:2]) / REFERENCE_LONG_SIDE_PX)


def distance_px(mask: Mask) -> Float32:
    """The distance of every pixel to the nearest one where `mask` is True (large where there is none)."""
    if not mask.any():
        return np.full(mask.shape, 1e9, np.float32)
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)


def labels_from_masks(masks: Sequence[Mask], inner_px: float, outer_px: float) -> Labels:
    """Labels of K masks: known where deeper than `inner_px` inside one, or farther than `outer_px` from all.

    Where a subject is too thin to have an inside, its ridge (the pixels farthest from its border) stays known.
    Later masks give way to earlier ones where they overlap.
    """
    union = np.zeros(masks[0].shape, bool)
    labels = np.zeros(masks[0].shape, np.int16)
    inside = []
    for mask in masks:
        own = mask & ~union
        union |= own
        window = window_of(own, 1)  # the nearest pixel outside lies beside the smallest rectangle, or in it
        depth = distance_px(~own[window])
        inside.append((window, depth > min(inner_px, 0.7 * float(depth[own[window]].max(initial=0.0)))))
    around = window_of(union, int(np.ceil(outer_px)) + 1)
    labels[around][distance_px(union[around]) <= outer_px] = UNKNOWN
    for k, (window, deep) in enumerate(inside, start=1):
        labels[window][deep] = k
    return labels


def labels_from_trimap(trimap: npt.ArrayLike) -> Labels:
    """Labels of one subject from a trimap `[H,W]` 0 / 0.5 / 1, 0 / 128 / 255, or all of 16 bits, of whatever type.

    In between is unknown. The largest value says which it is. Raises ValueError for a trimap of another shape or scale.
    """
    given = np.asarray(trimap)
    if given.ndim != 2 or given.dtype.kind not in "biuf":
        raise ValueError(f"trimap of shape {given.shape} and type {given.dtype}: [H,W] numbers expected")
    values = given.astype(np.float32)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    tops = (1.0,) if given.dtype.kind == "b" else (255.0, 65535.0) if given.dtype.kind in "iu" else (1.0, 255.0)
    top = next((top for top in tops if high <= 1.001 * top), None)
    if top is None or not low >= 0 or (top == 255 and 0 < high <= 2):
        raise ValueError(f"trimap with values from {low:g} to {high:g}: 0 / 0.5 / 1 or 0 / 128 / 255 expected")
    labels = np.full(values.shape, UNKNOWN, np.int16)
    labels[values <= 0.02 * top] = 0
    labels[values >= 0.98 * top] = 1
    return labels


def grow_unsettled(
    labels: Labels, fractions: Sequence[Float32], reach_px: float, settled: float = 0.1, border_px: float = 3.0
) -> tuple[Labels, int]:
    """The band widened where the solution is not settled at its border, and how many border pixels that concerns.

    A pixel of the band within `border_px` of a known region is settled when its fraction of that region is within
    `settled` of 1. Around the others all pixels within `reach_px` become unknown; known regions never vanish whole.
    """
    unknown = labels == UNKNOWN
    unsettled = np.zeros(labels.shape, bool)
    background = np.float32(1) - np.sum(np.stack(list(fractions)), axis=0)
    for label, fraction in enumerate([background, *fractions]):
        near = unknown & (distance_px(labels == label) <= border_px)
        unsettled |= near & (fraction < 1 - settled)
    count = int(unsettled.sum())
    if not count:
        return labels, 0
    grown = labels.copy()
    grown[distance_px(unsettled) <= reach_px] = UNKNOWN
    for label in range(len(fractions) + 1):
        if not (grown == label).any():
            grown[labels == label] = label
    return grown, count
