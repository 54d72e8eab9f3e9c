"""Fusion metrics built on local similarity: Piella's Q_S, Q_W, Q_E; Cvejic's Q_C; Yang's Q_Y; Han's VIFF.

Grey values 0..255 `[H,W]`, sources A_1..A_N, fused image F, s2 a local variance. For two sources the literature's
definitions; each docstring gives our extension to more, which is not standard.
"""

from __future__ import annotations

import numpy as np

from mattingmfif.vaeedof.metrics_filters import Grey, gaussian_line, moments, same, valid

BOX_8 = np.full(8, 1 / 8)
GAUSS_7 = gaussian_line(7, 1.5)
PIELLA_C = (1e-6 * 255) ** 2
VANISHING_C = 2e-16
YANG_ALIKE = 0.75
PREWITT_X = np.array([[1, 0, -1]] * 3, np.float64)
VIFF_NOISE = 0.005 * 255**2
VIFF_SCALES = np.array([1, 0, 0.15, 1]) / 2.15


def _similarity(x: Grey, y: Grey, line: Grey, c: float) -> tuple[Grey, Grey, Grey, Grey]:
    """The SSIM-type map of x and y with both constants c, the two variances, the covariance."""
    mean_x, mean_y, var_x, var_y, cov = moments(x, y, line)
    quality = ((2 * mean_x * mean_y + c) * (2 * cov + c)) / ((mean_x**2 + mean_y**2 + c) * (var_x + var_y + c))
    return quality, var_x, var_y, cov


def _shares(variances: Grey) -> Grey:
    """Share of each source `[N,H,W]` in the sum of variances; equal shares where all vanish."""
    total = variances.sum(0)
    return np.where(total == 0, 1 / len(variances), variances / np.where(total == 0, 1.0, total))


def _piella_maps(sources: list[Grey], fused: Grey) -> tuple[Grey, Grey]:
    found = [_similarity(fused, source, BOX_8, PIELLA_C) for source in sources]
    variances = np.stack([item[2] for item in found])
    # the reference lifts a vanishing sum of variances by one half per source before it takes the maximum
    variances = variances + 0.5 * (variances.sum(0) == 0)
    return (_shares(variances) * np.stack([item[0] for item in found])).sum(0), variances.max(0)


def piella(sources: list[Grey], fused: Grey) -> tuple[float, float, float]:
    """Q_S, Q_W, Q_E (Piella and Heijmans 2003), at most 1: local UIQI in 8x8 windows, mixed by the sources' variance.

    Q_S = mean of sum_i l_i UIQI(F, A_i), l_i = s2_i / sum s2; Q_W weights positions by max_i s2_i; Q_E = Q_W times the
    Q_W of the Prewitt edge images. The formulas hold for any N (two in the literature).
    """
    quality, saliency = _piella_maps(sources, fused)
    q_w = float((quality * saliency).sum() / saliency.sum())
    edges = [np.hypot(same(image, PREWITT_X), same(image, PREWITT_X.T.copy())) for image in [*sources, fused]]
    edge_quality, edge_saliency = _piella_maps(edges[:-1], edges[-1])
    return float(quality.mean()), q_w, q_w * float((edge_quality * edge_saliency).sum() / edge_saliency.sum())


def cvejic(sources: list[Grey], fused: Grey) -> float:
    """Q_C (Cvejic 2005), at most 1: similarity in 8x8 windows mixed by the covariance with the fused image.

    w_i = cov(A_i, F) / sum_j cov(A_j, F) clipped to 0..1; for N > 2 renormalised to sum 1 (non-standard).
    """
    found = [_similarity(source, fused, BOX_8, VANISHING_C) for source in sources]
    quality, cov = np.stack([item[0] for item in found]), np.stack([item[3] for item in found])
    total = cov.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where((total == 0) & (cov == 0).all(0), 1 / len(sources), np.clip(cov / total, 0, 1))
        weight = weight / weight.sum(0)
    return float((np.nan_to_num(weight, nan=1 / len(sources)) * quality).sum(0).mean())


def yang(sources: list[Grey], fused: Grey) -> float:
    """Q_Y (Yang 2008), at most 1: where the sources agree (SSIM >= 0.75) a mix by variance, elsewhere the best source.

    Windows 7x7 Gaussian, sigma 1.5; the map is clipped to -1..1, because its constants of 2e-16 blow up in flat areas.
    N sources: they agree where every pair does (non-standard).
    """
    alike = None
    for i, first in enumerate(sources):
        for second in sources[i + 1 :]:
            pair = _similarity(first, second, GAUSS_7, VANISHING_C)[0] >= YANG_ALIKE
            alike = pair if alike is None else alike & pair
    found = [_similarity(source, fused, GAUSS_7, VANISHING_C) for source in sources]
    quality = np.clip(np.stack([item[0] for item in found]), -1, 1)
    mixed = (_shares(np.stack([item[1] for item in found])) * quality).sum(0)
    best = quality.max(0)
    return float((mixed if alike is None else np.where(alike, mixed, best)).mean())


def _visual_information(source: Grey, fused: Grey, line: Grey) -> tuple[Grey, Grey, Grey]:
    """Information kept, information there, and gain g, for each window."""
    _, _, var_a, var_f, cov = moments(source, fused, line)
    var_a, var_f = np.maximum(var_a, 0), np.maximum(var_f, 0)
    gain = cov / (var_a + 1e-10)
    noise = var_f - gain * cov
    flat_a, flat_f = var_a < 1e-10, var_f < 1e-10
    gain[flat_a | flat_f] = 0
    noise[flat_a] = var_f[flat_a]
    var_a = np.where(flat_a, 0, var_a)
    noise[flat_f] = 0
    noise[gain < 0] = var_f[gain < 0]
    gain = np.maximum(gain, 0)
    noise = np.maximum(noise, 1e-10)
    kept = np.log10(1 + gain**2 * var_a / (noise + VIFF_NOISE))
    return kept, np.log10(1 + var_a / VIFF_NOISE), gain


def visual_information_fidelity(sources: list[Grey], fused: Grey) -> float:
    """VIFF (Han 2013): visual information of the source with the least gain, kept over there, at four scales.

    Gaussian windows of 17, 9, 5, 3 px (sigma a fifth), scales weighted 1, 0, 0.15, 1. In each window the source with
    the least gain g counts; ties: the last of two, as in the authors' program, the mean of more (non-standard).
    """
    values = np.zeros(4)
    images = [*sources, fused]
    for scale in range(4):
        size = 2 ** (4 - scale) + 1
        line = gaussian_line(size, size / 5)
        if scale:
            images = [valid(image, line)[::2, ::2].copy() for image in images]
        if min(images[0].shape) < size:
            raise ValueError("the images are too small for VIFF: at least 48 px are needed")
        found = [_visual_information(source, images[-1], line) for source in images[:-1]]
        kept, there, gain = (np.stack([item[k] for item in found]) for k in range(3))
        least = gain == gain.min(0)
        if len(found) == 2:
            least[0] &= ~least[1]
        kept, there = ((part * least).sum(0) / least.sum(0) for part in (kept, there))
        values[scale] = (kept + 1e-7).sum() / (there + 1e-7).sum()
    return float((values * VIFF_SCALES).sum())
