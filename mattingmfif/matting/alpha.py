"""Closed-form alpha matting on the unknown band: exact at a reduced size, then finer by factors of two.

The exact solution at 1/s decides the large scales: at 4K the 3 x 3 windows of the matting Laplacian carry information
badly across a wide band, and a reduced picture has the reach (and less noise). From there up to full size, each level
starts from the coarser one with the photograph's detail and takes some steps of conjugate gradients towards its own
solution, which settle the small scales: hair, and edges.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.matting.accepted import accepted_srgb
from mattingmfif.matting.foreground import hold_to_one
from mattingmfif.matting.laplacian import band_of, bring_up, relax, solve_exactly, solve_paths
from mattingmfif.matting.trimap import UNKNOWN, Labels, grow_unsettled, labels_from_trimap
from mattingmfif.matting.windows import Window, whole_cells, window_of
from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.planes import extremes, zeros_where_untouched

Mask = npt.NDArray[np.bool_]
#: a photograph and its labels at one scale
Level = tuple[Float32, Labels]

#: epsilon of the Laplacian at full size; it grows with the scale, because over larger windows colours lie less exactly
#: on lines. Chosen on the mattes and scenes of the benchmark
_EPSILON = 4e-7
#: where the whole band is solved exactly at full size: the value in common use
_EPSILON_EXACT = 1e-7
#: unknowns up to which the band is solved exactly, in two tenths of a second
_MAX_EXACT = 40_000
#: unknowns times steps that are spent at full size, and at each coarser level
_AFFORDED, _AFFORDED_COARSE = 15_000_000, 8_000_000
#: the most steps of a level (more would only undo what the coarser one knows of the large scales); and the fewest that
#: are worth setting up its equations
_MOST_STEPS, _LEAST_STEPS, _LEAST_STEPS_COARSE = 60, 15, 10
#: where several subjects meet, one whose coarse fraction is below this has no part there
_ABSENT = 0.002
#: what lies this far from a pixel has no part in its equation, nor in its start
_AROUND_PX = 8


def estimate_alpha(
    photo_srgb: npt.ArrayLike,
    trimap: npt.ArrayLike,
    *,
    solve_long_side_px: int = 960,
    full_solve_long_side_px: int = 2000,
) -> Float32:
    """Alpha `[H,W]` float32, 0..1, of a photograph `[H,W,3]` (sRGB 0..1) and a trimap 0 / 0.5 / 1 or 0 / 128 / 255.

    The photo may also be uint8 or uint16 codes; both of any type and memory order. Known pixels come back as exactly
    0 or 1. A trimap without known foreground gives 0 in its band, one without known background gives 1. Raises
    ValueError where the sizes differ, values are not finite, or either is on another scale.
    """
    if solve_long_side_px < 1:
        raise ValueError(f"solve_long_side_px {solve_long_side_px}: at least 1 expected")
    return solve_fractions(
        accepted_srgb(photo_srgb),
        labels_from_trimap(trimap),
        1,
        solve_long_side_px=solve_long_side_px,
        full_solve_long_side_px=full_solve_long_side_px,
    )[0]


def solve_fractions(
    photo_srgb: Float32,
    labels: Labels,
    subjects: int,
    *,
    solve_long_side_px: int = 960,
    full_solve_long_side_px: int = 2000,
    grow_rounds: int = 0,
    grow_reach_px: float = 32.0,
) -> list[Float32]:
    """The fractions `[H,W]` of `subjects` subjects, each 0..1, summing (with the background's) to one.

    `labels` as in `trimap`: 0 background, 1.. subjects, -1 unknown. `grow_rounds` times the band is widened by
    `grow_reach_px` around places where the reduced solution is not settled at the band's border.
    """
    if photo_srgb.shape[:2] != labels.shape or photo_srgb.ndim != 3:
        raise ValueError(f"photo {photo_srgb.shape} and trimap {labels.shape} differ in size")
    unknown = labels == UNKNOWN
    if not unknown.any():
        return [_where_labelled(labels, k) for k in range(1, subjects + 1)]
    exact_scale = 1
    if max(labels.shape) > full_solve_long_side_px or int(unknown.sum()) > _MAX_EXACT:
        exact_scale = 2 ** max(0, round(np.log2(max(labels.shape) / solve_long_side_px)))
    multiple = 2 * exact_scale
    margin = round(grow_rounds * (grow_reach_px + 2)) + 4 * multiple
    window = _whole_rows(whole_cells(window_of(unknown, margin), multiple, unknown.shape), unknown.shape)
    photos, cropped = [np.ascontiguousarray(photo_srgb[window])], labels[window]
    if not np.isfinite(extremes(photos[0])).all():
        raise ValueError("the photograph holds NaN or infinite values")
    levels = _levels(photos, cropped, exact_scale)
    if grow_rounds:
        grown = _grown(levels[-1], 2 ** len(levels), subjects, grow_rounds, grow_reach_px)
        if grown is not None:
            levels = _levels(photos, _with_unknown_cells(cropped, grown, 2 ** len(levels)), exact_scale)
    solved = _solve(levels[-1], subjects, len(levels) - 1)
    for depth in range(len(levels) - 2, -1, -1):
        solved = _refined(solved, levels[depth + 1], levels[depth], depth)
    fractions = []
    for k, inside in enumerate(solved, start=1):
        fraction = _where_labelled(labels, k)
        fraction[window] = inside
        fractions.append(fraction)
    hold_to_one(fractions)  # detail was added to each by itself
    return fractions


def _whole_rows(window: Window, shape: tuple[int, ...]) -> Window:
    """The rectangle, widened to whole rows where it is wide: rows of the photo need not be copied."""
    wide = 2 * (window[1].stop - window[1].start) >= shape[1]
    return (window[0], slice(0, shape[1])) if wide else window


def _epsilon(depth: int) -> float:
    return _EPSILON * 2**depth


def _levels(photos: list[Float32], labels: Labels, exact_scale: int) -> list[Level]:
    """The photograph and its labels at 1, 1/2, ... down to where the band is to be solved exactly.

    `photos` are those that are there already; what is made beyond is added.
    """
    all_labels = [labels]
    while 2 ** (len(all_labels) - 1) < exact_scale or int((all_labels[-1] == UNKNOWN).sum()) > _MAX_EXACT:
        if len(photos) == len(all_labels):
            photos.append(_halved_photo(photos[-1]))
        all_labels.append(_halved_labels(all_labels[-1]))
    return list(zip(photos, all_labels, strict=False))


def _refined(coarse: list[Float32], coarser: Level, level: Level, depth: int) -> list[Float32]:
    """The fractions at a level from those at the next coarser one."""
    photo, labels = level
    band = labels == UNKNOWN
    parts = []
    for small in coarse:
        part = band
        if len(coarse) > 1:  # one subject's part of the band is not searched for another's
            part = band & _doubled(_anything_near(small > _ABSENT), band.shape)
        parts.append(part)
    steps = _steps(sum(int(part.sum()) for part in parts), depth) if min(labels.shape) >= 3 else 0
    fractions = []
    for k, (small, part) in enumerate(zip(coarse, parts, strict=True), start=1):
        fraction = _where_labelled(labels, k)
        window = _whole_rows(window_of(part, _AROUND_PX, 2), part.shape)
        if window[0].stop > window[0].start:
            rows, columns = (slice(side.start // 2, (side.stop + 1) // 2) for side in window)
            here, own = np.ascontiguousarray(photo[window]), np.ascontiguousarray(fraction[window])
            coarse_photo = np.ascontiguousarray(coarser[0][rows, columns])
            bring_up(np.ascontiguousarray(small[rows, columns]), coarse_photo, here, part[window], own)
            if steps:
                relax(band_of(here, part[window], _epsilon(depth)), own, steps)
            fraction[window] = own
        fractions.append(fraction)
    return fractions


def _steps(unknowns: int, depth: int) -> int:
    """How many steps a level takes; 0 where its band is so large that there would be too few to change anything."""
    steps = min(_MOST_STEPS, (_AFFORDED_COARSE if depth else _AFFORDED) // max(1, unknowns))
    return steps if steps >= (_LEAST_STEPS_COARSE if depth else _LEAST_STEPS) else 0


def _doubled(cells: Mask, shape: tuple[int, ...]) -> Mask:
    """The pixels, of a picture of this shape, of cells of 2 x 2."""
    size = (2 * cells.shape[1], 2 * cells.shape[0])
    large = cv2.resize(cells.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(large[: shape[0], : shape[1]] > 0)


def _anything_near(mask: Mask) -> Mask:
    """Where the mask holds for a pixel up to two away."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)


def _where_labelled(labels: Labels, label: int) -> Float32:
    """1 where the label stands, else 0."""
    here = labels == label
    window = window_of(here, 0)
    plane = zeros_where_untouched(labels.shape, window)
    plane[window] = here[window]
    return plane


def _grown(level: Level, scale: int, subjects: int, rounds: int, reach_px: float) -> Mask | None:
    """The cells at 1/`scale` of the band, widened where a solution at that size (it only decides) is not settled at its
    border; None where nothing has to be widened. `level` is that of 2 / `scale`.
    """
    photo, labels = _halved_photo(level[0]), _halved_labels(level[1])
    widened = False
    for _ in range(rounds):
        solved = _solve((photo, labels), subjects, round(np.log2(scale)))
        grown, unsettled = grow_unsettled(labels, solved, max(1.0, reach_px / scale), border_px=max(1.5, 12 / scale))
        if unsettled * scale * scale < 2 * reach_px:  # a few pixels: no hair, but noise
            break
        labels, widened = grown, True
    return labels == UNKNOWN if widened else None


def _with_unknown_cells(labels: Labels, cells: Mask, scale: int) -> Labels:
    """Labels with the pixels of the given cells made unknown."""
    large = cv2.resize(cells.astype(np.uint8), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    out = labels.copy()
    out[large[: labels.shape[0], : labels.shape[1]] > 0] = UNKNOWN
    return out


def _halved_photo(photo: Float32) -> Float32:
    """Averaged over cells of 2 x 2; half cells at an odd end are filled with what they have."""
    height, width = photo.shape[:2]
    if height % 2 or width % 2:
        photo = cv2.copyMakeBorder(photo, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    size = (photo.shape[1] // 2, photo.shape[0] // 2)
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.float32)


def _halved_labels(labels: Labels) -> Labels:
    """The label of each cell of 2 x 2 on which its pixels agree, else unknown."""
    height, width = labels.shape
    if height % 2 or width % 2:
        labels = np.pad(labels, ((0, height % 2), (0, width % 2)), mode="edge")
    first, *others = (labels[dy::2, dx::2] for dy in (0, 1) for dx in (0, 1))
    agree = np.logical_and.reduce([other == first for other in others])
    return np.where(agree, first, UNKNOWN).astype(np.int16)


def _solve(level: Level, subjects: int, depth: int) -> list[Float32]:
    """The exact fractions at a level; islands of the band that touch no known pixel of a subject get none of it."""
    photo, labels = level
    unknown = labels == UNKNOWN
    out = [(labels == k).astype(np.float32) for k in range(1, subjects + 1)]
    present = [k for k in range(subjects + 1) if (labels == k).any()]
    if len(present) <= 1:  # nothing to interpolate between: the whole band is of the one kind there is
        for k in range(1, subjects + 1):
            out[k - 1][unknown] = 1.0 if present == [k] else 0.0
    elif min(labels.shape) < 3:
        solve_paths(photo, unknown, out)
    else:
        epsilon = _epsilon(depth) if depth else _EPSILON_EXACT
        solve_exactly(band_of(photo, unknown, epsilon, np.float64), out)
    return out
