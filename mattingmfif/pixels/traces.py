"""Traces that processing leaves in a picture and that have nothing to do with focus: grain, JPEG grid, resampling.

All measures take a plane of codes of 255 `[H,W]` float32 and, where named, a mask `[H,W]` of the pixels to look at.

The jump across the border between pixels x and x + 1 is what the steps on either side do not explain:

    j(x) = | f(x+1) - f(x) - (f(x) - f(x-1) + f(x+2) - f(x+1)) / 2 |

It is 0 on ramps, and it is divided by its local mean so that all places weigh alike. Its mean over the rows, as a
function of x, is level in a photograph; a JPEG grid lifts every 8th value, and resampling by a factor makes it
periodic, because interpolated pixels are smoother the farther they lie from an original one (A. C. Gallagher,
"Detection of linear and cubic interpolation in JPEG compressed images", CRV 2005). Both show on both axes alike; a
pattern of the content seldom does, so the weaker of the two axes is what counts.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.pixels.colour import Float32

Mask = npt.NDArray[np.bool_]

TILE_PX = 16
_GRID_PX = 8
#: jumps are counted in units of their mean over a square of this side (and this much, so that flat places are 0), up to
#: a limit, so that texture and smooth places weigh alike and single edges little
_LOCAL_PX, _FLAT_CODES, _CLIP = 33, 0.1, 3.0
#: a profile needs this many lines, and this many pixels in each
_LEAST_LINES, _LEAST_PIXELS = 64, 12
#: lines that are looked at together where not all are
_STRIPE_LINES = 128
#: longest period looked for, in px; slower changes are content
_LONGEST_PERIOD_PX = 48
#: J. Immerkaer, "Fast noise variance estimation", CVIU 1996
_JUMP = np.array([[0.5, -1.5, 1.5, -0.5]], np.float32)
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


def tile_means(plane: npt.NDArray[np.generic]) -> Float32:
    """Means over whole tiles of 16 px, `[H//16, W//16]`."""
    height, width = plane.shape[0] // TILE_PX, plane.shape[1] // TILE_PX
    whole = np.ascontiguousarray(plane[: height * TILE_PX, : width * TILE_PX], np.float32)
    if not whole.size:
        return np.zeros((height, width), np.float32)
    means = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32).reshape(height, width)


def tile_noise(plane: Float32) -> Float32:
    """The standard deviation, in codes, of what no plane or straight edge explains, by tile."""
    response = np.abs(cv2.filter2D(plane, cv2.CV_32F, _NOISE_KERNEL, borderType=cv2.BORDER_REFLECT_101))
    return tile_means(response) * np.float32(np.sqrt(np.pi / 2))


def jump_profile(plane: Float32, axis: int, mask: Mask | None = None) -> tuple[Float32, Mask] | None:
    """(mean clipped jump across each pixel border along `axis` (1: between columns) over its local mean, known).

    Entry x is the border between x and x + 1; 1 where it is not known. None where there is too little to look at.
    """
    height, width = plane.shape
    if min((height, width)[axis] - _LEAST_LINES, (height, width)[1 - axis] - _LEAST_PIXELS) < 0:
        return None
    kernel, anchor = (_JUMP, (1, 0)) if axis == 1 else (_JUMP.T, (0, 1))
    jump = cv2.filter2D(plane, cv2.CV_32F, kernel, anchor=anchor)
    np.abs(jump, out=jump)
    local = cv2.blur(jump, (_LOCAL_PX, _LOCAL_PX), borderType=cv2.BORDER_REFLECT_101)
    local += np.float32(_FLAT_CODES)
    cv2.divide(jump, local, dst=jump)
    np.minimum(jump, np.float32(_CLIP), out=jump)
    if mask is None:
        mean, known = jump.mean(axis=1 - axis), np.ones(plane.shape[axis], bool)
    else:
        here = mask.astype(np.float32)
        if axis == 1:
            here[:, :-1] *= here[:, 1:]
        else:
            here[:-1] *= here[1:]
        count = here.sum(axis=1 - axis)
        known = count >= _LEAST_PIXELS
        mean = cv2.multiply(jump, here).sum(axis=1 - axis) / np.maximum(count, 1)
    known[[0, -1, -2]] = False
    if known.sum() < _LEAST_LINES:
        return None
    smooth = _moving(mean * known) / np.maximum(_moving(known), np.float32(1e-6))
    usable = known & (smooth > 0.02)  # below, all is flat
    return np.where(usable, mean / np.maximum(smooth, 0.02), 1.0).astype(np.float32), usable


def _moving(line: npt.NDArray[np.generic]) -> Float32:
    row = np.ascontiguousarray(line[None], np.float32)
    return np.asarray(cv2.GaussianBlur(row, (0, 0), 12.0, borderType=cv2.BORDER_REFLECT_101)[0], np.float32)


def grid_phases(
    plane: Float32, mask: Mask | None = None, share: int = 1
) -> tuple[tuple[int, float], tuple[int, float]] | None:
    """For axis 0 and 1: (x modulo 8 of the borders that jump most, by how much they exceed the rest); None: unknown.

    0 is no excess, 0.5 is half as large again; three standard errors of the median are taken off. Without a mask, a
    part of the lines is enough: one in `share`.
    """
    found = []
    for axis in (0, 1):
        looked = jump_profile(plane if mask is not None else _thinned(plane, 1 - axis, share), axis, mask)
        if looked is None:
            return None
        profile, known = looked
        lines = [profile[k::_GRID_PX][known[k::_GRID_PX]] for k in range(_GRID_PX)]
        if min(map(len, lines)) < _LEAST_LINES // _GRID_PX // 2:
            return None
        phases = np.array([np.median(line) for line in lines])  # a few lines of the content make no grid
        top = int(np.argmax(phases))
        rest = max(float(np.delete(phases, top).mean()), 1e-6)
        chance = 3 * 1.25 * float(np.std(lines[top])) / np.sqrt(len(lines[top]))
        found.append((top, float(max(0.0, (phases[top] - chance) / rest - 1))))
    return found[0], found[1]


def _thinned(plane: Float32, axis: int, share: int) -> Float32:
    """One in `share` of the lines along `axis`, in stripes that are spread over all of the plane."""
    stripes = plane.shape[axis] // (_STRIPE_LINES * share)
    if share == 1 or not stripes:
        return plane
    first = np.linspace(0, plane.shape[axis] - _STRIPE_LINES, stripes).astype(int)
    parts = [plane[k : k + _STRIPE_LINES] if axis == 0 else plane[:, k : k + _STRIPE_LINES] for k in first]
    return np.concatenate(parts, axis=axis)


def grid_strength(plane: Float32, mask: Mask | None = None) -> float:
    """By how much every 8th jump exceeds the others, on the weaker axis; NaN where there is too little to see."""
    found = grid_phases(plane, mask)
    return float("nan") if found is None else min(strength for _, strength in found)


def periodicity(plane: Float32, mask: Mask | None = None) -> tuple[Float32, Float32] | None:
    """(frequencies per px, relative amplitude of the jumps at each, the weaker axis); None where unknown.

    The JPEG grid's own frequencies (multiples of 1/8) have amplitude 0 here: `grid_strength` is their measure.
    """
    length = 4096
    while length < max(plane.shape):
        length *= 2
    spectra = []
    for axis in (0, 1):
        looked = jump_profile(plane, axis, mask)
        if looked is None:
            return None
        profile, _ = looked
        window = np.hanning(len(profile))
        centred = np.clip(profile - 1, -0.5, 0.5) * window
        spectra.append(2 * np.abs(np.fft.rfft(centred, length)) / window.sum())
    frequency = np.fft.rfftfreq(length)
    lobe = 3.0 / min(plane.shape)
    on_grid = np.abs(frequency * _GRID_PX - np.round(frequency * _GRID_PX)) / _GRID_PX < lobe
    on_grid &= frequency < 0.5 - lobe  # 1/2 is the trace of doubling as well
    amplitude = np.minimum(*spectra)
    amplitude[on_grid | (frequency < 1 / _LONGEST_PERIOD_PX)] = 0
    return frequency.astype(np.float32), amplitude.astype(np.float32)
