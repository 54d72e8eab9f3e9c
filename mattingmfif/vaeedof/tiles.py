"""Fusing a stack of any size tile by tile, in two passes, equal to the whole picture.

Pass one encodes frame by frame and keeps the latents (1/64 of the pixels). They are fused once. Pass two goes over
output tiles: it computes the frames' skips again inside the tile and its halo, frame by frame into running softmax
sums (`running.py`), and decodes; no tile holds the features of more than one frame. Tiles start at multiples of 8 and
carry the halo that `VAEEDOF.reach` states; nothing in the network is global, so what a tile keeps is what the
whole picture would have there. A device that runs out of memory gets smaller tiles.

Pictures: float32 `[N,3,H,W]` in -1..1 on the CPU; any H and W (reflected up to a multiple of 8 and cut again).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mattingmfif.errors import EXIT_IO, UserError
from mattingmfif.vaeedof.device import autocast
from mattingmfif.vaeedof.model import VAEEDOF, Fused
from mattingmfif.vaeedof.running import decode_by_frame
from mattingmfif.vaeedof.settings import STRIDE_PX

TILE_PX = 1024
QUIET_S = 10  # a run that takes longer says how far it is
LEAST_TILE_PX = 64
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class FusedStack:
    """A fused picture `[3,H,W]` in -1..1 and the share of each frame in its finest band `[N,H,W]`, 0..1."""

    picture: Tensor
    shares: Tensor | None


@dataclass(frozen=True)
class Span:
    """A stretch of an axis: the tile's own part and the part with its halo, in pixels."""

    start: int
    stop: int
    halo_start: int
    halo_stop: int

    @property
    def inside(self) -> slice:
        """The own part, counted from the start of the halo."""
        return slice(self.start - self.halo_start, self.stop - self.halo_start)


