"""From subjects to layers: cut-outs in front of a plate, which put together again give the photograph.

Over-alpha: the fractions a_k that matting finds sum to one with the background's. Compositing "over", nearest first,
needs the alpha of a layer in what its nearer layers let through: o_k = a_k / (1 - sum of a_j, j nearer). Where a nearer
layer hides a farther one wholly, the farther one is continued by filling (and not counted as photographed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mattingmfif.errors import Refused
from mattingmfif.matting.alpha import solve_fractions
from mattingmfif.matting.foreground import agree_with_photo, clean_tails, split_colours
from mattingmfif.matting.plate import fill_plate, known_behind
from mattingmfif.matting.segment import Subjects
from mattingmfif.matting.settings import MattingSettings
from mattingmfif.matting.trimap import grow_unsettled, labels_from_masks, scaled_px
from mattingmfif.pixels.colour import Float32, linear_to_srgb
from mattingmfif.pixels.fill import push_pull


@dataclass(frozen=True, kw_only=True, eq=False)
class Cutout:
    """One subject: straight `colour_linear` `[H,W,3]` 0..1, over-`alpha` `[H,W]`, `known` `[H,W]` as in `plate`."""

    colour_linear: Float32
    alpha: Float32
    known: Float32
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cutouts:
    """`cutouts` nearest first, the plate behind them, and how far their reassembly is from the photo (sRGB codes)."""

    cutouts: list[Cutout]
    plate_linear: Float32
    plate_known: Float32
    residual: dict[str, float]

    def reassembled(self) -> Float32:
        """The layers over one another, linear `[H,W,3]`: the photograph, up to the residual."""
        picture = self.plate_linear
        for cutout in reversed(self.cutouts):
            alpha = cutout.alpha[..., None]
            picture = picture + (cutout.colour_linear - picture) * alpha
        return picture


def estimate_layers(
    photo_linear: Float32,
    subjects: Subjects,
    settings: MattingSettings | None = None,
    order: Sequence[int] | None = None,
    *,
    photo_srgb: Float32 | None = None,
    plate_linear: Float32 | None = None,
) -> Cutouts:
    """The layers of a photograph `[H,W,3]` (linear, 0..1) given its subjects.

    `order` lists the subjects nearest first (default: the lower a subject reaches, the nearer it stands).
    `plate_linear` is the user's own clean plate. Raises `Refused` where mattes fail their gates. Without subjects the
    plate is the photo itself.
    """
    settings = settings or MattingSettings()
    if not subjects.masks:
        return Cutouts(
            cutouts=[],
            plate_linear=photo_linear,
            plate_known=np.ones(photo_linear.shape[:2], np.float32),
            residual={"mean": 0.0, "p99": 0.0, "max": 0.0, "outside_max": 0.0},
        )
    if photo_srgb is None:
        photo_srgb = linear_to_srgb(photo_linear)
    order = list(order) if order is not None else nearest_first(subjects)
    if sorted(order) != list(range(len(subjects.masks))):
        raise ValueError(f"order {order} does not list each of {len(subjects.masks)} subjects once")
    ordered = subjects.reordered(order)
    fractions = clean_tails(solve_subjects(photo_srgb, ordered, settings), settings.tail)
    fractions = [f for f in fractions if f.max() > 0.5]
    if not fractions:
        raise Refused("empty-matte", "matting left nothing of the subject", stage="matting")
    return _assemble(photo_linear, fractions, settings, ordered.scores, plate_linear)


def solve_subjects(photo_srgb: Float32, subjects: Subjects, settings: MattingSettings) -> list[Float32]:
    """The fractions `[H,W]` of all subjects: the user's alphas as they are, the others solved from their trimaps."""
    if subjects.are_alphas:
        return _fit_together([np.asarray(mask, np.float32) for mask in subjects.masks])
    shape = photo_srgb.shape
    if subjects.labels is not None:
        labels = subjects.labels
    else:
        labels = labels_from_masks(
            [np.asarray(mask) > 0.5 for mask in subjects.masks],
            scaled_px(settings.band_inner_px, shape),
            scaled_px(settings.band_outer_px, shape),
        )
    sizes = {
        "solve_long_side_px": settings.solve_long_side_px,
        "full_solve_long_side_px": settings.full_solve_long_side_px,
    }
    count = len(subjects.masks)
    fractions = solve_fractions(photo_srgb, labels, count, **sizes)
    if subjects.labels is not None:  # the user's own trimap is not widened
        return fractions
    for _ in range(settings.grow_rounds):
        labels, unsettled = grow_unsettled(labels, fractions, scaled_px(settings.band_outer_px, shape))
        if unsettled < 25:
            break
        fractions = solve_fractions(photo_srgb, labels, count, **sizes)
    return fractions


