"""From subjects to layers: cut-outs in front of a plate, which put together again give the photograph.

Over-alpha: the fractions a_k that matting finds sum to one with the background's. Compositing "over", nearest first,
needs the alpha of a layer in what its nearer layers let through: o_k = a_k / (1 - sum of a_j, j nearer). Where a nearer
layer hides a farther one wholly, the farther one is continued by filling (and not counted as photographed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused
from mattingmfif.matting.accepted import accepted_linear, accepted_masks, accepted_srgb
from mattingmfif.matting.alpha import solve_fractions
from mattingmfif.matting.confidence import band_px, clipped_share, plate_ghosts, unexplained
from mattingmfif.matting.contours import contour_score, lab_of, pair_contrast
from mattingmfif.matting.foreground import clean_tails, hold_to_one
from mattingmfif.matting.light import fractions_to_light
from mattingmfif.matting.plate import add_grain, inpaint_ring, known_behind
from mattingmfif.matting.settings import MattingSettings
from mattingmfif.matting.subjects import Subjects, reduced_photo
from mattingmfif.matting.surroundings import reduced
from mattingmfif.matting.trimap import Labels, labels_from_masks, scaled_px
from mattingmfif.matting.unmix import colour_scale, correct, reduced_sum, unmixed, windows_of_subjects
from mattingmfif.matting.windows import whole_cells, window_of
from mattingmfif.pixels.colour import Float32, linear_to_srgb
from mattingmfif.pixels.fill import push_pull
from mattingmfif.pixels.grain import grain_sigma
from mattingmfif.pixels.planes import zeros_where_untouched


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
    photo_linear: npt.ArrayLike,
    subjects: Subjects,
    settings: MattingSettings | None = None,
    order: Sequence[int] | None = None,
    *,
    photo_srgb: npt.ArrayLike | None = None,
    plate_linear: npt.ArrayLike | None = None,
) -> Cutouts:
    """The layers of a photograph `[H,W,3]` (linear, 0..1) given its subjects.

    `order` lists the subjects nearest first (default: the lower a subject reaches, the nearer it stands).
    `plate_linear` is the user's own clean plate. Raises `Refused` where mattes fail their gates, ValueError for arrays
    that differ in size or are on another scale. Without subjects the plate is the photo itself.
    """
    settings = settings or MattingSettings()
    photo_linear = accepted_linear(photo_linear)
    plate_linear = None if plate_linear is None else accepted_linear(plate_linear)
    photo_srgb = linear_to_srgb(photo_linear) if photo_srgb is None else accepted_srgb(photo_srgb)
    for name, other in (("plate", plate_linear), ("photo in sRGB", photo_srgb)):
        if other is not None and other.shape != photo_linear.shape:
            raise ValueError(f"{name} {other.shape} and photo {photo_linear.shape} differ in size")
    if not subjects.masks:
        return Cutouts(
            cutouts=[],
            plate_linear=photo_linear,
            plate_known=np.ones(photo_linear.shape[:2], np.float32),
            residual={"mean": 0.0, "p99": 0.0, "max": 0.0},
        )
    masks = accepted_masks(subjects.masks, photo_linear.shape, are_alphas=subjects.are_alphas)
    subjects = replace(subjects, masks=masks, scores=subjects.scores or [{} for _ in masks])
    order = list(order) if order is not None else nearest_first(subjects)
    if sorted(order) != list(range(len(subjects.masks))):
        raise ValueError(f"order {order} does not list each of {len(subjects.masks)} subjects once")
    ordered = subjects.reordered(order)
    fractions = solve_subjects(photo_srgb, ordered, settings)
    clean_tails(fractions, settings.tail)
    kept = _gate(photo_srgb, fractions, ordered, settings)
    fractions, scores = [fractions[k] for k in kept], [kept[k] for k in kept]
    scale = colour_scale(photo_linear.shape)
    cells, solved = reduced(photo_linear, scale), reduced_sum(fractions, scale)
    if not ordered.are_alphas:
        fractions_to_light(photo_linear, fractions, cells, scale)
    layers = _assemble(photo_linear, photo_srgb, cells, fractions, solved, settings, scores, plate_linear)
    ghost = max(cutout.scores["plate_ghost"] for cutout in layers.cutouts)
    if subjects.segmenter != "given" and ghost > settings.max_plate_ghost:
        allowed = f"{settings.max_plate_ghost:.0%} are allowed"
        detail = f"{ghost:.0%} of the plate behind an outline looks like the subject; {allowed}"
        raise Refused("uncertain-matte", detail, stage="matting")
    if layers.residual["mean"] > settings.max_residual_codes:
        detail = f"{layers.residual['mean']:.2f} codes in the mean; {settings.max_residual_codes:g} are allowed"
        raise Refused("residual", detail, stage="matting")
    return layers


def _gate(
    photo_srgb: Float32, fractions: Sequence[Float32], subjects: Subjects, settings: MattingSettings
) -> dict[int, dict[str, float]]:
    """Scores of the fractions that may become layers, by index; raises `Refused` where none may.

    The user's own mattes are scored but not judged by taste; found subjects must keep a solid body and a true outline.
    """
    small = reduced_photo(photo_srgb, 2 * settings.segment_long_side_px)
    contrast = pair_contrast(lab_of(small))
    size = (small.shape[1], small.shape[0])
    kept: dict[int, dict[str, float]] = {}
    why = []
    for k, fraction in enumerate(fractions):
        own = fraction[window_of(fraction > 0, 0)]
        solid, touched = int((own >= 1).sum()), int((own > 0).sum())
        if not touched or float(own.max()) < 0.5:
            why.append("nothing is left of it")
            continue
        transparent = 1 - solid / touched
        body = np.asarray(cv2.resize(fraction, size, interpolation=cv2.INTER_AREA) > 0.5)
        contour, clipped = contour_score(body, contrast), clipped_share(small, body)
        band, left = band_px(fraction), transparent * unexplained(small, fraction)
        scores = {**subjects.scores[k], "matte_contour": contour, "transparent": transparent, "band_px": band}
        scores |= {"unexplained": left, "clipped": clipped}
        found = subjects.segmenter != "given"
        if found and transparent > settings.max_transparent_share:
            why.append(f"{transparent:.0%} of it is half transparent")
        elif found and band > settings.max_band_px:
            why.append(f"its outline is {band:.0f} px wide at 3840 px")
        elif found and clipped > settings.max_clipped_share:
            why.append(f"{clipped:.0%} of it is white that the sensor cut off")
        elif found and left > settings.max_unexplained:
            why.append(f"{left:.0%} of it is neither subject nor background, nor a mixture of them")
        elif found and contour < settings.min_contour_score:
            why.append(f"{contour:.0%} of its outline is on edges")
        else:
            kept[k] = scores
    if kept and _cover_all(fractions):
        raise Refused("full-matte", "the subjects cover the whole photo: nothing is left behind them", stage="matting")
    if not kept:
        reason = "empty-matte" if set(why) == {"nothing is left of it"} else "uncertain-matte"
        raise Refused(reason, "; ".join(why), stage="matting")
    return kept


def _cover_all(fractions: Sequence[Float32]) -> bool:
    """Whether no pixel is mostly background's; a few of them say no without a look at all."""
    return all(float(np.sum([part[::n, ::n] for part in fractions], axis=0).min()) > 0.5 for n in (16, 1))


