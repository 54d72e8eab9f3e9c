"""Fusion metrics of contrast, gradients and differences: SD, AG, SF, Q_G (= Q^AB/F), SCD.

Grey values 0..255 `[H,W]`, sources A_1..A_N, fused image F. For two sources the literature's definitions; each
docstring gives our extension to more, which is not standard.
"""

from __future__ import annotations

import numpy as np

from mattingmfif.vaeedof.metrics_filters import SOBEL_X, SOBEL_Y, Grey, same

# Xydeas and Petrovic: sigmoids of kept edge strength and of kept orientation (constants of their figure 1)
GAMMA_STRENGTH, KAPPA_STRENGTH, SIGMA_STRENGTH = 0.9994, -15.0, 0.5
GAMMA_ANGLE, KAPPA_ANGLE, SIGMA_ANGLE = 0.9879, -22.0, 0.8
TINY = 1e-5  # stands for a vanishing gradient in quotients


def column_deviation(fused: Grey) -> float:
    """SD as the reference tables have it: the mean over columns of the column's standard deviation (ddof 1)."""
    return float(fused.std(axis=0, ddof=1).mean())


def _forward_differences(image: Grey) -> tuple[Grey, Grey]:
    down, right = np.zeros_like(image), np.zeros_like(image)
    down[:-1] = image[1:] - image[:-1]
    right[:, :-1] = image[:, 1:] - image[:, :-1]
    return down, right


def average_gradient(fused: Grey) -> float:
    """AG: mean over all pixels of sqrt((dx^2 + dy^2) / 2), forward differences, 0 at the last row and column."""
    down, right = _forward_differences(fused)
    return float(np.sqrt((down**2 + right**2) / 2).mean())


def spatial_frequency(fused: Grey) -> float:
    """SF: sqrt(mean dx^2 + mean dy^2), forward differences, divided by the number of all pixels."""
    down, right = _forward_differences(fused)
    return float(np.sqrt((down**2).mean() + (right**2).mean()))


def _edges(image: Grey) -> tuple[Grey, Grey]:
    """Strength and orientation (-pi/2..pi/2) of the Sobel gradient."""
    x, y = same(image, SOBEL_X), same(image, SOBEL_Y)
    return np.hypot(x, y), np.arctan(y / np.where(x == 0, TINY, x))


def edge_preservation(sources: list[Grey], fused: Grey) -> float:
    """Q_G, also Q^AB/F (Xydeas and Petrovic 2000), 0..1: kept edge strength times kept orientation, by source strength.

    sum_i sum_p Q_i(p) g_i(p) / sum_i sum_p g_i(p) over the N sources (two in the literature), the version of the
    original publication with gamma 0.9994/0.9879, kappa -15/-22, sigma 0.5/0.8. Another version (kappa -10/-20)
    circulates and gives other values.
    """
    strength_f, angle_f = _edges(fused)
    kept = weight = 0.0
    for source in sources:
        strength, angle = _edges(source)
        high, low = np.maximum(strength, strength_f), np.minimum(strength, strength_f)
        # a source without gradient stands in with strength TINY, so that two vanishing gradients count as kept
        ratio = np.where(strength > strength_f, low, strength + np.where(strength == 0, TINY, 0.0)) / np.where(
            high == 0, TINY, high
        )
        agreement = 1 - np.abs(angle - angle_f) * 2 / np.pi
        q = GAMMA_STRENGTH / (1 + np.exp(KAPPA_STRENGTH * (ratio - SIGMA_STRENGTH)))
        q *= GAMMA_ANGLE / (1 + np.exp(KAPPA_ANGLE * (agreement - SIGMA_ANGLE)))
        source_weight = np.where(strength == 0, TINY, strength)
        kept += float((q * source_weight).sum())
        weight += float(source_weight.sum())
    return kept / weight


def _correlation(x: Grey, y: Grey) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else 0.0


def sum_of_correlated_differences(sources: list[Grey], fused: Grey) -> float:
    """SCD (Aslantas and Bendes 2015): r(F - B, A) + r(F - A, B), -2..2; a flat difference correlates with nothing (0).

    N sources: (2/N) sum_i r(F - mean of the other sources, A_i) (non-standard).
    """
    total = sum(sources)
    others = max(len(sources) - 1, 1)
    terms = [_correlation(fused - (total - source) / others, source) for source in sources]
    return 2 * sum(terms) / len(terms)
