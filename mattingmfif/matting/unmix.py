"""The colours of all layers of a photograph: of the subjects, and of the plate behind them.

Everything smooth is made at a reduced size, one rectangle after the other, and sampled where it is needed; the photo's
own detail comes back with the correction that makes the layers agree with it. Two subjects whose rectangles overlap are
unmixed each by itself, and the plate with both of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mattingmfif.matting.foreground import agree_with_photo, split_colours
from mattingmfif.matting.plate import continue_behind
from mattingmfif.matting.surroundings import points_of, reduced, sampled
from mattingmfif.matting.windows import Window, disjoint, window_of
from mattingmfif.pixels.colour import Float32, linear_to_srgb
from mattingmfif.pixels.fill import push_pull
from mattingmfif.pixels.planes import zeros_where_untouched

MARGIN_PX = 32
#: long side above which colours are unmixed at half and at a third of the size (the accuracy stays within 3 %)
_HALF_COLOURS_FROM_PX, _THIRD_COLOURS_FROM_PX = 2000, 3000
#: a subject has a colour this far beyond its alpha too, for whoever reduces it without alpha (box of 17 px)
_AROUND = np.ones((17, 17), np.uint8)
#: pixels that are corrected at once
_BLOCK = 1 << 18


def colour_scale(shape: tuple[int, ...]) -> int:
    """How much smaller than a photo of this shape its colours are estimated: 1, 2 or 3."""
    long_side = max(shape[:2])
    return 1 + (long_side > _HALF_COLOURS_FROM_PX) + (long_side > _THIRD_COLOURS_FROM_PX)


def windows_of_subjects(alphas: Sequence[Float32]) -> list[Window]:
    """Rectangles that hold all subjects with a margin, and do not overlap each other."""
    return disjoint([window_of(alpha > 0, MARGIN_PX) for alpha in alphas])


def unmixed(
    photo_linear: Float32,
    fractions: Sequence[Float32],
    alphas: Sequence[Float32],
    covers: Sequence[Float32],
    solved: Float32,
) -> tuple[list[Float32], Float32]:
    """(colours of the subjects, colour behind them), all `[H,W,3]` linear, not yet made to agree with the photo.

    Nearest first: `fractions` of the light, over-`alphas`, and `covers`, what is covered by nearer ones and, last, by
    all. `solved` is the sum of the fractions as they were solved in codes. A subject's colour is 0 farther away.
    """
    colours = [zeros_where_untouched(photo_linear.shape) for _ in fractions]
    plate = photo_linear.copy()
    scale = colour_scale(photo_linear.shape)
    for window in windows_of_subjects(alphas):
        light, covered = reduced(photo_linear[window], scale), reduced(covers[-1][window], scale)
        front, back = split_colours(light, covered)
        rows, columns = np.nonzero(covers[-1][window] > 0)
        size = covers[-1][window].shape
        behind = continue_behind(light, front, back, covered, reduced(solved[window], scale))
        plate[window][rows, columns] = sampled(behind, points_of(rows, columns, size, covered.shape))
        inside = [k for k, alpha in enumerate(alphas) if (alpha[window] > 0).any()]
        for k in inside:
            own = front if len(inside) == 1 else _own_colour(light, reduced(fractions[k][window], scale), scale)
            alpha, cover = alphas[k][window], covers[k][window]
            if ((cover > 0) & (alpha > 0)).any():  # continued behind the nearer subjects
                seen = np.float32(1) - reduced(cover, scale)
                own = push_pull(own, seen * seen * (reduced(alpha, scale) > 0))
            solid = fractions[k][window] >= 1
            rows, columns = np.nonzero((cv2.dilate((alpha > 0).astype(np.uint8), _AROUND) > 0) & ~solid)
            part = colours[k][window]
            part[rows, columns] = sampled(own, points_of(rows, columns, size, own.shape))
            part[solid] = photo_linear[window][solid]
    return colours, plate


def _own_colour(light: Float32, fraction: Float32, scale: int) -> Float32:
    """The colour of one of several subjects, over all of `light`."""
    window = window_of(fraction > 0, -(-MARGIN_PX // scale))
    colour = light.copy()
    colour[window] = split_colours(light[window], fraction[window])[0]
    return colour


def correct(
    photo_linear: Float32, colours: Sequence[Float32], alphas: Sequence[Float32], fractions: Sequence[Float32]
) -> Float32:
    """Make the reassembly of `colours` (the plate last; changed in place) agree with the photo where layers mix.

    Where one layer is all there is, it must be the photo itself already. Returns the difference left, in sRGB codes,
    at the pixels that were corrected.
    """
    differences = [np.zeros(0, np.float32)]
    for window in windows_of_subjects(alphas):
        mixed = np.zeros(alphas[0][window].shape, bool)
        for fraction in fractions:
            mixed |= fraction[window] > 0
        for fraction in fractions:
            mixed &= fraction[window] < 1
        rows, columns = np.nonzero(mixed)
        for start in range(0, rows.size, _BLOCK):
            at = rows[start : start + _BLOCK], columns[start : start + _BLOCK]
            photo = photo_linear[window][at]
            weights = _weights([alpha[window][at] for alpha in alphas])
            fixed = agree_with_photo(photo, [colour[window][at] for colour in colours], weights)
            for colour, values in zip(colours, fixed, strict=True):
                colour[window][at] = values
            light = sum((w[:, None] * c for w, c in zip(weights, fixed, strict=True)), np.float32(0))
            apart = np.abs(linear_to_srgb(light) - linear_to_srgb(photo)).max(axis=-1, initial=0.0)
            differences.append(np.asarray(apart * np.float32(255), np.float32))
    return np.concatenate(differences)


def _weights(alphas: Sequence[Float32]) -> list[Float32]:
    """The share of each pixel's light that comes from each layer and, last, from the plate."""
    through = np.ones_like(alphas[0])
    weights = []
    for alpha in alphas:
        weights.append(through * alpha)
        through = through * (np.float32(1) - alpha)
    return [*weights, through]
