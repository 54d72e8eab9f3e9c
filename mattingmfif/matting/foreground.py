"""Colours of the subjects and of what is behind them, unmixed where alpha lies between 0 and 1.

All colours are linear light: light mixes linearly there, and the band's error is half of that in sRGB codes.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mattingmfif.pixels.colour import Float32

_MARGIN_PX = 32
_PASSES = 4


def split_colours(photo_linear: Float32, alpha: Float32) -> tuple[Float32, Float32]:
    """(foreground, background), both linear `[H,W,3]` in 0..1, of a photo and its alpha `[H,W]`.

    Multi-level estimation (T. Germer et al., "Fast multi-level foreground estimation", ICPR 2020) by pymatting, on the
    part of the picture where alpha is above 0. Elsewhere both are the photo's own colour.
    """
    from pymatting.foreground.estimate_foreground_ml import estimate_foreground_ml  # slow to import

    soft = (alpha > 0) & (alpha < 1)
    foreground, background = photo_linear, photo_linear
    if not soft.any():
        return foreground, background
    rows, columns = np.flatnonzero(soft.any(axis=1)), np.flatnonzero(soft.any(axis=0))
    window = (
        slice(max(0, int(rows[0]) - _MARGIN_PX), int(rows[-1]) + 1 + _MARGIN_PX),
        slice(max(0, int(columns[0]) - _MARGIN_PX), int(columns[-1]) + 1 + _MARGIN_PX),
    )
    inside = np.ascontiguousarray(photo_linear[window])
    f, b = estimate_foreground_ml(inside, np.ascontiguousarray(alpha[window]), return_background=True)
    foreground, background = photo_linear.copy(), photo_linear.copy()
    foreground[window] = np.clip(f, 0.0, 1.0)
    background[window] = np.clip(b, 0.0, 1.0)
    return foreground, background


def agree_with_photo(photo_linear: Float32, colours: Sequence[Float32], fractions: Sequence[Float32]) -> list[Float32]:
    """`colours`, corrected so that the sum of fraction * colour is the photo's linear value.

    `photo_linear` `[..., 3]`, `colours` the same, `fractions` `[...]` summing to one. The smallest correction in the
    least-squares sense, kept within 0..1; what that clips is passed on to the other layers.
    """
    weights = [fraction[..., None] for fraction in fractions]
    colours = list(colours)
    for _ in range(_PASSES):
        missing = photo_linear - sum((w * c for w, c in zip(weights, colours, strict=True)), np.float32(0))
        # a layer can take its share only where it is not yet at the end of its range in that direction
        free = [
            np.where(missing > 0, (c < 1).astype(np.float32), (c > 0).astype(np.float32)) * w
            for c, w in zip(colours, weights, strict=True)
        ]
        norm = np.maximum(sum((f * f for f in free), np.float32(0)), np.float32(1e-6))
        colours = [np.clip(c + f * (missing / norm), 0.0, 1.0) for c, f in zip(colours, free, strict=True)]
    return [np.asarray(c, np.float32) for c in colours]


def clean_tails(fractions: Sequence[Float32], tail: float) -> list[Float32]:
    """Fractions without the faint veil below `tail` and the faint hole above 1 - `tail`; the rest is kept.

    Islands are cleaned too: a soft speck whose strongest pixel is below 5 * `tail` vanishes.
    """
    cleaned = []
    for fraction in fractions:
        out = np.where(fraction < tail, np.float32(0), np.where(fraction > 1 - tail, np.float32(1), fraction))
        cleaned.append(_without_specks(out, 5 * tail))
    if len(cleaned) > 1:
        total = np.maximum(np.sum(cleaned, axis=0), np.float32(1))
        cleaned = [np.asarray(c / total, np.float32) for c in cleaned]
    return cleaned


def _without_specks(fraction: Float32, strongest: float) -> Float32:
    count, labels = cv2.connectedComponents((fraction > 0).astype(np.uint8), connectivity=8)
    if count <= 1 or strongest <= 0:
        return np.asarray(fraction, np.float32)
    strong = np.zeros(count, bool)
    strong[np.unique(labels[fraction >= strongest])] = True
    return np.where(strong[labels], fraction, np.float32(0)).astype(np.float32)
