"""Classical fusers to stand beside VAEEDOF, and the selection oracle that no selecting fuser can beat.

Frames: registered uint8 or uint16 sRGB codes `[N,H,W,3]` (or a sequence of `[H,W,3]`), N at least 1; results have their
type and size. All work on codes, as the published methods do (a pyramid in linear light is slightly worse).
Also the plain windows and pyramids they need. numpy and OpenCV only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[Any]
Float32 = npt.NDArray[Any]  # float32; OpenCV's stubs know no more than "some array"

# Li, Kang, Hu 2013: base filter 31 px, guided filters of radius 45 / eps 0.3 (base) and 7 / 1e-6 (detail)
GFF_AVERAGE_PX = 31
GFF_BASE_RADIUS_PX, GFF_BASE_EPS = 45, 0.3
GFF_DETAIL_RADIUS_PX, GFF_DETAIL_EPS = 7, 1e-6
GFF_SALIENCY_SIGMA_PX = 5.0
COARSEST_PX = 8  # a pyramid stops before a side falls below this


def _peak(frames: Sequence[Codes] | Codes) -> float:
    dtype = frames[0].dtype
    if dtype not in (np.uint8, np.uint16):
        raise TypeError(f"frames must be uint8 or uint16 sRGB codes, got {dtype}")
    return float(np.iinfo(dtype).max)


def _unit(frame: Codes) -> Float32:
    return frame.astype(np.float32) / np.float32(_peak([frame]))


def _codes(image: Float32, like: Codes) -> Codes:
    peak = np.float32(_peak([like]))
    return (np.clip(image, 0, 1) * peak + np.float32(0.5)).astype(like.dtype)


def _grey(unit: Float32) -> Float32:
    return cv2.cvtColor(unit, cv2.COLOR_RGB2GRAY)


def select(frames: Sequence[Codes] | Codes, index: npt.NDArray[np.integer[Any]]) -> Codes:
    """The image that takes each pixel from frame `index` `[H,W]`."""
    chosen = np.empty_like(frames[0])
    for i, frame in enumerate(frames):
        np.copyto(chosen, frame, where=(index == i)[..., None])
    return chosen


def average(frames: Sequence[Codes] | Codes) -> Codes:
    """The mean of the frames."""
    total = np.zeros(frames[0].shape, np.float32)
    for frame in frames:
        total += _unit(frame)
    return _codes(total / len(frames), frames[0])


def laplacian_energy(frame: Codes, window_px: int = 9) -> Float32:
    """Local energy of the Laplacian of Gaussian (sigma 1) of the grey frame `[H,W]`, averaged over a square window."""
    grey = cv2.GaussianBlur(_grey(_unit(frame)), (0, 0), 1.0, borderType=cv2.BORDER_REFLECT)
    laplacian = cv2.Laplacian(grey, cv2.CV_32F, ksize=3, borderType=cv2.BORDER_REFLECT)
    return cv2.boxFilter(laplacian * laplacian, cv2.CV_32F, (window_px, window_px), borderType=cv2.BORDER_REFLECT)


def _argmax(maps: Iterable[Float32]) -> npt.NDArray[np.uint8]:
    best: Float32 | None = None
    index: npt.NDArray[np.uint8] | None = None
    for i, values in enumerate(maps):
        if best is None or index is None:
            best, index = values.copy(), np.zeros(values.shape, np.uint8)
        else:
            better = values > best
            index[better] = i
            np.copyto(best, values, where=better)
    if index is None:
        raise ValueError("no frames to fuse")
    return index


def max_laplacian(frames: Sequence[Codes] | Codes) -> Codes:
    """Each pixel from the frame with the greatest local Laplacian energy (ties: the first frame)."""
    return select(frames, _argmax(laplacian_energy(frame) for frame in frames))


def pyramid_levels(height: int, width: int) -> int:
    """Number of halvings of a Laplacian pyramid: at most 6, none that brings a side below `COARSEST_PX`."""
    side, levels = min(height, width), 0
    while levels < 6 and (side + 1) // 2 >= COARSEST_PX:
        side, levels = (side + 1) // 2, levels + 1
    return levels


def _laplacian_bands(image: Float32, levels: int) -> list[Float32]:
    bands = []
    for _ in range(levels):
        smaller = cv2.pyrDown(image, borderType=cv2.BORDER_REFLECT_101)
        bands.append(image - cv2.pyrUp(smaller, dstsize=(image.shape[1], image.shape[0])))
        image = smaller
    return [*bands, image]


def laplacian_pyramid(frames: Sequence[Codes] | Codes) -> Codes:
    """Burt and Adelson's pyramid fusion: per band and channel the coefficient of greatest magnitude, the mean base."""
    height, width = frames[0].shape[:2]
    levels = pyramid_levels(height, width)
    fused = _laplacian_bands(_unit(frames[0]), levels)
    for frame in frames[1:]:
        bands = _laplacian_bands(_unit(frame), levels)
        for level in range(levels):
            np.copyto(fused[level], bands[level], where=np.abs(bands[level]) > np.abs(fused[level]))
        fused[-1] += bands[-1]
    image = fused[-1] / np.float32(len(frames))
    for band in reversed(fused[:-1]):
        image = band + cv2.pyrUp(image, dstsize=(band.shape[1], band.shape[0]))
    return _codes(image, frames[0])


