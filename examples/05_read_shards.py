"""Open a dataset and look at one sample: shapes, blur in px, and how much of it is sharp in some frame.

python examples/05_read_shards.py SHARDS OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from mattingmfif import open_shards


def main(shards: Path, out: Path) -> Path:
    """Write the first sample's frames beside its target into `out` and return the picture's path."""
    out.mkdir(parents=True, exist_ok=True)
    dataset = open_shards(shards)
    sample = dataset[0]
    print(f"{len(dataset)} samples; {sample.sample_id}: {sample.n_frames} frames of {sample.size}, {sample.focus_plan}")
    for index, focus_m in enumerate(sample.focus_distance_m):
        radius = sample.blur_radius_px(index)
        print(f"frame {index}: focused at {focus_m:.2f} m, blur radii {radius.min():.1f} to {radius.max():.1f} px")
    print(f"sharp in some frame: {np.mean(sample.sharpest_frame != 255):.0%}; trust {sample.trust.mean():.3f}")
    path = out / "stack.png"
    cv2.imwrite(str(path), np.hstack([sample.target, *sample.frames])[..., ::-1])
    return path


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "out"))