def subject_labels(subjects: Subjects, settings: MattingSettings) -> Labels:
    """The trimap of all subjects from which matting starts: the user's own, or bands around the masks' outlines."""
    if subjects.labels is not None:
        return subjects.labels
    masks = [np.asarray(mask) > 0.5 for mask in subjects.masks]
    shape = masks[0].shape
    return labels_from_masks(masks, scaled_px(settings.band_inner_px, shape), scaled_px(settings.band_outer_px, shape))


def solve_subjects(photo_srgb: Float32, subjects: Subjects, settings: MattingSettings) -> list[Float32]:
    """The fractions `[H,W]` of all subjects: the user's alphas as they are, the others solved from their trimaps."""
    if subjects.are_alphas:
        return _fit_together(subjects.masks)
    shape = photo_srgb.shape
    labels = subject_labels(subjects, settings)
    own = subjects.labels is not None  # the user's own trimap is not widened
    return solve_fractions(
        photo_srgb,
        labels,
        len(subjects.masks),
        solve_long_side_px=settings.solve_long_side_px,
        full_solve_long_side_px=settings.full_solve_long_side_px,
        grow_rounds=0 if own else settings.grow_rounds,
        grow_reach_px=scaled_px(settings.band_outer_px, shape),
    )


def nearest_first(subjects: Subjects) -> list[int]:
    """Indices of the subjects by the row they reach down to, lowest first: on a ground, the lower contact is nearer."""
    lowest = [int(np.flatnonzero((np.asarray(mask) > 0.5).any(axis=1))[-1:].sum()) for mask in subjects.masks]
    return sorted(range(len(lowest)), key=lambda k: -lowest[k])


