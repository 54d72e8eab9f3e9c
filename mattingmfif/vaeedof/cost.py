"""What a model costs: parameters of its parts and multiply-accumulates of fusing N frames of a size.

Counted on torch's `meta` device: shapes flow, nothing is computed. One multiply-accumulate (MAC) is one product added
to a sum; convolutions and the products of attention are counted, element-wise work is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mattingmfif.vaeedof.model import VAEEDOF, FusionLayer
from mattingmfif.vaeedof.settings import STRIDE_PX, ModelSettings


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Parameters by part, and MACs of one fusion, of its encoding of all frames, and per output megapixel.

    tiled_macs: with the skips that `fuse` computes again for each mix, without the halo of its tiles.
    """

    parameters: dict[str, int]
    encode_macs: int
    total_macs: int
    tiled_macs: int
    megapixels: float
    frames: int

    @property
    def macs_per_megapixel(self) -> float:
        """MACs of the whole fusion per megapixel of output."""
        return self.total_macs / self.megapixels

    def text(self) -> str:
        """Three lines for a person."""
        parts = ", ".join(f"{name} {count:,}" for name, count in self.parameters.items())
        return (
            f"parameters: {sum(self.parameters.values()):,} ({parts})\n"
            f"{self.frames} frames of {self.megapixels:.2f} megapixels: {self.total_macs / 1e12:.3f} TMAC, "
            f"of which encoding {self.encode_macs / 1e12:.3f}; {self.tiled_macs / 1e12:.3f} frame by frame\n"
            f"per output megapixel: {self.macs_per_megapixel / 1e9:.1f} GMAC"
        )


def model_cost(settings: ModelSettings, height: int, width: int, frames: int) -> Cost:
    """Cost of fusing `frames` frames of height x width px, whole, without the halo that tiles add."""
    with torch.device("meta"):
        model = VAEEDOF(settings)
        padded = [-(-side // STRIDE_PX) * STRIDE_PX for side in (height, width)]
        pictures = torch.empty(1, frames, 3, *padded)
    macs = {"encoder": 0, "all": 0}
    levels = len(settings.strides_px) - 1
    skips = [0] * levels  # of each level's features by themselves

    def count(name: str, layer: nn.Module) -> None:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if isinstance(module, nn.Conv2d):
                work = output.numel() * module.weight[0].numel()
            else:  # a fusion layer: the products q k and weights v
                b, t, d, h, w = inputs[0].shape
                work = 2 * b * t * t * d * h * w
            macs["all"] += work
            if name.startswith("encoder."):
                macs["encoder"] += work
                level = _skip_level(name)
                if level is not None and level < levels:
                    skips[level] += work

        layer.register_forward_hook(hook)

    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | FusionLayer):
            count(name, layer)
    with torch.no_grad():
        model(pictures)
    parameters = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    return Cost(
        parameters=parameters,
        encode_macs=macs["encoder"],
        total_macs=macs["all"],
        # each level is mixed once and needs all finer ones; the pixel path asks for the finest once more
        tiled_macs=macs["all"] + sum((levels - level) * work for level, work in enumerate(skips)) + skips[0],
        megapixels=height * width / 1e6,
        frames=frames,
    )


def _skip_level(name: str) -> int | None:
    """The level of skips that a layer of the encoder belongs to: 0 the finest, one too many for the latent's own."""
    _, part, *rest = name.split(".")
    if part == "stem":
        return 0
    if part not in ("stages", "downs"):
        return None
    return int(rest[0]) + (part == "downs")
