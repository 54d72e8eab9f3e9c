"""How wide the edges of a picture are, place by place, whatever their contrast and however dense they lie.

g_k is the gradient of the luminance (sRGB codes a pixel), seen through a Gaussian whose variance is s_k^2 = 2/3 4^k px:
an octave a step. Over a window, content of any kind that was blurred by a Gaussian of sigma has about

    mean g_k^2  =  a (sigma^2 + s_k^2)^(-q)         q = 1/2: single edges; larger: fine texture; smaller: shading

With three octaves

    x = ln(g_k^2 / g_k+1^2),   y = ln(g_k+1^2 / g_k+2^2)

x alone is the ratio of re-blurring (S. Zhuo, T. Sim, "Defocus map estimation from a single image", Pattern Recognition
2011), taken by energy, so that the strongest edges of a window speak and no edge detector is needed; but it knows sigma
only where q is known. x / y does not depend on q, but is undefined where nothing varies. The width is read from
x / (y + 0.2), which is exact for single edges and leans on both. A blur bends the spectrum, smooth content does not.

Grain and JPEG artefacts hide a strong blur from the finest octaves: what is left of the picture there is less than
they are. So the same is measured from the second octave on, from the third, as far as a window holds enough of them;
half of what the octave before shows is taken for grain and left out. These are believed only where they say that the
picture is soft at their own, coarser, pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.pixels.colour import Float32

_LUMA_WEIGHTS = np.array([[0.299, 0.587, 0.114]], np.float32)
#: variance 1/3; with cv2.pyrDown (variance 1, then every second pixel) it is 1/3 again at every octave
_FIRST_SMOOTHING = np.array([1 / 6, 2 / 3, 1 / 6], np.float32)
#: s_0^2: the smoothing and the central difference (a box of two pixels) have 1/3 each
_LEAST_VARIANCE_PX = 2 / 3
_SOFTENER = 0.2
#: the share of what a finer octave shows that is taken for grain (1 would take the texture of clouds for it)
_DOUBT = 0.5
#: a coarser octave is believed from this width, in its own pixels
_BELIEVED_PX = 1.2
#: the sigma of a window is at least this many times the s of the coarsest octave that is looked at
_LEAST_WINDOW = 2.25
_MOST_OCTAVES = 6
_WIDTHS = np.concatenate([np.arange(0.0, 4.0, 0.05), np.arange(4.0, 30.5, 0.5)])
_FLATTEST_SHARE = 0.05
_LEAST_ENERGY = np.float32(1e-5)


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientEnergies:
    """Mean squared gradients by octave, each `[h,w]` on the same grid of cells, and the energy of grain in each."""

    octaves: tuple[Float32, ...]
    grain: tuple[float, ...]
    window_px: float
    cell_px: int

    @property
    def reach_cells(self) -> int:
        """How far an edge shines at the coarsest octave (2.5 s), in cells; at least 2."""
        reach_px = 2.5 * np.sqrt(_LEAST_VARIANCE_PX) * 2 ** (len(self.octaves) - 1)
        return max(2, round(reach_px / self.cell_px))

    def edges(self, within: npt.NDArray[np.bool_] | None = None) -> tuple[Float32, Float32]:
        """(width in px, contrast in codes) `[h,w]` of the edges around every cell, of those `within` `[h,w]` only.

        The width is a Gaussian's sigma, 0 on perfectly sharp edges. Outside of `within` both mean nothing.
        """
        part = np.ones(self.octaves[0].shape, np.float32) if within is None else within.astype(np.float32)
        weight = np.maximum(self._windowed(part), np.float32(1e-6))

        def mean(octave: Float32, grain: float) -> Float32:
            total = self._windowed(octave * part) / weight
            return np.maximum(total - np.float32(grain), _LEAST_ENERGY)

        energies = [mean(*pair) for pair in zip(self.octaves, self.grain, strict=True)]
        width_px = np.zeros(energies[0].shape, np.float32)
        for k in range(len(energies) - 2):
            own_px = _width_of(energies[k : k + 3], energies[k - 1] if k else None)
            believed = own_px > (_BELIEVED_PX if k else 0.0)
            width_px = np.maximum(width_px, np.where(believed, own_px * np.float32(2**k), np.float32(0)))
        # a straight edge of contrast c through the window: mean g_1^2 = c^2 / (2 sqrt(pi) s sqrt(2 pi) window)
        spread = np.sqrt(4 * _LEAST_VARIANCE_PX + 1.0) * 2 * np.sqrt(np.pi) * np.sqrt(2 * np.pi) * self.window_px
        return width_px, np.asarray(np.sqrt(energies[1] * np.float32(spread)), np.float32)

    def _windowed(self, plane: Float32) -> Float32:
        sigma_cells = float(np.sqrt(max((self.window_px / self.cell_px) ** 2 - 1 / 12, 0.1)))  # the cell is a box
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_cells, borderType=cv2.BORDER_REFLECT_101), np.float32)


def gradient_energies(photo_srgb: Float32, window_px: float) -> GradientEnergies:
    """The energies of `photo_srgb` `[H,W,3]` (sRGB 0..1) on cells of half the window's sigma."""
    luma_codes = cv2.transform(np.ascontiguousarray(photo_srgb, np.float32), _LUMA_WEIGHTS * np.float32(255.0))
    height, width = luma_codes.shape
    cell_px = max(1, int(window_px / 2))
    cells = (max(1, width // cell_px), max(1, height // cell_px))
    coarsest = max(0, int(np.log2(max(window_px / (_LEAST_WINDOW * 4 * np.sqrt(_LEAST_VARIANCE_PX)), 1.0))))
    octaves = []
    for energy in _ladder(luma_codes, min(coarsest + 3, _MOST_OCTAVES)):
        shrinks = energy.shape[1] >= cells[0]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        octaves.append(np.asarray(cv2.resize(energy, cells, interpolation=way), np.float32).reshape(cells[::-1]))
    gains = _grain_gains()[: len(octaves)]
    variance = _grain_variance(octaves[0], octaves[1])
    grain = tuple(float(variance * gain) for gain in gains)
    return GradientEnergies(octaves=tuple(octaves), grain=grain, window_px=window_px, cell_px=cell_px)


def _ladder(plane: Float32, count: int) -> Iterator[Float32]:
    """Squared gradients (codes a pixel of `plane`), octave by octave, each at half the size of the one before."""
    smooth = cv2.sepFilter2D(
        plane, cv2.CV_32F, _FIRST_SMOOTHING, _FIRST_SMOOTHING, borderType=cv2.BORDER_REFLECT_101
    ).reshape(plane.shape)
    for k in range(count):
        dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1, scale=0.5 / 2**k)
        dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=0.5 / 2**k)
        cv2.multiply(dx, dx, dst=dx)
        cv2.multiply(dy, dy, dst=dy)
        yield np.asarray(cv2.add(dx, dy, dst=dx), np.float32)
        smooth = np.asarray(cv2.pyrDown(smooth), np.float32).reshape((smooth.shape[0] + 1) // 2, -1)


@functools.cache
def _grain_gains() -> tuple[float, ...]:
    """What white noise of variance 1 gives at every octave."""
    point = np.zeros((512, 512), np.float32)
    totals = np.zeros(_MOST_OCTAVES)
    phases = 4  # the halving of sizes sees a pixel by where it lies; enough places stand for all
    for row in range(phases):
        for column in range(phases):
            point[:] = 0
            point[256 + row * 5, 256 + column * 5] = 1
            for k, energy in enumerate(_ladder(point, _MOST_OCTAVES)):
                totals[k] += float(energy.sum()) * 4**k
    return tuple(float(total) for total in totals / phases**2)


def _grain_variance(finest: Float32, second: Float32) -> float:
    """The variance of white noise, where the picture is flattest: what exceeds even rough texture at the finest octave.

    Texture whose amplitude falls with frequency, as that of nature does, loses a factor of 4 by octave; noise 17.
    """
    gains = _grain_gains()
    order = np.argsort(second, axis=None)[: max(1, int(_FLATTEST_SHARE * second.size))]
    excess = finest.reshape(-1)[order] - 4 * second.reshape(-1)[order]
    return max(0.0, float(np.median(excess))) / (gains[0] - 4 * gains[1])


def _width_of(octaves: Sequence[Float32], finer: Float32 | None) -> Float32:
    """The width in pixels of the first of three octaves; what could be grain, judged by a `finer` one, is left out."""
    variances = _WIDTHS[None, :] ** 2 + _LEAST_VARIANCE_PX * 4.0 ** np.arange(-1, 3)[:, None]
    edges = [np.asarray(row, np.float32) for row in variances**-0.5]  # what single edges of those widths give
    scores = _score(edges[1:], None if finer is None else edges[0])  # falls with the width
    return np.asarray(np.interp(-_score(octaves, finer), -scores, _WIDTHS), np.float32)


def _score(octaves: Sequence[Float32], finer: Float32 | None) -> Float32:
    if finer is not None:
        gains = _grain_gains()
        octaves = [
            np.maximum(octave - finer * np.float32(_DOUBT * gains[k + 1] / gains[0]), _LEAST_ENERGY)
            for k, octave in enumerate(octaves)
        ]
    x, y = np.log(octaves[0] / octaves[1]), np.log(octaves[1] / octaves[2])
    return np.asarray(np.where(x > 0, x / np.maximum(y + np.float32(_SOFTENER), np.float32(0.02)), 0), np.float32)
