"""A few fixed crops on which a training is watched: PSNR by region beside the Laplacian pyramid, and a picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from mattingmfif.errors import UserError
from mattingmfif.vaeedof.baselines import laplacian_pyramid
from mattingmfif.vaeedof.device import autocast
from mattingmfif.vaeedof.model import VAEEDOF
from mattingmfif.vaeedof.settings import MAX_FRAMES
from mattingmfif.vaeedof.stacks import Codes, Places, Stack, StackSource, open_stacks, to_codes, to_picture

CROPS = 12
PICTURED = 4


class Validation:
    """Crops around boundaries and gaps, their Laplacian-pyramid fusions, and what both score."""

    def __init__(self, source: StackSource, crop_px: int) -> None:
        rng, places = np.random.default_rng(0), Places(source)
        self.stacks: list[Stack] = []
        for k in range(CROPS):
            index = k * len(source) // CROPS  # spread over the samples, which come photo by photo
            self.stacks.append(source.stack(index, places.window(index, crop_px, True, rng)))
        self.pyramids = [laplacian_pyramid(stack.frames) for stack in self.stacks]

    @classmethod
    def of(cls, dataset: str | Path, given: StackSource | None, training: StackSource, crop_px: int) -> Validation:
        """From the source given, else the dataset's split `val`, else (a dataset without one) the training samples."""
        if given is None:
            try:
                given = open_stacks(dataset, "val")
            except UserError:
                given = training
        return cls(given if len(given) else training, crop_px)

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
        cv2.imwrite(str(picture), np.concatenate(rows, 0)[..., ::-1])
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