def over_alphas(fractions: Sequence[Float32]) -> tuple[list[Float32], list[Float32]]:
    """(over-alphas, what is covered by nearer layers, and last by all) of fractions listed nearest first.

    A subject that no nearer one touches keeps its fraction, the array itself, as its alpha.
    """
    shape = fractions[0].shape
    scale = colour_scale(shape)
    covered = zeros_where_untouched(shape, (slice(0, shape[0]), slice(0, shape[1])))
    alphas, covers = [], []
    for fraction in fractions:
        window = whole_cells(window_of(fraction > 0, 2), scale, shape)
        hidden, alpha, cover = covered[window], fraction, zeros_where_untouched(shape, window)
        if (hidden > 0).any():
            cover[window] = hidden
            alpha = zeros_where_untouched(shape, window)
            alpha[window] = _continued_alpha(fraction[window], hidden, scale)
        alphas.append(alpha)
        covers.append(cover)
        np.minimum(hidden + fraction[window], np.float32(1), out=hidden)
    return alphas, [*covers, covered]


def _continued_alpha(fraction: Float32, hidden: Float32, scale: int) -> Float32:
    """The over-alpha of a `fraction` behind nearer layers of opacity `hidden`, continued where they hide it."""
    own = fraction.copy()
    part = window_of(hidden > 0, 0)
    through = np.maximum(np.float32(1) - hidden[part], np.float32(1e-3))
    own[part] = np.where(hidden[part] > 0, np.clip(fraction[part] / through, 0, 1), fraction[part])
    known = known_behind(hidden)
    weight = reduced(known, scale)
    seen = np.asarray(reduced(own * known, scale) / np.maximum(weight, np.float32(1e-6)), np.float32)
    filled = push_pull(seen, np.minimum(weight * np.float32(scale * scale), np.float32(1)))
    size = (filled.shape[1] * scale, filled.shape[0] * scale)
    large = cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR)[: own.shape[0], : own.shape[1]]
    own[part] = large[part] + (own[part] - large[part]) * known[part]
    return own


def _fit_together(alphas: Sequence[npt.NDArray[np.generic]]) -> list[Float32]:
    fractions = [np.array(alpha, np.float32, order="C") for alpha in alphas]
    hold_to_one(fractions)
    return fractions


def _assemble(
    photo_linear: Float32,
    photo_srgb: Float32,
    cells: Float32,
    fractions: list[Float32],
    solved: Float32,
    settings: MattingSettings,
    scores: Sequence[dict[str, float]],
    plate_linear: Float32 | None,
) -> Cutouts:
    alphas, covers = over_alphas(fractions)
    covered = covers[-1]
    colours, plate, ease = unmixed(photo_linear, cells, fractions, alphas, covers, solved)
    plate_known = np.ones(covered.shape, np.float32)
    grain_codes = grain_sigma(photo_srgb) if settings.plate_grain and plate_linear is None else 0.0
    for part in windows_of_subjects(alphas):
        if plate_linear is not None:
            plate[part] = np.where((covered[part] > 0)[..., None], plate_linear[part], photo_linear[part])
            continue
        if settings.plate_fill == "ns":
            plate[part] = inpaint_ring(plate[part], covered[part], int(scaled_px(64, photo_linear.shape)))
        plate_known[part] = known_behind(covered[part])
        add_grain(plate[part], plate_known[part], grain_codes)
    differences = correct(photo_linear, [*colours, plate], alphas, fractions, ease)
    ghosts = plate_ghosts(photo_linear, plate, fractions)
    cutouts = [
        Cutout(
            colour_linear=colours[k],
            alpha=alphas[k],
            known=_known(covers[k], alphas[k]),
            scores={**scores[k], "plate_ghost": ghosts[k]},
        )
        for k in range(len(fractions))
    ]
    return Cutouts(cutouts=cutouts, plate_linear=plate, plate_known=plate_known, residual=_summary(differences))


def _summary(codes: Float32) -> dict[str, float]:
    if not codes.size:
        return {"mean": 0.0, "p99": 0.0, "max": 0.0}
    return {"mean": float(codes.mean()), "p99": float(np.percentile(codes, 99)), "max": float(codes.max())}


def _known(cover: Float32, alpha: Float32) -> Float32:
    window = window_of(alpha > 0, 0)
    if not (cover[window] > 0).any():
        return np.broadcast_to(np.float32(1), cover.shape)  # takes no memory
    known = np.ones(cover.shape, np.float32)
    known[window] = known_behind(cover[window])
    return known
