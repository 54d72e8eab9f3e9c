"""Ten lines: a disc in front of a photograph, through a real lens, focused on the one and on the other.

python examples/01_lens.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from skimage.data import coffee

from mattingmfif import Aperture, Layer, Scene, ThinLens, render_stack
from mattingmfif.pixels.colour import decode_srgb, encode_srgb


def main(out: Path) -> list[Path]:
    """Write two frames into `out` and return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    wall = decode_srgb(coffee())
    height, width = wall.shape[:2]
    y, x = np.mgrid[:height, :width]
    disc = np.clip(90.5 - np.hypot(x - 200, y - 220), 0, 1).astype(np.float32)
    scene = Scene(
        [
            Layer(np.full_like(wall, (0.1, 0.3, 0.8)), disc, distance_m=1.2),
            Layer(wall, np.ones((height, width), np.float32), distance_m=4.0),
        ]
    )
    lens = ThinLens(focal_length_mm=50, f_number=1.8, sensor_width_mm=36, aperture=Aperture(blades=7, roundness=0.4))
    paths = []
    for focus_distance_m, frame in zip((1.2, 4.0), render_stack(scene, lens, (1.2, 4.0)), strict=True):
        path = out / f"focus_{focus_distance_m:g}m.png"
        cv2.imwrite(str(path), encode_srgb(frame)[..., ::-1])
        paths.append(path)
    print(f"blur of the wall, focused on the disc: {lens.blur_radius_px(4.0, 1.2, width):.1f} px")
    return paths


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