def nearest_first(subjects: Subjects) -> list[int]:
    """Indices of the subjects by the row they reach down to, lowest first: on a ground, the lower contact is nearer."""
    lowest = [int(np.flatnonzero((np.asarray(mask) > 0.5).any(axis=1))[-1:].sum()) for mask in subjects.masks]
    return sorted(range(len(lowest)), key=lambda k: -lowest[k])


def over_alphas(fractions: Sequence[Float32]) -> tuple[list[Float32], list[Float32]]:
    """(over-alphas, what is covered by nearer layers) of fractions listed nearest first (module docstring)."""
    covered = np.zeros_like(fractions[0])
    alphas, covers = [], []
    for fraction in fractions:
        through = np.float32(1) - covered
        alpha = np.clip(fraction / np.maximum(through, np.float32(1e-3)), 0.0, 1.0)
        if covered.max() > 0:
            alpha = np.where(covered > 0, push_pull(alpha, through * through), alpha)
        alphas.append(np.asarray(alpha, np.float32))
        covers.append(covered)
        covered = np.minimum(covered + fraction, np.float32(1))
    return alphas, covers


def _fit_together(alphas: list[Float32]) -> list[Float32]:
    total = np.maximum(np.sum(alphas, axis=0), np.float32(1))
    return [np.asarray(alpha / total, np.float32) for alpha in alphas]


def _assemble(
    photo_linear: Float32,
    fractions: list[Float32],
    settings: MattingSettings,
    scores: Sequence[dict[str, float]],
    plate_linear: Float32 | None,
) -> Cutouts:
    alphas, covers = over_alphas(fractions)
    covered = np.minimum(np.sum(fractions, axis=0), np.float32(1))
    foreground, background = split_colours(photo_linear, covered)
    colours = []
    for k, fraction in enumerate(fractions):
        others = covered - fraction
        shared = (fraction > 0) & (others > 0.02) & (fraction < 1)
        colour = split_colours(photo_linear, fraction)[0] if shared.any() else foreground
        if covers[k].max() > 0:
            seen = np.float32(1) - covers[k]
            colour = np.where((covers[k] > 0)[..., None], push_pull(colour, seen * seen * (alphas[k] > 0)), colour)
        colours.append(colour)
    ring_px = int(scaled_px(64, photo_linear.shape))
    plate, plate_known = fill_plate(background, covered, method=settings.plate_fill, ring_px=ring_px)
    if plate_linear is not None:
        plate = np.where((covered > 0)[..., None], plate_linear, photo_linear)
        plate_known = np.ones_like(covered)
    band = (covered > 0) & (np.max(np.stack(fractions), axis=0) < 1)
    weights = _weights(alphas)
    layers = [*colours, plate]
    corrected = agree_with_photo(
        photo_linear[band], [layer[band] for layer in layers], [weight[band] for weight in weights]
    )
    layers = [layer.copy() for layer in layers]
    for layer, fixed in zip(layers, corrected, strict=True):
        layer[band] = fixed
    for layer, weight in zip(layers, weights, strict=True):  # where one layer is all there is, it is the photo
        alone = weight >= 1.0
        layer[alone] = photo_linear[alone]
    cutouts = [
        Cutout(colour_linear=layers[k], alpha=alphas[k], known=known_behind(covers[k]), scores=dict(scores[k]))
        for k in range(len(fractions))
    ]
    result = Cutouts(cutouts=cutouts, plate_linear=layers[-1], plate_known=plate_known, residual={})
    return Cutouts(
        cutouts=cutouts,
        plate_linear=layers[-1],
        plate_known=plate_known,
        residual=_residual(photo_linear, result.reassembled(), band),
    )


def _weights(alphas: Sequence[Float32]) -> list[Float32]:
    """The share of each pixel's light that comes from each layer and, last, from the plate."""
    through = np.ones_like(alphas[0])
    weights = []
    for alpha in alphas:
        weights.append(through * alpha)
        through = through * (np.float32(1) - alpha)
    return [*weights, through]


def _residual(photo_linear: Float32, picture_linear: Float32, band: np.ndarray) -> dict[str, float]:  # type: ignore[type-arg]
    """|reassembly - photo| in sRGB codes of 255: mean, 99th percentile and maximum in the band, maximum outside."""
    inside = np.abs(linear_to_srgb(picture_linear[band]) - linear_to_srgb(photo_linear[band])).max(axis=-1) * 255
    outside = np.abs(picture_linear - photo_linear).max(axis=-1)
    outside[band] = 0.0
    worst = np.unravel_index(int(outside.argmax()), outside.shape)
    outside_max = np.abs(linear_to_srgb(picture_linear[worst]) - linear_to_srgb(photo_linear[worst])).max() * 255
    return {
        "mean": float(inside.mean()) if inside.size else 0.0,
        "p99": float(np.percentile(inside, 99)) if inside.size else 0.0,
        "max": float(inside.max()) if inside.size else 0.0,
        "outside_max": float(outside_max),
    }
