"""Whole stacks to judge by, frames remade by simpler models, and the two scales of pixel values.

Frames and target are uint8 or uint16 sRGB codes; `pictures` are the same as float32 `[N,3,h,w]` scaled to -1..1, which
is what the network takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.reader import Sample
from mattingmfif.dataset.sample import NO_FRAME, SHARP_RADIUS_PX

Codes = npt.NDArray[Any]
Float32 = npt.NDArray[Any]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """A stack or a window of one, with its truth."""

    frames: Codes  # [N,h,w,3]
    target: Codes  # [h,w,3]
    boundary: Bool  # [h,w] where some frame's blur reaches from a matte edge
    sharpest_frame: npt.NDArray[np.uint8]  # [h,w], NO_FRAME in the gap
    trust: Float32  # [h,w] 0..1, share of photographed light in the target

    @property
    def gap(self) -> Bool:
        """[h,w] sharp in no frame."""
        return self.sharpest_frame == NO_FRAME


def whole_stack(sample: Sample, degrade: str = "physical") -> Stack:
    """A sample of a dataset as a stack, its frames as stored or remade by a simpler model (`degraded`)."""
    if degrade == "physical":
        frames = sample.frames
    else:
        radii = np.stack([sample.blur_radius_px(i) for i in range(sample.n_frames)])
        frames = degraded(sample.target, radii, degrade)
    return Stack(
        frames=frames,
        target=sample.target,
        boundary=sample.boundary,
        sharpest_frame=sample.sharpest_frame,
        trust=sample.trust,
    )


def to_picture(codes: Codes) -> Float32:
    """Codes `[...,h,w,3]` as float32 `[...,3,h,w]` in -1..1."""
    peak = np.float32(np.iinfo(codes.dtype).max)
    return np.ascontiguousarray(np.moveaxis(codes.astype(np.float32) / peak * 2 - 1, -1, -3))


def to_codes(picture: Float32, dtype: Any) -> Codes:
    """The nearest codes `[h,w,3]` of a picture `[3,h,w]`, clipped."""
    peak = np.float32(np.iinfo(dtype).max)
    scaled = (np.clip(np.moveaxis(picture, 0, -1), -1, 1) + 1) / 2 * peak
    codes: Codes = (scaled + np.float32(0.5)).astype(dtype)
    return codes


def degraded(target: Codes, blur_radius_px: Float32, kind: str) -> Codes:
    """Frames `[N,h,w,3]` remade from the target and their blur radii `[N,h,w]`, by a model to compare physics with.

    hard-mask: the target's pixels where the frame is sharp (|radius| <= 0.5 px), elsewhere the target blurred as a
    whole by one Gaussian in sRGB, sigma half the frame's median radius. gaussian-srgb: the same, the mask blurred too.
    """
    frames = np.empty((len(blur_radius_px), *target.shape), target.dtype)
    sharp = target.astype(np.float32)
    for i, radius in enumerate(np.abs(blur_radius_px)):
        soft = radius > SHARP_RADIUS_PX
        sigma = float(np.clip(np.median(radius[soft]) / 2, 0.5, 50)) if soft.any() else 0.5
        blurred = cv2.GaussianBlur(sharp, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        mask = soft.astype(np.float32)
        if kind == "gaussian-srgb":
            mask = cv2.GaussianBlur(mask, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        frames[i] = np.floor(sharp + mask[..., None] * (blurred - sharp) + 0.5)
    return frames
