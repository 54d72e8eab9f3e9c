"""Colours of the subjects and of what is behind them, unmixed where alpha lies between 0 and 1.

All colours are linear light: light mixes linearly there, and the band's error is half of that in sRGB codes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.matting.windows import window_of
from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.planes import zeros_where_untouched

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


def agree_with_photo(photo_linear: Float32, colours: Sequence[Float32], fractions: Sequence[Float32]) -> list[Float32]:
    """`colours`, corrected so that the sum of fraction * colour is the photo's linear value.

    `photo_linear` `[..., 3]`, `colours` the same, `fractions` `[...]` summing to one. A colour gives way by the square
    of its fraction, because where a layer is hardly seen its continuation is the better estimate, and by its
    brightness, because the same step of light shows less in a bright colour. All stay within 0..1; what that clips is
    passed on to the other layers.
    """
    colours = [np.array(colour, np.float32) for colour in colours]
    flat = [colour.reshape(-1, 3) for colour in colours]
    photo = photo_linear.reshape(-1, 3)
    weights = [np.asarray(fraction, np.float32).reshape(-1, 1) for fraction in fractions]
    left: slice | npt.NDArray[np.intp] = slice(None)  # after the first pass, the few pixels where something was clipped
    for _ in range(_PASSES):
        shares, some = [weight[left] for weight in weights], [colour[left] for colour in flat]
        missing = photo[left] - sum((w * c for w, c in zip(shares, some, strict=True)), np.float32(0))
        # a layer can take its share only where it is not yet at the end of its range in that direction
        free = [np.where(missing > 0, c < 1, c > 0) * (w * w) * (c + _BLACK) for c, w in zip(some, shares, strict=True)]
        norm = np.maximum(sum((f * w for f, w in zip(free, shares, strict=True)), np.float32(0)), np.float32(1e-12))
        missing /= norm
        clipped = np.zeros(len(missing), bool)
        for colour, c, f in zip(flat, some, free, strict=True):
            wanted = c + f * missing
            colour[left] = np.clip(wanted, 0.0, 1.0)
            clipped |= ((wanted < 0) | (wanted > 1)).any(axis=1)
        left = np.flatnonzero(clipped) if isinstance(left, slice) else left[clipped]
        if not len(left):
            break
    return colours


def clean_tails(fractions: Sequence[Float32], tail: float) -> list[Float32]:
    """Fractions without the faint veil below `tail` and the faint hole above 1 - `tail`; the rest is kept.

    Islands are cleaned too: a soft speck whose strongest pixel is below 5 * `tail` vanishes.
    """
    cleaned = []
    for fraction in fractions:
        out = zeros_where_untouched(fraction.shape)
        window = window_of(fraction >= tail, 0)
        own = fraction[window]
        own = np.where(own < tail, np.float32(0), np.where(own > 1 - tail, np.float32(1), own))
        out[window] = _without_specks(own, 5 * tail)
        cleaned.append(out)
    if len(cleaned) > 1:
        window = window_of(np.max(np.stack(cleaned), axis=0) > 0, 0)
        total = np.maximum(np.sum([c[window] for c in cleaned], axis=0), np.float32(1))
        for out in cleaned:
            out[window] /= total
    return cleaned


def _without_specks(fraction: Float32, strongest: float) -> Float32:
    if not fraction.size:  # a subject that others took over; OpenCV crashes on empty arrays
        return fraction
    count, labels = cv2.connectedComponents((fraction > 0).astype(np.uint8), connectivity=8)
    if count <= 2 or strongest <= 0:
        return np.asarray(fraction, np.float32)
    strong = np.zeros(count, bool)
    strong[np.unique(labels[fraction >= strongest])] = True
    return np.where(strong[labels], fraction, np.float32(0)).astype(np.float32)
