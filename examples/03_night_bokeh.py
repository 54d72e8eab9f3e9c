"""Lights at night: clipped lamps get their brightness back before the lens, or their discs stay dull.

python examples/03_night_bokeh.py OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from skimage.data import rocket

from mattingmfif import Aperture, Layer, Scene, ThinLens, render
from mattingmfif.optics import expand_highlights
from mattingmfif.pixels.colour import decode_srgb, encode_srgb


def main(out: Path) -> list[Path]:
    """Write the launch out of focus as its 8-bit file has it, and with highlights expanded 20 times, side by side."""
    out.mkdir(parents=True, exist_ok=True)
    photo = decode_srgb(rocket())
    height, width = photo.shape[:2]
    lens = ThinLens(85, 1.4, 36, Aperture(blades=9, roundness=0.6, cats_eye=0.5))
    everywhere = np.ones((height, width), np.float32)
    frames = []
    for lights in (photo, expand_highlights(photo, most=20.0, threshold=0.8)):
        frame = render(Scene([Layer(lights, everywhere, 30.0)]), lens, focus_distance_m=7.0, quality="fast")
        frames.append(encode_srgb(frame))
    print(f"blur radius {lens.blur_radius_px(30.0, 7.0, width):+.1f} px")
    path = out / "night.png"
    cv2.imwrite(str(path), np.concatenate(frames, axis=1)[..., ::-1])
    return [path]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
