"""The colours of all layers of a photograph: of the subjects, and of the plate behind them.

Everything smooth is made at a reduced size, one rectangle after the other, and sampled where it is needed; the photo's
own detail comes back with the correction that makes the layers agree with it. Two subjects whose rectangles overlap are
unmixed each by itself, and the plate with both of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mattingmfif.matting.foreground import agree_with_photo, agree_with_plate, split_colours
from mattingmfif.matting.plate import continue_behind
from mattingmfif.matting.surroundings import cells_of, reduced, spread_cells
from mattingmfif.matting.windows import Window, disjoint, is_empty, whole_cells, window_of
from mattingmfif.pixels.colour import Float32
from mattingmfif.pixels.fill import push_pull
from mattingmfif.pixels.planes import zeros_where_untouched

MARGIN_PX = 32
#: long side above which colours are unmixed at half and at a third of the size (the accuracy stays within 3 %)
_HALF_COLOURS_FROM_PX, _THIRD_COLOURS_FROM_PX = 2000, 3000
#: a subject has a colour this far beyond its alpha too, for whoever reduces it without alpha (box of 17 px)
_AROUND_PX = 8
_AROUND = np.ones((2 * _AROUND_PX + 1,) * 2, np.uint8)
#: reduced pixels within which subjects do not share colours
_APART = np.ones((13, 13), np.uint8)
#: pixels that are corrected at once
_BLOCK = 1 << 17


def colour_scale(shape: tuple[int, ...]) -> int:
    """How much smaller than a photo of this shape its colours are estimated: 1, 2 or 3."""
    long_side = max(shape[:2])
    return 1 + (long_side > _HALF_COLOURS_FROM_PX) + (long_side > _THIRD_COLOURS_FROM_PX)


def windows_of_subjects(alphas: Sequence[Float32]) -> list[Window]:
    """Rectangles of whole cells that hold all subjects with a margin, and do not overlap each other."""
    shape = alphas[0].shape
    scale = colour_scale(shape)
    return disjoint([whole_cells(window_of(alpha > 0, MARGIN_PX), scale, shape) for alpha in alphas])


def reduced_sum(fractions: Sequence[Float32], scale: int) -> Float32:
    """The sum of `fractions` `[H,W]`, reduced by `scale`."""
    height, width = fractions[0].shape
    total = np.zeros((-(-height // scale), -(-width // scale)), np.float32)
    for fraction in fractions:
        window = whole_cells(window_of(fraction > 0, 0), scale, fraction.shape)
        if not is_empty(window):
            total[cells_of(window, scale)] += reduced(fraction[window], scale)
    return total


def unmixed(
    photo_linear: Float32,
    cells: Float32,
    fractions: Sequence[Float32],
    alphas: Sequence[Float32],
    covers: Sequence[Float32],
    solved: Float32,
) -> tuple[list[Float32], Float32, Float32]:
    """(colours of the subjects, colour behind them, its ease), not yet made to agree with the photo.

    Colours are `[H,W,3]` linear, the ease (see `continue_behind`) is `[h,w]`. Nearest first: `fractions` of the light,
    over-`alphas`, and `covers`, what is covered by nearer ones and, last, by all. `cells` `[h,w,3]` is the photo and
    `solved` `[h,w]` the sum of the fractions as they were solved in codes, both reduced by `colour_scale`. A subject's
    colour is 0 farther away.
    """
    shape = photo_linear.shape
    colours = [zeros_where_untouched(shape, window_of(alpha > 0, _AROUND_PX)) for alpha in alphas]
    plate = photo_linear.copy()
    scale = colour_scale(photo_linear.shape)
    ease = np.ones(cells.shape[:2], np.float32)
    for window in windows_of_subjects(alphas):
        corner = (window[0].start, window[1].start)
        part = cells_of(window, scale)
        light, covered = np.ascontiguousarray(cells[part]), reduced(covers[-1][window], scale)
        front, back = split_colours(light, covered)
        behind, ease[part] = continue_behind(light, front, back, covered, solved[part])
        spread_cells(behind, scale, (covers[-1][window] > 0).view(np.uint8), plate, corner)
        inside = [k for k, alpha in enumerate(alphas) if (alpha[window] > 0).any()]
        owns = [reduced(fractions[k][window], scale) for k in inside]
        for k, own, apart in zip(inside, owns, _apart(owns), strict=True):
            colour = front if apart else _own_colour(light, own, scale)
            _fill_in(colours[k], photo_linear, colour, window, scale, fractions[k], alphas[k], covers[k])
    return colours, plate, ease


def _fill_in(
    colour: Float32,
    photo_linear: Float32,
    own: Float32,
    window: Window,
    scale: int,
    fraction: Float32,
    alpha: Float32,
    cover: Float32,
) -> None:
    """Write into `colour` `[H,W,3]` the photo where the subject is all there is, and `own` `[h,w,3]` around that.

    `own` is the subject's colour in the cells of `window`.
    """
    from mattingmfif.matting.colour_kernels import take_where_solid

    hidden, present = cover[window] > 0, alpha[window] > 0
    if (hidden & present).any():  # continued behind the nearer subjects
        seen = np.float32(1) - reduced(cover[window], scale)
        own = push_pull(own, seen * seen * (reduced(alpha[window], scale) > 0))
    inner = whole_cells(window_of(present, _AROUND_PX), scale, present.shape)
    wanted = cv2.dilate(present[inner].view(np.uint8), _AROUND)
    top, left = window[0].start + inner[0].start, window[1].start + inner[1].start
    corners = (top, left, top + wanted.shape[0], left + wanted.shape[1])
    wanted[fraction[corners[0] : corners[2], corners[1] : corners[3]] >= 1] = 0
    spread_cells(own[cells_of(inner, scale)], scale, wanted, colour, corners[:2])
    take_where_solid(fraction, photo_linear, colour, *corners)


def _apart(fractions: Sequence[Float32]) -> list[bool]:
    """Of each fraction `[h,w]` whether all others are so far from it that they have no part in its colours."""
    if len(fractions) == 1:
        return [True]
    near = [cv2.dilate((fraction > 0).astype(np.uint8), _APART) for fraction in fractions]
    count = np.asarray(np.sum(near, axis=0))
    return [not (count[own > 0] > 1).any() for own in near]


def _own_colour(light: Float32, fraction: Float32, scale: int) -> Float32:
    """The colour of one of several subjects, over all of `light`."""
    window = window_of(fraction > 0, -(-MARGIN_PX // scale))
    colour = light.copy()
    colour[window] = split_colours(light[window], fraction[window])[0]
    return colour


def correct(
    photo_linear: Float32,
    colours: Sequence[Float32],
    alphas: Sequence[Float32],
    fractions: Sequence[Float32],
    ease: Float32,
) -> Float32:
    """Make the reassembly of `colours` (the plate last; changed in place) agree with the photo where layers mix.

    Where one layer is all there is, it must be the photo itself already. `ease` is that of the plate. Returns the
    difference left, in sRGB codes, at the pixels that were corrected.
    """
    shape = alphas[0].shape
    scale = colour_scale(shape)
    layers, mixed = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    windows = [window_of(alpha > 0, 0) for alpha in alphas]
    for alpha, fraction, window in zip(alphas, fractions, windows, strict=True):
        own = fraction[window]
        layers[window] += alpha[window] > 0
        mixed[window] |= (own > 0) & (own < 1)
    left = [
        agree_with_plate(photo_linear, colour, alpha, colours[-1], layers, ease, scale)
        for colour, alpha in zip(colours[:-1], alphas, strict=True)
    ]
    where = np.flatnonzero(mixed & (layers > 1))
    photo = photo_linear.reshape(-1, 3)
    flat, opacities = [colour.reshape(-1, 3) for colour in colours], [alpha.reshape(-1) for alpha in alphas]
    for start in range(0, where.size, _BLOCK):
        at = where[start : start + _BLOCK]
        values = np.stack([colour[at] for colour in flat])
        rows, columns = np.divmod(at, shape[1])
        gives = ease[rows // scale, columns // scale]
        left.append(agree_with_photo(photo[at], values, _weights([alpha[at] for alpha in opacities]), gives))
        for colour, fixed in zip(flat, values, strict=True):
            colour[at] = fixed
    return np.concatenate(left)


def _weights(alphas: Sequence[Float32]) -> Float32:
    """The share `[L+1,n]` of each pixel's light that comes from each layer `[n]` and, last, from the plate."""
    through = np.ones_like(alphas[0])
    weights = []
    for alpha in alphas:
        weights.append(through * alpha)
        through = through * (np.float32(1) - alpha)
    return np.stack([*weights, through])