def spans(length: int, tile_px: int, halo_px: int) -> list[Span]:
    """Stretches of about equal length, at most tile_px, starting at multiples of 8, that cover 0..length once."""
    count = -(-length // tile_px)
    step = -(-length // (count * STRIDE_PX)) * STRIDE_PX
    return [
        Span(start, min(start + step, length), max(start - halo_px, 0), min(start + step + halo_px, length))
        for start in range(0, length, step)
    ]


def _tiles(height: int, width: int, tile_px: int, halo_px: int) -> Iterator[tuple[Span, Span]]:
    for y in spans(height, tile_px, halo_px):
        for x in spans(width, tile_px, halo_px):
            yield y, x


def _padded(pictures: Tensor) -> Tensor:
    """Pictures with rows and columns repeated at the end up to multiples of 8, reflected where there are enough."""
    height, width = pictures.shape[-2:]
    down, right = -height % STRIDE_PX, -width % STRIDE_PX
    mode = "reflect" if down < height and right < width else "replicate"
    return F.pad(pictures, (0, right, 0, down), mode=mode) if down or right else pictures


def _cut(tensor: Tensor, y: Span, x: Span, stride_px: int = 1) -> Tensor:
    """The part of a map at `stride_px` that lies inside tile and halo."""
    rows = slice(y.halo_start // stride_px, y.halo_stop // stride_px)
    return tensor[..., rows, x.halo_start // stride_px : x.halo_stop // stride_px]


def fuse_pictures(
    model: VAEEDOF,
    pictures: Tensor,
    *,
    device: torch.device | None = None,
    tile_px: int = TILE_PX,
    precision: str = "auto",
    with_shares: bool = False,
    report: Report | None = None,
) -> FusedStack:
    """The fusion of pictures `[N,3,H,W]`, N at most 7, by tiles of at most `tile_px` plus halo.

    Out of memory halves the tiles and says so through `report`, which also hears how far a long run is; below 64 px it
    is a UserError.
    """
    device = device or torch.device("cpu")
    tile_px = max(LEAST_TILE_PX, tile_px // STRIDE_PX * STRIDE_PX)
    while True:
        try:
            return _fuse(model.to(device), pictures, device, tile_px, precision, with_shares, _now_and_then(report))
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if tile_px <= LEAST_TILE_PX:
            raise UserError(f"out of memory on {device} even with tiles of {tile_px} px; fuse smaller frames", EXIT_IO)
        tile_px = max(LEAST_TILE_PX, tile_px // 2 // STRIDE_PX * STRIDE_PX)
        if report:
            report(f"out of memory on {device}: going on with tiles of {tile_px} px")


def _now_and_then(report: Report | None) -> Report:
    """The report, heard at most once in QUIET_S."""
    last = time.monotonic()

    def tell(line: str) -> None:
        nonlocal last
        if report and time.monotonic() - last >= QUIET_S:
            last = time.monotonic()
            report(line)

    return tell


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error is lack of memory: torch's CPU allocator says so only in words."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = str(error).lower()
    return "out of memory" in words or "can't allocate memory" in words or "not enough memory" in words


@torch.inference_mode()
def _fuse(
    model: VAEEDOF,
    pictures: Tensor,
    device: torch.device,
    tile_px: int,
    precision: str,
    with_shares: bool,
    tell: Report,
) -> FusedStack:
    n, _, height, width = pictures.shape
    padded = _padded(pictures)
    full_height, full_width = padded.shape[-2:]
    reach = model.reach()
    with autocast(device, precision):
        latents = _latents(model, padded, device, tile_px, reach.latent_px, tell)
        fused = _fuse_latents(model, latents, reach.fusion_px, tile_px)
        picture = torch.empty(3, full_height, full_width)
        shares = torch.empty(n, full_height, full_width) if with_shares else None
        tiles = list(_tiles(full_height, full_width, tile_px, reach.output_px))
        for number, (y, x) in enumerate(tiles, start=1):
            part = Fused(
                latent=_cut(fused.latent, y, x, STRIDE_PX),
                guides=_cut(fused.guides, y, x, STRIDE_PX),
                shares=_cut(fused.shares, y, x, STRIDE_PX),
                cells=_cut(fused.cells, y, x, STRIDE_PX),
            )
            pixels = _cut(padded, y, x).to(device)[None]
            found, mix = decode_by_frame(model, part, torch.split(pixels, 1, 1), with_shares=with_shares)
            own = (..., slice(y.start, y.stop), slice(x.start, x.stop))
            picture[own] = found[0, :, y.inside, x.inside].float().cpu()
            if shares is not None and mix is not None:
                shares[own] = mix[0, :, y.inside, x.inside].float().cpu()
            tell(f"tile {number} of {len(tiles)} fused")
    keep = (..., slice(0, height), slice(0, width))
    return FusedStack(picture=picture[keep], shares=None if shares is None else shares[keep])


def _latents(
    model: VAEEDOF, pictures: Tensor, device: torch.device, tile_px: int, halo_px: int, tell: Report
) -> Tensor:
    """Latents `[1,N,C,h,w]` on the device, frame by frame and tile by tile."""
    n, _, height, width = pictures.shape
    latents: Tensor | None = None
    for i in range(n):
        for y, x in _tiles(height, width, tile_px, halo_px):
            part = model.encode(_cut(pictures[i], y, x)[None, None].to(device))[0, 0]
            if latents is None:
                size = (1, n, len(part), height // STRIDE_PX, width // STRIDE_PX)
                latents = torch.empty(size, dtype=part.dtype, device=device)
            rows, columns = (slice(s.inside.start // STRIDE_PX, s.inside.stop // STRIDE_PX) for s in (y, x))
            place = (slice(y.start // STRIDE_PX, y.stop // STRIDE_PX), slice(x.start // STRIDE_PX, x.stop // STRIDE_PX))
            latents[(0, i, slice(None), *place)] = part[:, rows, columns]
        tell(f"frame {i + 1} of {n} encoded")
    assert latents is not None
    return latents


def _fuse_latents(model: VAEEDOF, latents: Tensor, halo_px: int, tile_px: int) -> Fused:
    """The fused latents, by tiles: attention holds the tokens of all frames, the most memory that the network takes."""
    height, width = latents.shape[-2] * STRIDE_PX, latents.shape[-1] * STRIDE_PX
    present = torch.ones(latents.shape[:2], dtype=torch.bool, device=latents.device)
    whole: dict[str, Tensor] = {}
    for y, x in _tiles(height, width, tile_px, halo_px):
        part = model.fuse_latents(_cut(latents, y, x, STRIDE_PX), present)
        rows, columns = (slice(s.inside.start // STRIDE_PX, s.inside.stop // STRIDE_PX) for s in (y, x))
        place = (slice(y.start // STRIDE_PX, y.stop // STRIDE_PX), slice(x.start // STRIDE_PX, x.stop // STRIDE_PX))
        for name in ("latent", "guides", "shares", "cells"):
            value: Tensor = getattr(part, name)
            if name not in whole:
                whole[name] = value.new_empty((*value.shape[:-2], *latents.shape[-2:]))
            whole[name][(..., *place)] = value[..., rows, columns]
    return Fused(latent=whole["latent"], guides=whole["guides"], shares=whole["shares"], cells=whole["cells"])
