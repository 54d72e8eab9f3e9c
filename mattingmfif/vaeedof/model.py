"""The picture of VAEEDOF: an auto-encoder of stride 8, fusion across frames in its latent, and a path for pixels.

    frame i --unshuffle--> e_i at strides stem..4 --> latent z_i (stride 8), with its view v_i: cells of 8 px, sharpness
    {z_i, v_i} --attention across the frames at each position--> fused latent z, guides g_i, and the mixed cells c
    z       --decode--> d at stride 8, 4, .. stem; at each finer stride d takes up the frames' e_i, mixed by scores
    scores of (e_i, g_i, d) and of each frame's sharpness mix three fine frequency bands of the source pixels, which
    stand on c; d adds gain and residual

Notation: B batch, N frames (1 to 7), frames `[B,N,3,H,W]` sRGB codes scaled to -1..1, H and W multiples of 8; `present`
`[B,N]` bool says which frames count (an absent frame's pixels have no effect). Nothing in it knows the frames' order,
nothing is global in space (no spatial normalisation, no spatial attention), so an image may be computed in tiles with a
halo: `Reach` says how far each part sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mattingmfif.vaeedof.bands import (
    COARSE,
    COARSE_STEPS,
    FINE,
    VIEW_CHANNELS,
    coarse_bands,
    fine_bands,
    first_trust,
    halved,
    joined,
    log_energy,
    relative,
    view,
)
from mattingmfif.vaeedof.parts import PositionNorm, by_frame, conv1, conv3, stage, wide, zeroed
from mattingmfif.vaeedof.reach import Reach, reach_of
from mattingmfif.vaeedof.settings import MAX_FRAMES, STRIDE_PX, ModelSettings

TRUST, BASE_TRUST = 4.0, 2.0  # how sharply the sharpest frame is preferred at first
ABSENT = -1e4  # a score that bf16 holds and that leaves nothing of a frame


class Encoder(nn.Module):
    """A picture `[B,3,H,W]` to features at each stride below 8, and to the latent `[B,C,H/8,W/8]`."""

    def __init__(self, s: ModelSettings, latent_channels: int | None = None) -> None:
        super().__init__()
        self.stem_px = s.stem_px
        self.stem = conv3(3 * s.stem_px**2, s.widths[0])
        self.stages = nn.ModuleList(stage(w, b) for w, b in zip(s.widths, s.blocks, strict=True))
        self.downs = nn.ModuleList(conv3(a, b, stride=2) for a, b in zip(s.widths, s.widths[1:], strict=False))
        self.to_latent = conv1(s.widths[-1], latent_channels or s.latent_channels)

    def skips(self, picture: Tensor, last: int | None = None) -> list[Tensor]:
        """Features at the strides below 8, finest first, up to level `last`."""
        x = self.stem(F.pixel_unshuffle(picture, self.stem_px))
        found = []
        for level, stage_ in enumerate(list(self.stages)[: -1 if last is None else last + 1]):
            x = stage_(self.downs[level - 1](x) if level else x)
            found.append(x)
        return found

    def deepest(self, coarsest_skip: Tensor) -> Tensor:
        """Features at stride 8, from the coarsest of `skips`."""
        features: Tensor = self.stages[-1](self.downs[-1](coarsest_skip))
        return features

    def forward(self, picture: Tensor) -> Tensor:
        """The latent."""
        latent: Tensor = self.to_latent(F.relu(self.deepest(self.skips(picture)[-1])))
        return latent


class FusionLayer(nn.Module):
    """Attention across the tokens of each position, then a mixer of channels, then one of neighbours. No order."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attend, self.norm_mix = PositionNorm(width), PositionNorm(width)
        self.to_qkv, self.from_heads = conv1(width, 3 * width), zeroed(conv1(width, width))
        self.widen, self.narrow = conv1(width, 2 * width), zeroed(conv1(2 * width, width))
        self.near = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Tokens `[B,T,D,h,w]`, bias `[B,1,1,T,1]` (0 or ABSENT, per token attended to): tokens of the same shape."""
        b, t, d, h, w = tokens.shape
        x = tokens.flatten(0, 1)
        q, k, v = self.to_qkv(self.norm_attend(x)).reshape(b, t, 3, self.heads, d // self.heads, h * w).unbind(2)
        scores = torch.einsum("bthcp,bshcp->bhtsp", q, k) * (d // self.heads) ** -0.5
        weights = torch.softmax(scores + bias, dim=3)
        mixed = torch.einsum("bhtsp,bshcp->bthcp", weights, v).reshape(b * t, d, h, w)
        x = x + self.from_heads(mixed)
        x = x + self.narrow(F.gelu(self.widen(self.norm_mix(x))))
        x = x + F.gelu(self.near(x))
        return x.reshape(b, t, d, h, w)


@dataclass(frozen=True, kw_only=True)
class Fused:
    """What latent fusion gives.

    The latent `[B,C,h,w]`, guides `[B,N,G,h,w]`, share of each frame in it `[B,N,h,w]`, and the picture in cells of
    8 px `[B,3,h,w]`.
    """

    latent: Tensor
    guides: Tensor
    shares: Tensor
    cells: Tensor


class LatentFusion(nn.Module):
    """Latents of N frames and a learned fusion token, to one latent: a per-channel blend plus what the token adds.

    The same attention scores the coarse bands of the frames' views.
    """

    def __init__(self, s: ModelSettings) -> None:
        super().__init__()
        d, self.latent_channels, self.use_latent = s.fusion_width, s.latent_channels, s.use_latent
        self.embed = conv1(s.latent_channels + FINE + COARSE, d)
        self.token = nn.Parameter(torch.zeros(d, 1, 1))
        self.layers = nn.ModuleList(FusionLayer(d, s.fusion_heads) for _ in range(s.fusion_layers))
        self.to_blend = conv1(d, s.latent_channels)
        self.to_latent = zeroed(conv1(d, s.latent_channels))
        self.to_guide = conv1(d, s.guide_channels)
        self.to_scores = zeroed(conv1(d, COARSE + 1))
        trust = first_trust(COARSE + 1, FINE + COARSE, FINE, TRUST)
        trust[-1] = BASE_TRUST / TRUST * trust[-2]
        self.trust = nn.Parameter(trust)

    def forward(self, latents: Tensor, present: Tensor) -> Fused:
        """Latents with views `[B,N,C+VIEW_CHANNELS,h,w]`, present `[B,N]`."""
        b, n, _, h, w = latents.shape
        latents = torch.where(present[:, :, None, None, None], latents, torch.zeros_like(latents))
        latents, colours, energies = torch.split(latents, [self.latent_channels, 3, VIEW_CHANNELS - 3], 2)
        bands, base = coarse_bands(wide(colours).flatten(0, 1))
        found = [by_frame(log_energy(band, step), present) for band, step in zip(bands, COARSE_STEPS, strict=True)]
        cues = relative(torch.cat([wide(energies), *found], 2), present)
        own = torch.einsum("kc,bnchw->bnkhw", wide(self.trust), cues)
        if self.use_latent:
            tokens = self._attended(torch.cat([latents.to(cues.dtype), cues], 2), present)
            heard = tokens[:, 1:].flatten(0, 1)
            own = own + wide(self.to_scores(heard)).reshape(own.shape)
            blend = shares_of(self.to_blend(heard).reshape(b, n, -1, h, w), present)
            latent = (blend * latents).sum(1) + self.to_latent(tokens[:, 0])
            guides = self.to_guide(heard).reshape(b, n, -1, h, w)
        else:
            blend = shares_of(torch.zeros_like(latents), present)
            latent, guides = torch.zeros_like(latents[:, 0]), latents.new_zeros(b, n, self.to_guide.out_channels, h, w)
        parts = by_frame(torch.stack([*bands, base], 1), present)
        cells = (shares_of(own, present)[:, :, :, None] * parts).sum((1, 2))
        return Fused(latent=latent, guides=guides, shares=blend.mean(2), cells=cells)

    def _attended(self, seen: Tensor, present: Tensor) -> Tensor:
        """The fusion token and the frames' tokens `[B,1+N,D,h,w]` of latents and cues `[B,N,..,h,w]`."""
        b, _, _, h, w = seen.shape
        frames = by_frame(self.embed(seen.flatten(0, 1)), seen)
        tokens = torch.cat([self.token.expand(b, 1, -1, h, w).to(frames.dtype), frames], 1)
        counted = F.pad(present, (1, 0), value=True)
        bias = (~counted).to(frames.dtype)[:, None, None, :, None] * ABSENT
        for layer in self.layers:
            tokens = layer(tokens, bias)
        return tokens


