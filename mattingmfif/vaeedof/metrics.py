"""Quality of a fused image: against the truth (PSNR, SSIM) and, without one, the 17 usual fusion metrics.

Only `psnr` and `ssim` rank fusers; they need the all-in-focus target. The fusion metrics compare with the source frames
and are kept because publications print them: over 710 real pairs and 30 fusers their rank correlation with the true
SSIM goes from 0.60 (Q_W) over 0.25 (Q_G) and 0.02 (Q_CB) to -0.25 (Q_MI). Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.vaeedof import metrics_gradient as gradient
from mattingmfif.vaeedof import metrics_information as information
from mattingmfif.vaeedof import metrics_perceptual as perceptual
from mattingmfif.vaeedof import metrics_structure as structure

FUSION_METRICS = (
    "EN", "SD", "AG", "SF", "Q_MI", "Q_TE", "Q_NCIE", "Q_G", "Q_S", "Q_W", "Q_E", "Q_C", "Q_Y", "Q_CB", "Q_CV", "SCD",
    "VIFF",
)  # fmt: skip
LOWER_IS_BETTER = frozenset({"Q_CV"})
MIN_SIDE_PX = 48  # VIFF's fourth scale needs it
GREY_WEIGHTS = (0.298936, 0.587043, 0.114021)  # Rec. 601, as the reference programs turn RGB into grey


def to_grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """uint8 `[H,W]` grey of uint8 RGB `[H,W,3]` by Rec. 601 weights, rounded; grey images come back unchanged."""
    if image.ndim == 2:
        return image
    grey: npt.NDArray[np.uint8] = np.floor(image.astype(np.float64) @ np.array(GREY_WEIGHTS) + 0.5).astype(np.uint8)
    return grey


def fusion_metrics(sources: Sequence[npt.NDArray[np.uint8]], fused: npt.NDArray[np.uint8]) -> dict[str, float]:
    """The 17 metrics of `FUSION_METRICS` for `fused` made from `sources`, all uint8 grey `[H,W]` of one size.

    With two sources the values agree with the metric authors' own programs; with more, pairwise definitions are
    extended as each metric's docstring says (non-standard). Q_CV is better when lower. Raises ValueError for other than
    two or more uint8 grey images of one size of at least 48 px.
    """
    if len(sources) < 2:
        raise ValueError(f"fusion metrics need at least two source images, got {len(sources)}")
    for image in [*sources, fused]:
        if not isinstance(image, np.ndarray):
            raise ValueError(f"fusion metrics take uint8 grey images [H,W], got {type(image).__name__}")
        if image.dtype != np.uint8 or image.ndim != 2:
            raise ValueError(f"fusion metrics take uint8 grey images [H,W], got {image.dtype} {list(image.shape)}")
        if image.shape != fused.shape:
            raise ValueError(f"images differ in size: {list(image.shape)} and {list(fused.shape)}")
    if min(fused.shape) < MIN_SIDE_PX:
        raise ValueError(f"images of {list(fused.shape)} px are too small; fusion metrics need {MIN_SIDE_PX} px")
    a = [source.astype(np.float64) for source in sources]
    f = fused.astype(np.float64)
    q_s, q_w, q_e = structure.piella(a, f)
    return {
        "EN": information.entropy(f),
        "SD": gradient.column_deviation(f),
        "AG": gradient.average_gradient(f),
        "SF": gradient.spatial_frequency(f),
        "Q_MI": information.normalised_mutual_information(a, f),
        "Q_TE": information.tsallis_information(a, f),
        "Q_NCIE": information.nonlinear_correlation(a, f),
        "Q_G": gradient.edge_preservation(a, f),
        "Q_S": q_s,
        "Q_W": q_w,
        "Q_E": q_e,
        "Q_C": structure.cvejic(a, f),
        "Q_Y": structure.yang(a, f),
        "Q_CB": perceptual.chen_blum(a, f),
        "Q_CV": perceptual.chen_varshney(a, f),
        "SCD": gradient.sum_of_correlated_differences(a, f),
        "VIFF": structure.visual_information_fidelity(a, f),
    }


def _check_alike(image: npt.NDArray[Any], target: npt.NDArray[Any]) -> None:
    if image.shape != target.shape or image.dtype != target.dtype:
        one, other = (f"{array.dtype} {list(array.shape)}" for array in (image, target))
        raise ValueError(f"{one} cannot be compared with {other}")


def _peak(image: npt.NDArray[Any]) -> float:
    return float(np.iinfo(image.dtype).max) if image.dtype.kind == "u" else 1.0


def psnr(image: npt.NDArray[Any], target: npt.NDArray[Any], where: npt.NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio in dB of `image` against `target` (same shape, dtype), over `where` `[H,W]` if given.

    Peak: the largest code of an integer type, 1.0 for floats. inf for equal images, nan for an empty region.
    """
    _check_alike(image, target)
    error = (image.astype(np.float64) - target.astype(np.float64)) ** 2
    if where is not None:
        error = error[where]
    if error.size == 0:
        return float("nan")
    mean = float(error.mean())
    return float("inf") if mean == 0 else 10 * float(np.log10(_peak(target) ** 2 / mean))


def ssim_map(image: npt.NDArray[Any], target: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Structural similarity (Wang 2004) of `image` to `target` at each pixel, `[H,W]`.

    Gaussian window 11 px, sigma 1.5, K 0.01 and 0.03, edges reflected; colours `[H,W,3]` are averaged over channels.
    """
    _check_alike(image, target)
    x, y = (np.asarray(a, np.float64) / _peak(target) for a in (image, target))

    def blur(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return cv2.GaussianBlur(a, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    cov = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    quality = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return quality.mean(-1) if quality.ndim == 3 else quality


def ssim(image: npt.NDArray[Any], target: npt.NDArray[Any], where: npt.NDArray[np.bool_] | None = None) -> float:
    """The mean of `ssim_map` over `where` `[H,W]` if given, else over everything; nan for an empty region."""
    quality = ssim_map(image, target)
    if where is not None:
        quality = quality[where]
    return float(quality.mean()) if quality.size else float("nan")
