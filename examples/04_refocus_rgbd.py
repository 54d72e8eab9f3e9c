"""Refocus of RGB-D: a photograph with a measured depth map, focused on the near and on the far.

python examples/04_refocus_rgbd.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from skimage.data import stereo_motorcycle

from mattingmfif import Aperture, ThinLens, refocus


def main(out: Path) -> list[Path]:
    """Write the motorcycle focused on its headlamp and on the shelf behind, side by side."""
    out.mkdir(parents=True, exist_ok=True)
    photo, _, disparity_px = stereo_motorcycle()
    distance_m = 994.978 * 0.193001 / (np.where(np.isfinite(disparity_px), disparity_px, np.nan) + 31.086)
    half = (slice(None, None, 2), slice(None, None, 2))
    photo = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    distance_m = distance_m[half][: photo.shape[0], : photo.shape[1]]  # single values: a mean would float in mid-air
    lens = ThinLens(85, 1.0, 36, Aperture(blades=7, roundness=0.4))
    frames = [refocus(photo, distance_m, lens, focus_m, quality="fast") for focus_m in (2.4, 4.9)]
    path = out / "refocus.png"
    cv2.imwrite(str(path), np.concatenate(frames, axis=1)[..., ::-1])
    return [path]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
