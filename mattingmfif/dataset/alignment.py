"""Where a lens that breathes moved its frames: the matrices that are recorded, and masks laid over the target."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


def alignment(magnifications: list[float], size: tuple[int, ...]) -> dict[str, Any]:
    """Where breathing moved the frames: by frame its magnification and the 2x3 matrix from target px to frame px.

    A pixel (x, y) of the target lies in the frame at matrix @ (x, y, 1), so that `cv2.warpAffine(frame, matrix,
    (width, height), flags=cv2.WARP_INVERSE_MAP)` lays the frame over the target. Empty where nothing moved.
    """
    if all(m == 1.0 for m in magnifications):
        return {}
    x, y = (size[1] - 1) / 2.0, (size[0] - 1) / 2.0
    matrices = [[[m, 0.0, x - m * x], [0.0, m, y - m * y]] for m in magnifications]
    return {"magnification": magnifications, "target_to_frame": matrices}


def aligned_mask(mask: npt.NDArray[np.bool_], magnification: float) -> npt.NDArray[np.bool_]:
    """A mask of a frame as it lies over the target."""
    if magnification == 1.0:
        return mask
    matrix = np.array(alignment([magnification], mask.shape)["target_to_frame"][0])
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    size = (mask.shape[1], mask.shape[0])
    aligned = cv2.warpAffine(mask.astype(np.uint8), matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(aligned) > 0
