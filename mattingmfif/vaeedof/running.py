"""Decoding with one frame in hand at a time: mixes over frames are summed up while the frames pass.

A softmax over frames needs at each place only the highest score so far, the sum of the weights under it and the sum of
what they weigh (the "online softmax" of Milakov and Gimelshein, 2018). So a tile takes the memory of one frame's
features whatever their number, and pays by computing them again for each mix. It equals `VAEEDOF.decode` but for the
order of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from mattingmfif.vaeedof.bands import fine_bands
from mattingmfif.vaeedof.model import VAEEDOF, FrameMix, Fused, guides_at
from mattingmfif.vaeedof.parts import wide


class RunningMix:
    """The mean of values weighed by the softmax of their scores, over values that come one after another."""

    def __init__(self) -> None:
        self._highest: Tensor | None = None

    def add(self, scores: Tensor, values: Tensor) -> None:
        """One more: scores and values of shapes that broadcast to the values'."""
        scores, values = wide(scores), wide(values)
        if self._highest is None:
            self._highest, self._weights, self._sum = scores, torch.ones_like(scores), values
            return
        highest = torch.maximum(self._highest, scores)
        before, now = torch.exp(self._highest - highest), torch.exp(scores - highest)
        self._highest, self._weights = highest, self._weights * before + now
        self._sum = self._sum * before + values * now

    def mean(self) -> Tensor:
        """The weighed mean of all so far."""
        return self._sum / self._weights


def decode_by_frame(
    model: VAEEDOF, fused: Fused, pictures: Sequence[Tensor], *, with_shares: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Picture `[1,3,H,W]` and, if asked for, finest-band shares `[1,N,H,W]`, from the fused latent.

    pictures: the pixels `[1,1,3,H,W]` of each frame.
    """
    count = len(pictures)

    def frame(i: int, level: int) -> Tensor:
        skip: Tensor = model.encoder.skips(pictures[i][0], level)[-1]
        return skip[None]

    def mixed(level: int, x: Tensor) -> Tensor:
        total, guides, mix = RunningMix(), guides_at(fused.guides, x), cast(FrameMix, model.mixes[level])
        asked = mix.from_decoder(x)
        for i in range(count):
            scores, values = mix.opinions(asked, frame(i, level), guides[:, i : i + 1])
            total.add(scores[:, 0], values[:, 0])
        return total.mean().flatten(1, 2).to(x.dtype)

    pixels = model.pixels
    x = model.decoder.finish(model.decoder.deepest(fused.latent), mixed)
    guides = guides_at(fused.guides, x)
    means: list[Tensor] = []
    for i, picture in enumerate(pictures):
        found = _energies(model, picture)
        means = [e / count if not i else m + e / count for m, e in zip(means or found, found, strict=True)]
    totals, finest, asked = [RunningMix() for _ in means], [], pixels.from_decoder(x)
    for i, picture in enumerate(pictures):
        bands, _ = fine_bands(wide(picture[0]))
        cues = [e - m for e, m in zip(pixels.energies(bands, picture), means, strict=True)]
        scores = pixels.opinions(asked, frame(i, 0), guides[:, i : i + 1], cues)
        for total, score, band in zip(totals, scores, bands, strict=True):
            total.add(score[:, 0], band)
        if with_shares:
            finest.append(wide(scores[0][:, 0, 0]))
    several = torch.full((1,), count > 1, device=x.device)
    output = pixels.finish([total.mean() for total in totals], x, fused.cells, several)
    return output, torch.softmax(torch.stack(finest, 1), 1) if with_shares else None


def _energies(model: VAEEDOF, picture: Tensor) -> list[Tensor]:
    return model.pixels.energies(fine_bands(wide(picture[0]))[0], picture)
