"""How far a network sees, added up from its layers: the halo that its tiles need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from mattingmfif.vaeedof.bands import CELL_PX, COARSE_STEPS
from mattingmfif.vaeedof.settings import STRIDE_PX, ModelSettings


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far, in image pixels to each side, parts of the network see; all multiples of 8."""

    latent_px: int  # from a latent to pixels of its frame
    fusion_px: int  # from a fused latent to latents
    output_px: int  # from an output pixel to fused latents, guides, skips' pixels and source pixels

    @property
    def total_px(self) -> int:
        """From an output pixel to pixels of the frames."""
        return self.latent_px + self.fusion_px + self.output_px


def _steps(part: nn.Module) -> int:
    """Pixels of its own grid that a chain of convolutions sees to each side."""
    convolutions = [layer for layer in part.modules() if isinstance(layer, nn.Conv2d)]
    return sum(int(layer.kernel_size[0]) // 2 for layer in convolutions)


def reach_of(s: ModelSettings, e: Any, fusion: Any, d: Any, pixels: Any) -> Reach:
    """The reach of a network of encoder `e`, latent fusion, decoder `d` and pixel path."""
    strides = s.strides_px
    to_skips = s.stem_px * _steps(e.stem)
    for level, stride in enumerate(strides[:-1]):
        to_skips += stride * _steps(e.stages[level]) + (strides[level - 1] if level else 0)
    to_latent = to_skips + strides[-2] + STRIDE_PX * _steps(e.stages[-1])
    near = STRIDE_PX * sum(_steps(layer.near) for layer in fusion.layers)
    # the widest coarse band is separated by all steps, its energy smoothed by the last, before tokens are attended
    to_tokens = near + CELL_PX * 2 * (sum(COARSE_STEPS) + COARSE_STEPS[-1])
    fine = sum(stride * _steps(d.stages[level]) for level, stride in enumerate(strides[:-1]))
    fine += s.stem_px * max(_steps(pixels.near), _steps(pixels.gain))
    coarse = STRIDE_PX * (_steps(d.from_latent) + _steps(d.stages[-1]))
    # bilinear guides look one latent further than the features they steer; the widest fine band looks as far as the
    # next cells of 8 px, its energy two of its own further, and so do the cells that it is joined with
    sharp = 4 * CELL_PX + s.stem_px * _steps(pixels.near)
    output = max(fine + coarse, fine + to_skips, fine + 2 * STRIDE_PX, sharp)
    up = [-(-value // STRIDE_PX) * STRIDE_PX for value in (to_latent, to_tokens, output)]
    return Reach(latent_px=up[0], fusion_px=up[1], output_px=up[2])
