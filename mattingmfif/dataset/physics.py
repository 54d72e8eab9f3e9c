"""What must hold between the images of a sample and its camera record, checked without rendering anything.

    depth      the depth of a pixel is that of the layer whose matte shows most there
    sharpest   `sharpest_frame` is the frame with the least |blur radius| at that depth, 255 where it is over 0.5 px
    boundary   marks what the blur of a matte edge reaches, and nothing else
    in-focus   where every layer that can be seen has |radius| < 0.25 px, a frame's codes are the target's
    trust      there, a frame's trust is the target's as well

The checks know what a stored sample cannot say: outside the frame a composite may hold anything, so borders within the
reach of the blur are left out, and `--rerender` remains the check for pixels that are blurred.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.camera import lens_of
from mattingmfif.dataset.reader import Sample
from mattingmfif.dataset.sample import ALPHA_COLUMNS, NO_FRAME, SHARP_RADIUS_PX, TRUST_COLUMNS
from mattingmfif.optics.lens import INVISIBLE_RADIUS_PX

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[Any]
Finding = tuple[str, str]

#: radii are computed in float32; a choice between two frames is a fault only if it costs more than this
_RADIUS_SLACK_PX = 1e-3
#: shares of light closer than this leave open which layer shows most
_WEIGHT_SLACK = 1e-3
#: beyond the radius: the 2-px-wide tent of the pixels, and rounding
_TENT_PX = 1.5
#: blurred alpha surely inside, or surely outside, of the interval (0.02, 0.98) of the definition
_SURE_BOUNDARY, _SURE_REST = (0.05, 0.95), (0.005, 0.995)


def check_physics(sample: Sample) -> Iterator[Finding]:
    """(check, detail) of everything that does not agree; nothing for a good sample."""
    alphas = [code for code in (sample.image(name) for name in ALPHA_COLUMNS) if code is not None]
    yield from _check_depth(sample, alphas)
    yield from _check_sharpest(sample)
    radii = layer_radii_px(sample)
    yield from _check_boundary(sample, alphas, radii)
    if sample.camera.is_ideal:
        yield from _check_in_focus(sample, alphas, radii)


def layer_radii_px(sample: Sample) -> npt.NDArray[np.float64]:
    """[frames, layers, 2]: signed blur radius of every layer's nearest and farthest point in every frame."""
    lens, width = lens_of(sample.camera), sample.camera.image_width_px
    return np.array(
        [
            [
                [lens.blur_radius_px(distance, focus, width) for distance in (layer.near_m, layer.far_m)]
                for layer in sample.layers
            ]
            for focus in sample.focus_distance_m
        ]
    )


def _check_depth(sample: Sample, alphas: list[Codes]) -> Iterator[Finding]:
    rest = np.ones(sample.size, np.float32)
    best, second = np.full(sample.size, -1, np.float32), np.full(sample.size, -1, np.float32)
    nearness_low, nearness_high = np.zeros(sample.size), np.zeros(sample.size)
    for k, layer in enumerate(sample.layers):
        alpha = alphas[k].astype(np.float32) / np.float32(65535) if k < len(alphas) else np.float32(1)
        weight = rest * alpha
        rest = rest - weight
        wins = weight > best
        second = np.maximum(np.minimum(weight, best), second)
        best = np.maximum(weight, best)
        nearness_low[wins], nearness_high[wins] = 1 / layer.far_m, 1 / layer.near_m
    nearness = 1.0 / sample.depth_m.astype(np.float64)
    slack = sample.camera.depth_scale * 0.51 + 1e-6 * nearness
    wrong = ((nearness < nearness_low - slack) | (nearness > nearness_high + slack)) & (best - second > _WEIGHT_SLACK)
    if wrong.any():
        y, x = _first(wrong)
        yield "depth", f"{wrong.sum()} px are not at the distance of the layer seen most, first y={y} x={x}"


def _check_sharpest(sample: Sample) -> Iterator[Finding]:
    stored = sample.sharpest_frame
    least = np.full(sample.size, np.inf, np.float32)
    chosen = np.full(sample.size, np.inf, np.float32)
    for k in range(sample.n_frames):
        radius = np.abs(sample.blur_radius_px(k))
        least = np.minimum(least, radius)
        chosen[stored == k] = radius[stored == k]
    gap = stored == NO_FRAME
    wrong = ~gap & ((chosen > least + _RADIUS_SLACK_PX) | (chosen > SHARP_RADIUS_PX + _RADIUS_SLACK_PX))
    wrong |= gap & (least < SHARP_RADIUS_PX - _RADIUS_SLACK_PX)
    if wrong.any():
        y, x = _first(wrong)
        yield "sharpest", f"{wrong.sum()} px name another frame than the least blur, first y={y} x={x}"


