"""A picture in frequency bands, and how sharp each frame is in them: what the network mixes and starts from.

Three fine bands have cells of 1, 2 and 4 px: each is a picture less what is left of it in cells twice as wide. What
lies in cells of 8 px is split again, by wider and wider smoothing, into two coarse bands and a base. All bands
together are the picture. Maps are `[M,C,H,W]`, H and W multiples of 8; edges are repeated.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FINE = 3  # bands with cells of 1, 2, 4 px
COARSE_STEPS = (1, 2)  # cells of 8 px between the taps that separate each coarse band
COARSE = len(COARSE_STEPS)
CELL_PX = 2**FINE
VIEW_CHANNELS = 3 + FINE
BINOMIAL = (0.0625, 0.25, 0.375, 0.25, 0.0625)
LEAST_ENERGY = 1e-5  # about the rounding of 8-bit codes in -1..1: below it no frame is sharper than another


def smoothed(maps: Tensor, step: int) -> Tensor:
    """The maps under the binomial of 5 taps, `step` cells apart."""
    height, width = maps.shape[-2:]
    flat = F.pad(maps, (0, 0, 2 * step, 2 * step), mode="replicate")
    flat = sum(w * flat[..., k * step : k * step + height, :] for k, w in enumerate(BINOMIAL))  # type: ignore[assignment]
    flat = F.pad(flat, (2 * step, 2 * step, 0, 0), mode="replicate")
    return sum(w * flat[..., k * step : k * step + width] for k, w in enumerate(BINOMIAL))  # type: ignore[return-value]


def halved(maps: Tensor, times: int = 1) -> Tensor:
    """Means over cells of 2, 4, 8 .. on each side."""
    return F.avg_pool2d(maps, 2**times) if times else maps


def doubled(maps: Tensor) -> Tensor:
    """The maps bilinearly in cells half as wide."""
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)


def fine_bands(pictures: Tensor) -> tuple[list[Tensor], Tensor]:
    """The fine bands, finest first, and the picture in cells of 8 px."""
    bands, rest = [], pictures
    for _ in range(FINE):
        wider = halved(rest)
        bands.append(rest - doubled(wider))
        rest = wider
    return bands, rest


def coarse_bands(cells: Tensor) -> tuple[list[Tensor], Tensor]:
    """The coarse bands of a picture in cells of 8 px, and its base."""
    bands, rest = [], cells
    for step in COARSE_STEPS:
        wider = smoothed(rest, step)
        bands.append(rest - wider)
        rest = wider
    return bands, rest


def joined(fine: list[Tensor], cells: Tensor) -> Tensor:
    """The picture of its fine bands and of what lies in cells of 8 px."""
    for band in reversed(fine):
        cells = doubled(cells) + band
    return cells


def log_energy(band: Tensor, step: int = 1) -> Tensor:
    """Log of the band's local energy `[M,1,h,w]`, the mean over colours, smoothed."""
    return (smoothed(band.square().mean(1, keepdim=True), step) + LEAST_ENERGY).log()


def view(pictures: Tensor) -> Tensor:
    """What coarse fusion needs of a frame, `[M,VIEW_CHANNELS,H/8,W/8]`: cells, and log energies of the fine bands."""
    fine, cells = fine_bands(pictures)
    energies = [halved(log_energy(band), FINE - k) for k, band in enumerate(fine)]
    return torch.cat([cells, *energies], 1)


def relative(energies: Tensor, present: Tensor) -> Tensor:
    """Log energies `[B,N,...]` less their mean over the frames that are present `[B,N]`; 0 for the others."""
    counted = present.to(energies.dtype).reshape(*present.shape, *[1] * (energies.ndim - 2))
    mean = (energies * counted).sum(1, keepdim=True) / counted.sum(1, keepdim=True)
    return (energies - mean) * counted


def first_trust(rows: int, columns: int, behind: int, highest: float) -> Tensor:
    """How much each band's choice heeds each band's sharpness at first, `[rows,columns]`.

    Row k is band `behind + k`, which heeds itself by `highest` and each finer one by half of the one above: in coarse
    bands alone, the glow of a blurred light is as strong as the light.
    """
    distance = torch.arange(rows)[:, None] + behind - torch.arange(columns)
    return highest * torch.where(distance >= 0, 0.5 ** distance.clamp_min(0), torch.zeros(()))
