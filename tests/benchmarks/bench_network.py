"""What the network in the package (or --checkpoint) does where the answer is known; not collected by pytest.

    python tests/benchmarks/bench_network.py SHARDS [CHECKPOINT]

From the test split, every second sample, 384 px from its middle, PSNR in dB to the target: identical frames; a target
among two soft frames; frames cut together by a hard mask from the target and a Gaussian blur of it, in a band of 9 px
on each side of the cut; the last two beside the Laplacian pyramid. And bfloat16 against float32.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch

from mattingmfif import open_shards
from mattingmfif.vaeedof.baselines import laplacian_pyramid
from mattingmfif.vaeedof.checkpoint import load_model
from mattingmfif.vaeedof.device import autocast
from mattingmfif.vaeedof.metrics import psnr
from mattingmfif.vaeedof.model import VAEEDOF
from mattingmfif.vaeedof.stacks import to_codes, to_picture, whole_stack

SIDE_PX, BAND_PX, SIGMA_PX = 384, 9, 3.0
Codes = npt.NDArray[np.uint8]


def fused(model: VAEEDOF, frames: Sequence[Codes], precision: str = "float32") -> Codes:
    """The network's picture of frames `[H,W,3]`."""
    with torch.no_grad(), autocast(torch.device("cpu"), precision):
        picture = model(torch.from_numpy(to_picture(np.stack(frames)))[None])[0]
    return to_codes(picture.float().numpy(), np.uint8)


def hard_masked(target: Codes) -> tuple[list[Codes], npt.NDArray[np.bool_]]:
    """Two frames, one sharp inside a disc and one outside, and the band around the cut."""
    y, x = np.mgrid[: target.shape[0], : target.shape[1]] - SIDE_PX / 2
    distance = np.hypot(x, y) - SIDE_PX * 0.27
    inside, soft = (distance < 0)[..., None], cv2.GaussianBlur(target, (0, 0), SIGMA_PX)
    return [np.where(inside, target, soft), np.where(inside, soft, target)], np.abs(distance) <= BAND_PX


def main() -> None:
    """Print a line a sample."""
    model, _ = load_model(sys.argv[2] if len(sys.argv) > 2 else None)
    samples = open_shards(sys.argv[1], "test")
    for number in range(0, len(samples), 2):
        height, width = samples[number].size
        crop = samples[number].crop(height // 2 - SIDE_PX // 2, width // 2 - SIDE_PX // 2, SIDE_PX, SIDE_PX)
        stack = whole_stack(crop)
        target, among = stack.target, [*stack.frames[:2], stack.target]
        cut, band = hard_masked(target)
        exact = fused(model, stack.frames)
        low = fused(model, stack.frames, "bfloat16")
        print(
            f"{samples[number].sample_id}: identical {psnr(fused(model, [target] * 3), target):.1f}, "
            f"sharp among soft {psnr(fused(model, among), target):.1f} "
            f"(pyramid {psnr(laplacian_pyramid(among), target):.1f}), "
            f"hard mask {psnr(fused(model, cut)[band], target[band]):.1f} "
            f"(pyramid {psnr(laplacian_pyramid(cut)[band], target[band]):.1f}), "
            f"bfloat16 {psnr(low, exact):.1f}, at most {np.abs(low.astype(int) - exact).max()} codes"
        )


if __name__ == "__main__":
    main()
