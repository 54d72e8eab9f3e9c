"""How true a contour is: does the picture really change where the mask says that something ends?

For this package a subject need not be an object. What counts is that its outline lies on image edges, so that a blurred
outline reveals a different surface and not the middle of a wall.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.pixels.colour import Float32

Mask = npt.NDArray[np.bool_]

#: colour difference (CIE 1976, roughly just visible = 2.3) from which two sides of a contour differ
EDGE_CONTRAST = 8.0
#: least ratio of the squared distance of the two sides' means to the sum of their variances
SEPARATION = 1.0
#: sigma of the window over which the two sides of a contour are averaged
_SIDE_PX = 5.0


def lab_of(photo_srgb: Float32) -> Float32:
    """CIE L*a*b* `[H,W,3]` of a photo in sRGB, lightly smoothed so that grain is no edge."""
    lab = cv2.cvtColor(np.ascontiguousarray(photo_srgb, np.float32), cv2.COLOR_RGB2LAB)
    return np.asarray(cv2.GaussianBlur(lab, (0, 0), 1.0), np.float32)


def pair_contrast(lab: Float32, step: int = 2) -> tuple[Float32, Float32]:
    """Colour difference across each pixel border: `[H,W-1]` for left-right pairs, `[H-1,W]` for upper-lower ones.

    Each side is looked at `step` pixels away from the border, beyond the soft flank of the edge itself.
    """
    left = np.pad(lab, ((0, 0), (step, 0), (0, 0)), mode="edge")[:, : lab.shape[1]]
    right = np.pad(lab, ((0, 0), (0, step), (0, 0)), mode="edge")[:, step:]
    up = np.pad(lab, ((step, 0), (0, 0), (0, 0)), mode="edge")[: lab.shape[0]]
    down = np.pad(lab, ((0, step), (0, 0), (0, 0)), mode="edge")[step:]
    return np.sqrt(_squared(left[:, :-1] - right[:, 1:])), np.sqrt(_squared(up[:-1] - down[1:]))


def _squared(vectors: npt.NDArray[np.floating[Any]]) -> Float32:
    """The squared length `[...]` of `[...,3]`; plane by plane, which is several times as fast as a sum over an axis."""
    x, y, z = (vectors[..., c] for c in range(3))
    return np.asarray(x * x + y * y + z * z, np.float32)


def contour_score(mask: Mask, contrast: tuple[Float32, Float32]) -> float:
    """The share, 0..1, of the mask's contour (within the picture) where both sides differ; 0 without a contour."""
    across_x, across_y = contrast
    here = np.concatenate([across_x[mask[:, 1:] != mask[:, :-1]], across_y[mask[1:] != mask[:-1]]])
    return float((here > EDGE_CONTRAST).mean()) if here.size else 0.0


def surroundings_of(lab: Float32) -> Float32:
    """The local means `[h,w,4]` of L*a*b* and of its squared length, as `side_separation` compares masks with them."""
    return _smooth(cv2.merge([*cv2.split(lab), _squared(lab)]))


def side_separation(mask: Mask, lab: Float32, surroundings: Float32 | None = None) -> float:
    """The share, 0..1, of the contour where the two sides differ in the mean, beyond what each side varies in itself.

    Both sides are averaged over a Gaussian window of sigma 5 px. In grass or gravel every border is an edge
    (`contour_score` is high for any outline), but the means of the two sides agree: the separation is low.
    `surroundings` `[h,w,4]` are those of `lab`, for whoever asks for many masks.
    """
    edge = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    here = edge & ~_picture_border(mask.shape)
    if not here.any():
        return 0.0
    everything = (surroundings_of(lab) if surroundings is None else surroundings)[here]
    weight = mask.astype(np.float32)
    own = cv2.merge([plane * weight for plane in (*cv2.split(lab), _squared(lab))])
    share, sums_in = _smooth(weight)[here][:, None], _smooth(own)[here]
    inside, outside = np.maximum(share, np.float32(1e-4)), np.maximum(np.float32(1) - share, np.float32(1e-4))
    means_in, means_out = sums_in / inside, (everything - sums_in) / outside
    spread_in = means_in[:, 3] - _squared(means_in[:, :3])
    spread_out = means_out[:, 3] - _squared(means_out[:, :3])
    apart = _squared(means_in[:, :3] - means_out[:, :3])
    within = np.maximum(spread_in, 0) + np.maximum(spread_out, 0)
    return float((apart > np.maximum(within * SEPARATION, EDGE_CONTRAST**2)).mean())


def _smooth(plane: Float32) -> Float32:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), _SIDE_PX), np.float32)


def _picture_border(shape: tuple[int, ...]) -> Mask:
    border = np.zeros(shape[:2], bool)
    border[[0, -1]] = True
    border[:, [0, -1]] = True
    return border


def border_shares(mask: Mask) -> tuple[float, float, float, float]:
    """The share of the top, bottom, left and right border of the picture that the mask covers."""
    return float(mask[0].mean()), float(mask[-1].mean()), float(mask[:, 0].mean()), float(mask[:, -1].mean())
