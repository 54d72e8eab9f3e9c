"""Fusion metrics that look at histograms only: EN, Q_MI, Q_TE, Q_NCIE.

Grey values 0..255, 256 bins, logarithms to base 2 unless said. Sources A_1..A_N, fused image F. The definitions for two
sources are the literature's; for more than two each docstring gives our extension, which is not standard.
"""

from __future__ import annotations

import numpy as np

from mattingmfif.vaeedof.metrics_filters import Grey, stretch

BINS = 256
TSALLIS_Q = 1.85  # Cvejic's order


def _joint(a: Grey, b: Grey) -> Grey:
    """Joint probabilities `[256,256]`, rows for a, columns for b."""
    codes = a.astype(np.int64).ravel() * BINS + b.astype(np.int64).ravel()
    return np.bincount(codes, minlength=BINS * BINS).reshape(BINS, BINS) / codes.size


def _entropy(p: Grey) -> float:
    p = p[p > 0]
    return max(0.0, -float((p * np.log2(p)).sum()))


def entropy(fused: Grey) -> float:
    """EN: entropy of the grey values in bits, 0..8."""
    return _entropy(np.bincount(fused.astype(np.int64).ravel(), minlength=BINS) / fused.size)


def normalised_mutual_information(sources: list[Grey], fused: Grey) -> float:
    """Q_MI (Hossny 2008): 2 sum_i I(A_i, F) / (H(A_i) + H(F)), 0..2; N sources: times 2/N (non-standard).

    All images are stretched to 0..255 first. Two flat images share everything there is: their term counts as 1/2.
    """
    fused = stretch(fused)
    total = 0.0
    for source in sources:
        joint = _joint(stretch(source), fused)
        h_a, h_f = _entropy(joint.sum(1)), _entropy(joint.sum(0))
        total += (h_a + h_f - _entropy(joint)) / (h_a + h_f) if h_a + h_f > 0 else 0.5
    return 2 * total * 2 / len(sources)


def tsallis_information(sources: list[Grey], fused: Grey) -> float:
    """Q_TE (Cvejic 2006): sum_i I_q(A_i, F) with Tsallis entropy, q = 1.85; N sources: times 2/N (non-standard).

    I_q = (1 - sum_ab p(a,b)^q / (p(a) p(b))^(q-1)) / (1 - q). The widespread reference program, whose values
    publications carry, takes the marginals crosswise: p_F(a) p_A(b) under p(a,b). So do we, to be comparable.
    """
    fused = stretch(fused)
    total = 0.0
    for source in sources:
        joint = _joint(stretch(source), fused)
        product = joint.sum(0)[:, None] * joint.sum(1)[None, :]
        seen = (product > 0) & (joint > 0)
        total += (1 - (joint[seen] ** TSALLIS_Q / product[seen] ** (TSALLIS_Q - 1)).sum()) / (1 - TSALLIS_Q)
    return float(total) * 2 / len(sources)


def nonlinear_correlation(sources: list[Grey], fused: Grey) -> float:
    """Q_NCIE (Wang 2005): 1 + sum_i (l_i / K) log_256(l_i / K), l the eigenvalues of the K x K correlation matrix.

    The matrix holds H(x) + H(y) - H(x,y) in base 256 for all pairs of sources and fused image, 1 on the diagonal;
    K = N + 1 for N sources (3 in the literature; more is non-standard).
    """
    images = [stretch(image) for image in [*sources, fused]]
    matrix = np.eye(len(images))
    for i in range(len(images)):
        for j in range(i):
            joint = _joint(images[i], images[j])
            bits = _entropy(joint.sum(0)) + _entropy(joint.sum(1)) - _entropy(joint)
            matrix[i, j] = matrix[j, i] = bits / np.log2(BINS)
    share = np.linalg.eigvalsh(matrix) / len(images)
    share = share[share > 0]
    return float(1 + (share * np.log2(share)).sum() / np.log2(BINS))