def _check_boundary(sample: Sample, alphas: list[Codes], radii: npt.NDArray[np.float64]) -> Iterator[Finding]:
    codes = sample.image("boundary")
    assert codes is not None
    if not np.isin(codes, (0, 255)).all():
        yield "boundary", "codes other than 0 and 255"
    if sample.camera.lens_options:
        return  # the reach of the blur then depends on place and channel
    marked = codes > 0
    reach = np.abs(radii).max(axis=(0, 2)) if len(sample.layers) else np.zeros(0)
    border = _border(sample.size, float(reach.max(initial=0.0)) + _TENT_PX)
    allowed = border.copy()
    missing = np.zeros(sample.size, bool)
    even = not sample.camera.aperture.get("cats_eye")
    for k, alpha in enumerate(alphas):
        edge = cv2.dilate(alpha, np.ones((3, 3))) != cv2.erode(alpha, np.ones((3, 3)))
        allowed |= _within(edge, float(reach[k]) + _TENT_PX)
        if sample.layers[k].near_m == sample.layers[k].far_m and even:
            for frame in range(sample.n_frames):
                spread = _blurred(sample, alpha, float(radii[frame, k, 0]))
                missing |= (spread > _SURE_BOUNDARY[0]) & (spread < _SURE_BOUNDARY[1]) & ~marked & ~border
    extra = marked & ~allowed
    for mask, words in ((extra, "marked though no matte edge reaches them"), (missing, "not marked at a matte edge")):
        if mask.any():
            y, x = _first(mask)
            yield "boundary", f"{mask.sum()} px are {words}, first y={y} x={x}"


def _check_in_focus(sample: Sample, alphas: list[Codes], radii: npt.NDArray[np.float64]) -> Iterator[Finding]:
    target, target_trust = sample.target, sample.image("trust")
    assert target_trust is not None
    for frame in range(sample.n_frames):
        sharp = sharp_pixels(sample.size, alphas, np.abs(radii[frame]).max(axis=1))
        if not sharp.any():
            continue
        codes, trust = sample.quick_frame(frame), sample.image(TRUST_COLUMNS[frame])
        assert trust is not None
        wrong = (codes != target).any(axis=2) & sharp
        if wrong.any():
            y, x = _first(wrong)
            most = int(np.abs(codes.astype(np.int32) - target)[wrong].max())
            yield (
                "in-focus",
                f"frame {frame}: {wrong.sum()} of {sharp.sum()} px in focus differ from the target, "
                f"by up to {most} codes, first y={y} x={x}",
            )
        wrong = (np.abs(trust.astype(np.int16) - target_trust) > 1) & sharp
        if wrong.any():
            y, x = _first(wrong)
            yield "trust", f"frame {frame}: {wrong.sum()} px in focus are trusted unlike the target, first y={y} x={x}"


def sharp_pixels(size: tuple[int, int], alphas: list[Codes], largest_radius_px: npt.NDArray[np.float64]) -> Mask:
    """[H,W] pixels to which no layer with a visible radius contributes.

    `largest_radius_px` has one value a layer, nearest first; the background beyond the mattes is opaque. A blurred
    layer contributes wherever its matte lies within its radius, unless an opaque sharp layer stands in front.
    """
    touched = np.zeros(size, bool)
    hidden = np.zeros(size, bool)
    for k, radius in enumerate(largest_radius_px):
        if radius < INVISIBLE_RADIUS_PX:
            hidden |= alphas[k] == 65535 if k < len(alphas) else True
        elif k < len(alphas):
            touched |= (_within(alphas[k] > 0, radius + _TENT_PX) | _border(size, radius + _TENT_PX)) & ~hidden
        else:
            touched |= ~hidden
    return ~touched


def _blurred(sample: Sample, alpha: Codes, radius_px: float) -> npt.NDArray[np.float32]:
    from mattingmfif.optics.psf import psf

    plain = alpha.astype(np.float32) / np.float32(65535)
    if abs(radius_px) < INVISIBLE_RADIUS_PX:
        return plain
    kernel = psf(lens_of(sample.camera), radius_px)[::-1, ::-1]  # filter2D correlates
    return np.asarray(cv2.filter2D(plain, -1, np.ascontiguousarray(kernel), borderType=cv2.BORDER_REPLICATE))


def _within(mask: Mask, distance_px: float) -> Mask:
    """Pixels whose centre is at most that far from one of the mask's."""
    if not mask.any():
        return mask.copy()
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= distance_px)


def _border(size: tuple[int, int], width_px: float) -> Mask:
    strip = np.ones(size, bool)
    inner = int(np.ceil(width_px))
    strip[inner : size[0] - inner, inner : size[1] - inner] = False
    return strip


def _first(mask: Mask) -> tuple[int, int]:
    y, x = np.unravel_index(int(np.argmax(mask)), mask.shape)
    return int(y), int(x)