def shares_of(scores: Tensor, present: Tensor) -> Tensor:
    """Softmax of scores `[B,N,...]` over the frames that are present."""
    absent = (~present).to(scores.dtype).reshape(*present.shape, *[1] * (scores.ndim - 2))
    return torch.softmax(scores + absent * ABSENT, dim=1)


class FrameMix(nn.Module):
    """Features of N frames at one stride mixed into one, by scores of frame, guide and decoder, per channel group."""

    GROUPS = 4

    def __init__(self, width: int, guide_channels: int) -> None:
        super().__init__()
        self.from_frame, self.from_decoder = conv1(width, width // 2), conv1(width, width // 2)
        self.from_guide = conv1(guide_channels, width // 2)
        self.score, self.value = conv1(width // 2, self.GROUPS), conv1(width, width)

    def opinions(self, asked: Tensor, frames: Tensor, guides: Tensor) -> tuple[Tensor, Tensor]:
        """Of the frames given, one or all: scores `[B,N,GROUPS,1,h,w]` and values `[B,N,GROUPS,W/GROUPS,h,w]`.

        Asked `[B,W/2,h,w]`, of `from_decoder`, frames `[B,N,W,h,w]`, guides `[B,N,G,h,w]`.
        """
        b, n, width, h, w = frames.shape
        flat = frames.flatten(0, 1)
        hidden = (self.from_frame(flat) + self.from_guide(guides.flatten(0, 1))).reshape(b, n, -1, h, w)
        hidden = F.relu(hidden + asked[:, None])
        scores = self.score(hidden.flatten(0, 1)).reshape(b, n, self.GROUPS, 1, h, w)
        return scores, self.value(flat).reshape(b, n, self.GROUPS, width // self.GROUPS, h, w)

    def forward(self, decoded: Tensor, frames: Tensor, guides: Tensor, present: Tensor) -> Tensor:
        """The mixed features `[B,W,h,w]` of all frames, given what is decoded so far; the rest as in `opinions`."""
        scores, values = self.opinions(self.from_decoder(decoded), frames, guides)
        return (shares_of(scores, present) * values).sum(1).flatten(1, 2)


class PixelPath(nn.Module):
    """The output picture from source pixels: per fine band a mix over frames times a gain, the cells, a residual.

    With one frame's score above all others, gain and residual 0, that frame's pixels pass unchanged; so do those of a
    frame that is alone, whatever was learnt.
    """

    def __init__(self, s: ModelSettings) -> None:
        super().__init__()
        width, hidden = s.widths[0], s.score_width
        self.stem_px, self.use_pixels = s.stem_px, s.use_pixel_path
        # of each fine band, how many of its cells lie in one of the stem's, along a side
        self.across = [max(1, s.stem_px >> k) for k in range(FINE)]
        scores = sum(side**2 for side in self.across)
        self.from_frame, self.from_decoder = conv1(width, hidden), conv1(width, hidden)
        self.from_guide = conv1(s.guide_channels, hidden)
        self.from_sharpness = conv1(scores, hidden)
        self.near = conv3(hidden, hidden)
        self.score, self.gain = zeroed(conv1(hidden, scores)), zeroed(conv3(width, scores))
        self.residual = zeroed(conv3(width, 3 * s.stem_px**2))
        self.trust = nn.Parameter(first_trust(FINE, FINE, 0, TRUST))

    def energies(self, bands: list[Tensor], like: Tensor) -> list[Tensor]:
        """Log energies `[B,N,1,..]` of the fine bands of the frames `[B,N,..]` of `like`."""
        return [by_frame(log_energy(band), like) for band in bands]

    def opinions(self, asked: Tensor, frames: Tensor, guides: Tensor, cues: list[Tensor]) -> list[Tensor]:
        """Scores `[B,N,1,..]` of the frames given, one or all, in each fine band.

        Asked `[B,S,h,w]`, of `from_decoder`, frames `[B,N,W,h,w]`, guides `[B,N,G,h,w]` at the stem's stride;
        cues: log energies less their mean over all frames `[B,N,1,..]`, a band each.
        """
        hidden = by_frame(self.from_frame(frames.flatten(0, 1)) + self.from_guide(guides.flatten(0, 1)), guides)
        hidden = hidden + asked[:, None]
        flat = [cue.flatten(0, 1) for cue in cues]
        if self.use_pixels:
            hidden = hidden + by_frame(self.from_sharpness(self._at_stem(flat)), guides)
        scores = self._at_bands(self.score(F.relu(self.near(F.relu(hidden).flatten(0, 1)))))
        if self.use_pixels:
            own = [sum(self.trust[k, j] * halved(flat[j], k - j) for j in range(k + 1)) for k in range(FINE)]
            scores = [score + heard for score, heard in zip(scores, own, strict=True)]
        return [by_frame(score, guides) for score in scores]

    def finish(self, mixed: list[Tensor], decoded: Tensor, cells: Tensor, several: Tensor) -> Tensor:
        """The picture `[B,3,H,W]` from the mixed fine bands and the cells; several `[B]`: more than one frame."""
        residual = wide(F.pixel_shuffle(self.residual(F.relu(decoded)), self.stem_px))
        if not self.use_pixels:
            return residual
        alone_is_whole = several.to(residual.dtype)[:, None, None, None]  # alone there is nothing to mend
        gains = self._at_bands(self.gain(F.relu(decoded)) * alone_is_whole)
        mended = [band * (1 + gain) for band, gain in zip(mixed, gains, strict=True)]
        return joined(mended, wide(cells)) + residual * alone_is_whole

    def forward(
        self, pictures: Tensor, decoded: Tensor, frames: Tensor, guides: Tensor, cells: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Picture `[B,3,H,W]`, finest-band shares `[B,N,H,W]`; pictures `[B,N,3,H,W]`, cells `[B,3,H/8,W/8]`.

        The rest at the stem's stride.
        """
        visible = wide(torch.where(present[:, :, None, None, None], pictures, torch.zeros_like(pictures)))
        bands, _ = fine_bands(visible.flatten(0, 1))
        cues = [relative(energy, present) for energy in self.energies(bands, present)]
        shares = [
            shares_of(score, present) for score in self.opinions(self.from_decoder(decoded), frames, guides, cues)
        ]
        mixed = [(share * by_frame(band, present)).sum(1) for share, band in zip(shares, bands, strict=True)]
        return self.finish(mixed, decoded, cells, present.sum(1) > 1), shares[0][:, :, 0]

    def _at_stem(self, maps: list[Tensor]) -> Tensor:
        """One map `[M,1,..]` a fine band as channels at the stem's stride."""
        found = []
        for k, (side, cells) in enumerate(zip(self.across, maps, strict=True)):
            wider = (1 << k) // self.stem_px  # cells of this band are this much wider than the stem's
            found.append(F.pixel_unshuffle(cells, side) if wider < 2 else F.interpolate(cells, scale_factor=wider))
        return torch.cat(found, 1)

    def _at_bands(self, channels: Tensor) -> list[Tensor]:
        """Channels at the stem's stride as one map `[M,1,..]` for each fine band."""
        found = []
        for k, part in enumerate(torch.split(wide(channels), [side**2 for side in self.across], 1)):
            wider = (1 << k) // self.stem_px
            found.append(F.pixel_shuffle(part, self.across[k]) if wider < 2 else F.avg_pool2d(part, wider))
        return found


class Decoder(nn.Module):
    """The latent to features at the stem's stride, taking up the frames' skips on the way, or to a picture alone."""

    def __init__(self, s: ModelSettings, latent_channels: int | None = None) -> None:
        super().__init__()
        self.stem_px, self.use_skips = s.stem_px, s.use_skips
        self.from_latent = conv3(latent_channels or s.latent_channels, s.widths[-1])
        self.stages = nn.ModuleList(stage(w, b) for w, b in zip(s.widths, s.blocks, strict=True))
        self.ups = nn.ModuleList(conv1(b, a) for a, b in zip(s.widths, s.widths[1:], strict=False))
        self.picture = conv3(s.widths[0], 3 * s.stem_px**2)

    def deepest(self, latent: Tensor) -> Tensor:
        """Features at stride 8."""
        features: Tensor = self.stages[-1](self.from_latent(latent))
        return features

    def finish(self, x: Tensor, mixed: Callable[[int, Tensor], Tensor] | None = None) -> Tensor:
        """Features at the stem's stride from those at stride 8.

        mixed: the frames' features mixed into one, given the level (0 the finest) and what is decoded so far.
        """
        for level in range(len(self.ups) - 1, -1, -1):
            x = F.interpolate(self.ups[level](F.relu(x)), scale_factor=2.0, mode="nearest")
            if mixed is not None and self.use_skips:
                x = x + mixed(level, x)
            x = self.stages[level](x)
        return x

    def forward(self, latent: Tensor) -> Tensor:
        """The picture `[B,3,H,W]` that the latent alone holds."""
        x = self.finish(self.deepest(latent))
        return F.pixel_shuffle(self.picture(F.relu(x)), self.stem_px)


def guides_at(guides: Tensor, like: Tensor) -> Tensor:
    """Guides `[B,N,G,h,w]` bilinearly at the stride of `like`."""
    flat = F.interpolate(guides.flatten(0, 1), size=like.shape[-2:], mode="bilinear", align_corners=False)
    return by_frame(flat, guides)


class VAEEDOF(nn.Module):
    """The whole network. `forward` for whole pictures; `fuse.py` calls its parts tile by tile."""

    def __init__(self, settings: ModelSettings | None = None) -> None:
        super().__init__()
        self.settings = s = settings or ModelSettings()
        self.encoder, self.fusion, self.decoder = Encoder(s), LatentFusion(s), Decoder(s)
        self.mixes = nn.ModuleList(FrameMix(w, s.guide_channels) for w in s.widths[:-1])
        self.pixels = PixelPath(s)

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents with views `[B,N,C+VIEW_CHANNELS,H/8,W/8]` of pictures `[B,N,3,H,W]`."""
        flat = pictures.flatten(0, 1)
        latents: Tensor = self.encoder(flat)
        return by_frame(torch.cat([wide(latents), view(wide(flat))], 1), pictures)

    def fuse_latents(self, latents: Tensor, present: Tensor) -> Fused:
        """The fused latent, guides, shares and cells."""
        fused: Fused = self.fusion(latents, present)
        return fused

    def decode(
        self, fused: Fused, pictures: Tensor, present: Tensor, skips: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Picture `[B,3,H,W]` and finest-band shares `[B,N,H,W]` from fused latents and the frames' pictures."""
        flat = self.encoder.skips(pictures.flatten(0, 1)) if skips is None else skips
        found = [by_frame(skip, pictures) for skip in flat]

        def mixed(level: int, x: Tensor) -> Tensor:
            features: Tensor = self.mixes[level](x, found[level], guides_at(fused.guides, x), present)
            return features

        x = self.decoder.finish(self.decoder.deepest(fused.latent), mixed)
        picture, shares = self.pixels(pictures, x, found[0], guides_at(fused.guides, x), fused.cells, present)
        return picture, shares

    def forward(self, pictures: Tensor, present: Tensor | None = None) -> Tensor:
        """The fused picture `[B,3,H,W]` of pictures `[B,N,3,H,W]`, N at most 7, H and W multiples of 8."""
        if present is None:
            present = torch.ones(pictures.shape[:2], dtype=torch.bool, device=pictures.device)
        check_pictures(pictures, present)
        flat, there = pictures.flatten(0, 1), present.flatten()
        everyone = there.device.type == "meta" or bool(there.all())
        seen = flat if everyone else flat[there]
        skips = self.encoder.skips(seen)
        latents: Tensor = self.encoder.to_latent(F.relu(self.encoder.deepest(skips[-1])))
        latents = torch.cat([wide(latents), view(wide(seen))], 1)
        if not everyone:  # absent frames cost nothing in the encoder
            skips, latents = [_spread(skip, there) for skip in skips], _spread(latents, there)
        fused = self.fuse_latents(by_frame(latents, pictures), present)
        picture: Tensor = self.decode(fused, pictures, present, skips)[0]
        return picture

    def reach(self) -> Reach:
        """How far the parts see, added up from their layers."""
        return reach_of(self.settings, self.encoder, self.fusion, self.decoder, self.pixels)


def _spread(few: Tensor, there: Tensor) -> Tensor:
    """Rows of `few` at the places where `there` `[M]` is true, zeros elsewhere."""
    whole = few.new_zeros(len(there), *few.shape[1:])
    return whole.index_copy(0, there.nonzero()[:, 0], few)


def check_pictures(pictures: Tensor, present: Tensor) -> None:
    """ValueError unless pictures are `[B,1..7,3,8k,8l]` and each stack has a frame."""
    if pictures.ndim != 5 or pictures.shape[2] != 3 or not 1 <= pictures.shape[1] <= MAX_FRAMES:
        raise ValueError(f"pictures must be [B, 1 to {MAX_FRAMES}, 3, H, W], got {list(pictures.shape)}")
    if pictures.shape[3] % STRIDE_PX or pictures.shape[4] % STRIDE_PX:
        raise ValueError(f"height and width must be multiples of {STRIDE_PX}, got {list(pictures.shape[3:])}")
    if present.shape != pictures.shape[:2] or not (present.device.type == "meta" or bool(present.any(1).all())):
        raise ValueError("present must be [B, N] with at least one frame in each stack")
