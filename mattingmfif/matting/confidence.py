"""How far a matte and the plate behind it can be trusted: figures that the recipe's gates look at.

band         how wide the half transparent zone around a subject is, in px at a long side of 3840
unexplained  how far the colours of that zone are from any mixture of those on its two sides
clipped      how much of a subject is white that the sensor cut off: glare, which nothing could be focused on
ghost        how much of the plate, just behind the outline, looks like the subject instead of like its surroundings
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.matting.surroundings import SURE, continued
from mattingmfif.matting.trimap import REFERENCE_LONG_SIDE_PX
from mattingmfif.matting.windows import window_of
from mattingmfif.pixels.colour import Float32, linear_to_srgb

_LONG_SIDE_PX = 640
_WHITE = np.float32(0.99)
#: CIE 1976 difference from which the two sides of an outline can be told apart
_DIFFERENT = 10.0
#: sigma of the surroundings, and reach of the ring behind the outline, in px of the reduced picture
_SURROUNDINGS_PX, _RING_PX = 8.0, 5.0


def band_px(fraction: Float32) -> float:
    """Pixels of `fraction` `[H,W]` between 0 and 1 by px of its outline, at a long side of 3840; 0 without any."""
    window = window_of(fraction > 0, 1)
    own = fraction[window]
    if not own.size:
        return 0.0
    solid = (own > 0.5).astype(np.uint8)
    outline = int((cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0).sum())
    between = int(((own > 0) & (own < 1)).sum())
    return between / max(outline, 1) * REFERENCE_LONG_SIDE_PX / max(fraction.shape)


def clipped_share(photo_srgb: Float32, mask: npt.NDArray[np.bool_]) -> float:
    """The share of a subject's pixels at least two of whose channels are at white; 0 for an empty mask `[h,w]`."""
    own = photo_srgb[mask]
    return float(((own >= _WHITE).sum(axis=-1) >= 2).mean()) if own.size else 0.0


def unexplained(photo_srgb: Float32, fraction: Float32) -> float:
    """What is left of the colours in the band of `fraction` once the mixture of its two sides is taken away.

    `photo_srgb` `[h,w,3]` may be smaller than `fraction` `[H,W]`: both are looked at with a long side of 640 px.
    The median over the band of the squared distance to the mixture, in squared distances of the two sides and at most
    1: 0 where one surface ends before another, large where the outline is a smear across texture. 0 without a band.
    """
    size = _reduced_size(photo_srgb.shape)
    photo = np.asarray(cv2.resize(photo_srgb, size, interpolation=cv2.INTER_AREA), np.float32)
    cover = np.asarray(cv2.resize(fraction, size, interpolation=cv2.INTER_AREA), np.float32)
    inside, outside = cover >= 1 - SURE, cover <= SURE
    band = ~(inside | outside)
    if not (band.any() and inside.any() and outside.any()):
        return 0.0
    front, back = continued(photo, inside)[band], continued(photo, outside)[band]
    left = photo[band] - back - (front - back) * cover[band][:, None]
    apart = np.maximum(((front - back) ** 2).sum(axis=1), np.float32(1e-6))
    return min(1.0, float(np.median((left**2).sum(axis=1) / apart)))


def plate_ghosts(photo_linear: Float32, plate_linear: Float32, fractions: Sequence[Float32]) -> list[float]:
    """For each subject the share, 0..1, of the invented ring behind its outline that looks like the subject itself.

    0 where the two sides cannot be told apart anyway.
    """
    size = _reduced_size(photo_linear.shape)

    def small(plane: Float32) -> Float32:
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)

    photo, plate = (cv2.cvtColor(linear_to_srgb(small(p)), cv2.COLOR_RGB2LAB) for p in (photo_linear, plate_linear))
    covers = [small(fraction) for fraction in fractions]
    total = np.sum(covers, axis=0)
    around = _local_mean(photo, (total < 0.02).astype(np.float32))
    ghosts = []
    for cover in covers:
        hidden = (cover > 0.5).astype(np.uint8)
        depth = cv2.distanceTransform(hidden, cv2.DIST_L2, cv2.DIST_MASK_5)
        subject = _local_mean(photo, (cover > 0.98).astype(np.float32))
        ring = (depth > 0) & (depth <= _RING_PX) & (_apart(subject, around) > _DIFFERENT)
        nearer = _apart(plate, subject) < _apart(plate, around)
        ghosts.append(float(nearer[ring].mean()) if ring.sum() >= 20 else 0.0)
    return ghosts


def _reduced_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height)."""
    scale = min(1.0, _LONG_SIDE_PX / max(shape))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _local_mean(lab: Float32, weight: Float32) -> Float32:
    total = cv2.GaussianBlur(lab * weight[..., None], (0, 0), _SURROUNDINGS_PX)
    share = cv2.GaussianBlur(weight, (0, 0), _SURROUNDINGS_PX)
    return np.asarray(np.where(share[..., None] > 1e-4, total / np.maximum(share, 1e-4)[..., None], np.nan), np.float32)


def _apart(a: Float32, b: Float32) -> Float32:
    return np.nan_to_num(np.sqrt(((a - b) ** 2).sum(axis=-1)), nan=0.0)