def _guided(guide: Float32, weight: Float32, radius_px: int, eps: float) -> Float32:
    """The guided filter (He 2010) of `weight` by a grey `guide`, both `[H,W]`."""

    def mean(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        size = (2 * radius_px + 1, 2 * radius_px + 1)
        return cv2.boxFilter(x, cv2.CV_64F, size, borderType=cv2.BORDER_REFLECT)

    mean_g, mean_w = mean(guide), mean(weight)
    # eps of 1e-6 is below the rounding of a variance in float32: sums in float64
    guide_64 = guide.astype(np.float64)
    slope = (mean(guide_64 * weight) - mean_g * mean_w) / (mean(guide_64 * guide_64) - mean_g**2 + eps)
    offset = mean_w - slope * mean_g
    filtered: Float32 = (mean(slope) * guide_64 + mean(offset)).astype(np.float32)
    return filtered


def _saliency(grey: Float32) -> Float32:
    edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F, ksize=3, borderType=cv2.BORDER_REFLECT))
    return cv2.GaussianBlur(edges, (11, 11), GFF_SALIENCY_SIGMA_PX, borderType=cv2.BORDER_REFLECT)


def guided_filter_fusion(frames: Sequence[Codes] | Codes) -> Codes:
    """GFF (Li, Kang, Hu 2013): base and detail of each frame, mixed by guided-filtered maps of greatest saliency."""
    if len(frames) == 1:
        return frames[0].copy()
    chosen = _argmax(_saliency(_grey(_unit(frame))) for frame in frames)
    size = (GFF_AVERAGE_PX, GFF_AVERAGE_PX)
    height, width = chosen.shape
    parts = [np.zeros((height, width, 3), np.float32) for _ in range(2)]
    totals = [np.zeros((height, width, 1), np.float32) for _ in range(2)]
    settings = ((GFF_BASE_RADIUS_PX, GFF_BASE_EPS), (GFF_DETAIL_RADIUS_PX, GFF_DETAIL_EPS))
    for i, frame in enumerate(frames):
        unit = _unit(frame)
        guide, mask = _grey(unit), (chosen == i).astype(np.float32)
        base = cv2.boxFilter(unit, cv2.CV_32F, size, borderType=cv2.BORDER_REFLECT)
        for k, (picture, (radius_px, eps)) in enumerate(zip((base, unit - base), settings, strict=True)):
            weight = np.maximum(_guided(guide, mask, radius_px, eps), 0)[..., None]
            parts[k] += weight * picture
            totals[k] += weight
    base, detail = (part / np.maximum(total, np.float32(1e-6)) for part, total in zip(parts, totals, strict=True))
    return _codes(base + detail, frames[0])


def selection_oracle(frames: Sequence[Codes] | Codes, target: Codes) -> Codes:
    """Each pixel from the frame nearest to `target` there (squared error over channels): the ceiling of selection."""
    wanted = target.astype(np.float32)
    return select(frames, _argmax(-((frame.astype(np.float32) - wanted) ** 2).sum(-1) for frame in frames))


#: the fusers that evaluation sets beside VAEEDOF, by the name in its tables
BASELINES: dict[str, Callable[[Sequence[Codes] | Codes], Codes]] = {
    "laplacian-pyramid": laplacian_pyramid,
    "gff": guided_filter_fusion,
    "max-laplacian": max_laplacian,
    "average": average,
}
