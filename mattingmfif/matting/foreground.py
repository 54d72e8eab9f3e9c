"""Colours of the subjects and of what is behind them, unmixed where alpha lies between 0 and 1.

All colours are linear light: light mixes linearly there, and the band's error is half of that in sRGB codes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.matting.windows import overlaps, window_of
from mattingmfif.pixels.colour import Float32

_PASSES = 6
#: light that even a black colour counts as when layers share a correction
_BLACK = np.float32(0.005)


def split_colours(photo_linear: Float32, alpha: Float32) -> tuple[Float32, Float32]:
    """(foreground, background), both linear `[H,W,3]` in 0..1, of a photo and its alpha `[H,W]`.

    Multi-level estimation (T. Germer et al., "Fast multi-level foreground estimation", ICPR 2020) by pymatting.
    `agree_with_photo` brings back the detail that a photo loses when it is reduced for this.
    """
    from pymatting.foreground.estimate_foreground_ml import estimate_foreground_ml  # slow to import

    if alpha.size < 2 or not ((alpha > 0) & (alpha < 1)).any():  # of a single pixel there are no levels
        return photo_linear.copy(), photo_linear.copy()
    photo, cover = np.ascontiguousarray(photo_linear), np.ascontiguousarray(alpha)
    foreground, background = estimate_foreground_ml(photo, cover, return_background=True)
    return np.clip(foreground, 0.0, 1.0, out=foreground), np.clip(background, 0.0, 1.0, out=background)


def agree_with_photo(photo_linear: Float32, colours: Float32, weights: Float32, ease: Float32) -> Float32:
    """Correct `colours` `[L,n,3]` in place so that the sum of weight * colour is the photo's linear value `[n,3]`.

    `weights` `[L,n]` sum to one. A colour gives way by the square of its weight, because where a layer is hardly seen
    its continuation is the better estimate, and by its brightness, because the same step of light shows less in a
    bright colour; the last layer, the plate, by its `ease` `[n]` (see `continue_behind`). All stay within 0..1; what
    that clips is passed on to the other layers. Returns what is left `[n]`, the largest difference of the three
    channels in sRGB codes of 255.
    """
    from mattingmfif.matting.colour_kernels import agree

    apart = np.zeros(len(photo_linear), np.float32)
    agree(np.ascontiguousarray(photo_linear), colours, weights, ease, _PASSES, _BLACK, apart)
    apart *= np.float32(255)
    return apart


def agree_with_plate(
    photo_linear: Float32,
    colour: Float32,
    alpha: Float32,
    plate: Float32,
    layers: npt.NDArray[np.uint8],
    ease: Float32,
    scale: int,
) -> Float32:
    """`agree_with_photo` for the pixels where a subject is mixed with nothing but the plate, in place.

    `colour` and `plate` are `[H,W,3]`, `alpha` `[H,W]`; `layers` `[H,W]` counts the subjects at each pixel; `ease`
    `[h,w]` is reduced by `scale`.
    """
    from mattingmfif.matting.colour_kernels import agree_before

    rows, columns = window_of((alpha > 0) & (alpha < 1), 0)
    apart = np.empty((rows.stop - rows.start) * (columns.stop - columns.start), np.float32)
    corners = (rows.start, columns.start, rows.stop, columns.stop)
    photo = np.ascontiguousarray(photo_linear)
    count = agree_before(photo, colour, plate, alpha, layers, ease, scale, corners, _PASSES, _BLACK, apart)
    return np.asarray(apart[:count] * np.float32(255), np.float32)


def clean_tails(fractions: Sequence[Float32], tail: float) -> None:
    """Clear, in place, the faint veil below `tail` and the faint hole above 1 - `tail`; the rest of `[H,W]` is kept.

    Islands are cleared too: a soft speck whose strongest pixel is below 5 * `tail` vanishes.
    """
    from mattingmfif.matting.colour_kernels import clear_specks

    for fraction in fractions:
        window = window_of(fraction > 0, 0)
        own = fraction[window]
        if not own.size:  # a subject that others took over; OpenCV crashes on empty arrays
            continue
        own[own < tail] = 0.0
        own[own > 1 - tail] = 1.0
        count, labels = cv2.connectedComponents((own > 0).astype(np.uint8), connectivity=8)
        if count > 2 and tail > 0:
            clear_specks(fraction, labels, count, np.float32(5 * tail), window[0].start, window[1].start)
    hold_to_one(fractions)


def hold_to_one(fractions: Sequence[Float32]) -> None:
    """Scale `fractions` `[H,W]` down, in place, where they sum to more than one."""
    for part in overlaps([window_of(fraction > 0, 0) for fraction in fractions]):
        total = fractions[0][part].copy()
        for fraction in fractions[1:]:
            total += fraction[part]
        if total.max() > 1:
            np.maximum(total, np.float32(1), out=total)
            for fraction in fractions:
                fraction[part] /= total
