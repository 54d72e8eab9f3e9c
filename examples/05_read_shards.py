"""Open a dataset and look at one sample: shapes, blur in px, what is sharp; then draw crops as a training does.

python examples/05_read_shards.py SHARDS OUT

The second half draws random crops as a training does: as numpy arrays, and, where PyTorch is installed, as batches of
tensors made by worker processes, stopped in the middle of an epoch and gone on with.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from mattingmfif import FocalStackDataset, open_shards
from mattingmfif.dataset.crops import SensorDraw


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
    crops(shards)
    if find_spec("torch") is not None:
        batches(shards)
    path = out / "stack.png"
    cv2.imwrite(str(path), np.hstack([sample.target, *sample.frames])[..., ::-1])
    return path


def crops(shards: Path) -> None:
    """Random crops as numpy arrays, with sensor noise and a little drift of exposure between the frames."""
    noise = SensorDraw(iso=(100, 1600), exposure_drift_ev=0.1)
    stacks = FocalStackDataset(shards, crop=128, frames=(2, 4), sensor=noise, seed=7, output="numpy")
    for item in stacks:
        frames = item["frames"][item["present"]]
        print(f"{item['sample_id']}: {frames.shape} {frames.dtype}, ISO {item['iso']:.0f}, at {item['window'][:2]}")


def batches(shards: Path) -> None:
    """Batches of tensors; the state of one loader is taken over by another, as after a restart."""
    from mattingmfif.dataset.torch_loader import FocalStackLoader

    stacks = FocalStackDataset(shards, crop=128, crops_per_sample=4, seed=7)
    loader = FocalStackLoader(stacks, batch_size=2)  # num_workers=2 in earnest
    for batch in loader:
        print("batch", {name: tuple(batch[name].shape) for name in ("frames", "present", "target", "blur_radius_px")})
        break
    again = FocalStackLoader(stacks, batch_size=2)
    again.load_state_dict(loader.state_dict())
    print(f"the restarted loader gives the other {sum(1 for _ in again)} of {len(loader)} batches")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "out"))
