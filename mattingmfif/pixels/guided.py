"""The colour guided filter: near each pixel the target is a linear function of the guide's colour, target = a . I + b.

The coefficients (a, b) are found at a low resolution and applied to the guide at full resolution: what the small target
lacks in detail comes back from the photograph.

Source: K. He, J. Sun, X. Tang, "Guided image filtering", TPAMI 2013, equations 14 to 16.
"""

from __future__ import annotations

import cv2
import numpy as np

from mattingmfif.pixels.colour import Float32


def guided_coefficients(guide: Float32, target: Float32, radius_px: int, epsilon: float) -> Float32:
    """Coefficients `[H,W,4]` (three for the colour, then the constant) of `target` `[H,W]` on `guide` `[H,W,3]`.

    Windows are squares of side 2 `radius_px` + 1; `epsilon` (variance of the guide, which is 0..1) regularises.
    """
    size = (2 * radius_px + 1, 2 * radius_px + 1)

    def mean(plane: Float32) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return cv2.blur(plane, size, borderType=cv2.BORDER_REFLECT_101).astype(np.float64)

    guide64 = guide.astype(np.float64)
    target64 = target.astype(np.float64)
    mean_i = mean(guide64)  # type: ignore[arg-type]
    mean_p = mean(target64)  # type: ignore[arg-type]
    cov_ip = mean(guide64 * target64[..., None]) - mean_i * mean_p[..., None]  # type: ignore[arg-type]
    r, g, b = (guide64[..., c] for c in range(3))
    mr, mg, mb = (mean_i[..., c] for c in range(3))
    rr = mean(r * r) - mr * mr + epsilon  # type: ignore[arg-type]
    gg = mean(g * g) - mg * mg + epsilon  # type: ignore[arg-type]
    bb = mean(b * b) - mb * mb + epsilon  # type: ignore[arg-type]
    rg = mean(r * g) - mr * mg  # type: ignore[arg-type]
    rb = mean(r * b) - mr * mb  # type: ignore[arg-type]
    gb = mean(g * b) - mg * mb  # type: ignore[arg-type]
    # the inverse of a symmetric 3 x 3 matrix by its cofactors
    c_rr, c_rg, c_rb = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    c_gg, c_gb, c_bb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = np.maximum(rr * c_rr + rg * c_rg + rb * c_rb, epsilon**3)
    pr, pg, pb = (cov_ip[..., c] for c in range(3))
    a_r = (c_rr * pr + c_rg * pg + c_rb * pb) / determinant
    a_g = (c_rg * pr + c_gg * pg + c_gb * pb) / determinant
    a_b = (c_rb * pr + c_gb * pg + c_bb * pb) / determinant
    constant = mean_p - a_r * mr - a_g * mg - a_b * mb
    coefficients = np.stack([a_r, a_g, a_b, constant], axis=-1).astype(np.float32)
    return np.asarray(cv2.blur(coefficients, size, borderType=cv2.BORDER_REFLECT_101), np.float32)


def apply_coefficients(coefficients: Float32, guide: Float32) -> Float32:
    """The target `[H,W]` at the guide's size `[H,W,3]` from coefficients `[h,w,4]` of any smaller size."""
    height, width = guide.shape[:2]
    if coefficients.shape[:2] != (height, width):
        coefficients = cv2.resize(coefficients, (width, height), interpolation=cv2.INTER_LINEAR)
    products = cv2.multiply(np.ascontiguousarray(coefficients[..., :3]), np.ascontiguousarray(guide, np.float32))
    return np.asarray(cv2.transform(products, np.ones((1, 3), np.float32)) + coefficients[..., 3], np.float32)
