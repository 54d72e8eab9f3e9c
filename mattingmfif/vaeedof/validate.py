"""A few fixed crops on which a training is watched: PSNR by region beside the Laplacian pyramid, and a picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from mattingmfif.dataset.loader import FocalStackDataset
from mattingmfif.errors import EXIT_IO, UserError
from mattingmfif.vaeedof.baselines import laplacian_pyramid
from mattingmfif.vaeedof.device import autocast
from mattingmfif.vaeedof.model import VAEEDOF
from mattingmfif.vaeedof.settings import MAX_FRAMES
from mattingmfif.vaeedof.stacks import Codes, Stack, to_codes, to_picture

CROPS = 12
PICTURED = 4
FIELDS = ("frames", "target", "boundary", "sharpest_frame", "trust")


def _items(dataset: str | Path, split: str, crop_px: int) -> FocalStackDataset:
    return FocalStackDataset(
        dataset, crop=crop_px, frames=(1, MAX_FRAMES), split=split, fields=FIELDS, drop_share=0.0, pad_frames=False,
        boundary_share=1.0, output="numpy",
    )  # fmt: skip


class Validation:
    """Crops around boundaries and gaps, their Laplacian-pyramid fusions, and what both score."""

    def __init__(self, dataset: str | Path, crop_px: int) -> None:
        """From the split `val`, or, in a dataset without one (or with smaller samples), the training samples."""
        self.split = "val"
        try:
            items = _items(dataset, "val", crop_px)
        except UserError:
            self.split = "train"
            items = _items(dataset, "train", crop_px)
        self.stacks: list[Stack] = []
        for k in range(CROPS):
            round_, index = divmod(k * max(len(items), CROPS) // CROPS, len(items))  # spread over the photos
            item = items[round_, index]
            self.stacks.append(Stack(**{name: item[name] for name in FIELDS}))
        self.pyramids = [laplacian_pyramid(stack.frames) for stack in self.stacks]

    def measure(self, model: VAEEDOF, device: torch.device, precision: str, picture: Path) -> dict[str, float]:
        """PSNR in dB over all crops together, by region, of the model and of the pyramid; writes side-by-side crops."""
        fused = []
        for stack in self.stacks:
            pictures = torch.from_numpy(to_picture(stack.frames[:MAX_FRAMES]))[None].to(device)
            with torch.no_grad(), autocast(device, precision):
                result = model(pictures)[0].float().cpu().numpy()
            fused.append(to_codes(result, stack.target.dtype))
        rows = [
            np.concatenate([stack.frames[0], stack.frames[1 % len(stack.frames)], pyramid, image, stack.target], 1)
            for stack, pyramid, image in list(zip(self.stacks, self.pyramids, fused, strict=True))[:PICTURED]
        ]
        if not cv2.imwrite(str(picture), np.concatenate(rows, 0)[..., ::-1]):
            raise UserError(f"{picture}: cannot be written", EXIT_IO)
        return {**self._by_region(fused, ""), **self._by_region(self.pyramids, "pyramid_")}

    def _by_region(self, images: list[Codes], prefix: str) -> dict[str, float]:
        found = {}
        for region in ("all", "boundary", "gap"):
            squares = count = 0.0
            for stack, image in zip(self.stacks, images, strict=True):
                where = {"all": np.ones(stack.gap.shape, bool), "boundary": stack.boundary, "gap": stack.gap}[region]
                error = (image[where].astype(np.float64) - stack.target[where]) / np.iinfo(image.dtype).max
                squares, count = squares + float((error**2).sum()), count + error.size
            found[prefix + region] = 10 * float(np.log10(count / squares)) if squares else float("inf")
            if not count:
                found[prefix + region] = float("nan")
        return found
