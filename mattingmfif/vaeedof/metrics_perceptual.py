"""Fusion metrics that imitate the eye: Chen-Blum Q_CB and Chen-Varshney Q_CV.

Grey values 0..255 `[H,W]`, sources A_1..A_N, fused image F, all stretched to 0..255 first. Both filter by a contrast
sensitivity function of radial frequency r.
"""

from __future__ import annotations

import numpy as np

from mattingmfif.vaeedof.metrics_filters import (
    SOBEL_X,
    SOBEL_Y,
    Grey,
    filter_frequencies,
    radial_frequency,
    same,
    stretch,
)

CV_BLOCK_PX = 16
CV_POWER = 5


def _unnormalised_gaussian(sigma: float) -> Grey:
    x = np.arange(-15, 16, dtype=np.float64)
    line = np.exp(-(x**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    return np.outer(line, line)


def _masked_contrast(image: Grey, response: Grey) -> Grey:
    seen = filter_frequencies(image, response)
    with np.errstate(divide="ignore", invalid="ignore"):
        contrast = np.abs(same(seen, _unnormalised_gaussian(2)) / same(seen, _unnormalised_gaussian(4)) - 1)
    contrast = np.nan_to_num(contrast)
    return contrast**3 / (contrast**2 + 1e-4)


def chen_blum(sources: list[Grey], fused: Grey) -> float:
    """Q_CB (Chen and Blum 2009), 0..1: how much of each source's masked local contrast the fused image keeps.

    Difference-of-Gaussians sensitivity exp(-(r/15.387)^2) - 0.7622 exp(-(r/1.3456)^2), contrast G_2/G_4 - 1 in 31x31
    windows, masking c^3/(c^2 + 1e-4); kept = min/max, weighted by the squared contrasts of the N sources (two in the
    literature). Two vanishing contrasts count as kept.
    """
    height, width = fused.shape
    r = radial_frequency(height, width, height / 30, width / 30)
    response = np.exp(-((r / 15.3870) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2))
    contrast_f = _masked_contrast(stretch(fused), response)
    contrasts = np.stack([_masked_contrast(stretch(source), response) for source in sources])
    high, low = np.maximum(contrasts, contrast_f), np.minimum(contrasts, contrast_f)
    kept = np.where(high == 0, 1.0, low / np.where(high == 0, 1.0, high))
    power = contrasts**2
    total = power.sum(0)
    weight = np.where(total == 0, 1 / len(sources), power / np.where(total == 0, 1.0, total))
    return float((weight * kept).sum(0).mean())


def _block_sums(image: Grey) -> Grey:
    """Sums over 16x16 blocks; an incomplete block at the end is padded with zeros."""
    height, width = image.shape
    padded = np.pad(image, ((0, -height % CV_BLOCK_PX), (0, -width % CV_BLOCK_PX)))
    rows, columns = padded.shape[0] // CV_BLOCK_PX, padded.shape[1] // CV_BLOCK_PX
    sums: Grey = padded.reshape(rows, CV_BLOCK_PX, columns, CV_BLOCK_PX).sum((1, 3))
    return sums


def chen_varshney(sources: list[Grey], fused: Grey) -> float:
    """Q_CV (Chen and Varshney 2007), 0 or more, lower is better: the visible squared difference to the salient source.

    Per 16x16 block: saliency = sum of Sobel strength to the 5th power, difference = mean square of A_i - F under the
    Mannos-Sakrison sensitivity 2.6 (0.0192 + 0.144 r) exp(-(0.144 r)^1.1); the blocks' saliency-weighted mean over all
    N sources (two in the literature).
    """
    height, width = fused.shape
    r = radial_frequency(height, width, height / 8, width / 8)
    response = 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1))
    fused = stretch(fused)
    weighted = weights = 0.0
    for source in map(stretch, sources):
        strength = np.hypot(same(source, SOBEL_X), same(source, SOBEL_Y))
        saliency = _block_sums(strength**CV_POWER)
        difference = _block_sums(filter_frequencies(source - fused, response) ** 2) / CV_BLOCK_PX**2
        weighted += float((saliency * difference).sum())
        weights += float(saliency.sum())
    return weighted / weights if weights > 0 else 0.0
