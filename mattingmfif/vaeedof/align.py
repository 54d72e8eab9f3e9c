"""Registering the frames of a stack: shifts, or homographies, which also take out focus breathing.

Frames are aligned as a chain: neighbours are in focus at neighbouring depths and so resemble each other most. Each link
is found by OpenCV's ECC on a small blurred copy, by matched features where ECC does not converge; links are multiplied
towards the middle frame, and every frame is resampled once. Pictures: float32 `[H,W,3]`, any range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import UserError
from mattingmfif.vaeedof.frames import StoredFrames

ALIGNMENTS = ("none", "translation", "homography")
WORK_LONG_SIDE_PX = 960
ECC_STEPS, ECC_EPSILON = 80, 1e-5
ECC_SMOOTHING_PX = 17, 9  # coarse, then fine: with 5 px fine texture that is in focus in one frame only is put 5 px off
LEAST_SIDE_PX = 64
LEAST_CORRELATION = 0.5
SEAM_PX = 8  # over which a frame passes into what it does not show
MOST_SCALE = 1.25  # a link beyond it is taken for a mistake

Float32 = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Registration:
    """How one frame lies on the reference: `matrix` takes reference pixels to the frame's, 3x3, in full-size pixels."""

    matrix: Matrix
    height: int
    width: int

    @property
    def scale(self) -> float:
        """Magnification of the frame against the reference at its centre (1.02: the frame shows things 2 % larger)."""
        return float(np.sqrt(abs(np.linalg.det(self._at_centre()))))

    @property
    def is_mirrored(self) -> bool:
        """Whether left and right are exchanged, which no camera does."""
        return bool(np.linalg.det(self._at_centre()) <= 0)

    @property
    def shift_px(self) -> float:
        """How far the centre of the reference lies from its place in the frame, in px."""
        centre = np.array([(self.width - 1) / 2, (self.height - 1) / 2, 1.0])
        moved = self.matrix @ centre
        return float(np.hypot(*(moved[:2] / moved[2] - centre[:2])))

    def _at_centre(self) -> Matrix:
        """The 2x2 derivative of the map at the centre."""
        x, y = (self.width - 1) / 2, (self.height - 1) / 2
        moved = self.matrix @ np.array([x, y, 1.0])
        top = self.matrix[:2, :2] * moved[2] - np.outer(moved[:2], self.matrix[2, :2])
        derivative: Matrix = top / moved[2] ** 2
        return derivative


def _small_grey(frame: Float32, scale: float) -> Float32:
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    grey = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    # local contrast: exposure drift and vignetting drop out
    return (grey - cv2.GaussianBlur(grey, (0, 0), 16)).astype(np.float32)


def _ecc(reference: Float32, frame: Float32, kind: str) -> Matrix | None:
    """The 3x3 map from reference to frame by ECC, None where it does not converge to an alike picture."""
    steps = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ECC_STEPS, ECC_EPSILON)
    everywhere = np.full(frame.shape, 255, np.uint8)

    def find(start: Any, motion: int, smoothing_px: int) -> tuple[float, Any]:
        return cv2.findTransformECC(reference, frame, start, motion, steps, everywhere, smoothing_px)

    value, shift, matrix = 0.0, np.eye(2, 3, dtype=np.float32), np.eye(3, dtype=np.float32)
    try:
        for smoothing_px in ECC_SMOOTHING_PX[:1] if kind == "homography" else ECC_SMOOTHING_PX:
            value, shift = find(shift, cv2.MOTION_TRANSLATION, smoothing_px)
        matrix[:2] = shift
        for smoothing_px in ECC_SMOOTHING_PX if kind == "homography" else ():
            value, matrix = find(matrix, cv2.MOTION_HOMOGRAPHY, smoothing_px)
    except cv2.error:
        return None
    return matrix.astype(np.float64) if value >= LEAST_CORRELATION else None


def _features(reference: Float32, frame: Float32, kind: str) -> Matrix | None:
    """The 3x3 map from reference to frame by matched features, None where too few agree."""
    high = max(float(np.abs(reference).max()), float(np.abs(frame).max()), 1e-6)
    codes = [np.clip(image / high * 127 + 128, 0, 255).astype(np.uint8) for image in (reference, frame)]
    finder = cv2.SIFT_create(4000)  # type: ignore[attr-defined]
    (points_a, words_a), (points_b, words_b) = (finder.detectAndCompute(image, None) for image in codes)
    if words_a is None or words_b is None or min(len(words_a), len(words_b)) < 8:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(words_a, words_b, k=2)
    good = [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < 0.75 * pair[1].distance]
    if len(good) < 12:
        return None
    a = np.array([points_a[m.queryIdx].pt for m in good], np.float32)
    b = np.array([points_b[m.trainIdx].pt for m in good], np.float32)
    if kind == "translation":
        matrix = np.eye(3)
        matrix[:2, 2] = np.median(b - a, axis=0)
        return matrix
    found, inliers = cv2.findHomography(a, b, cv2.RANSAC, 2.0)
    if found is None or int(np.sum(inliers)) < 12:
        return None
    return np.asarray(found, np.float64)


def register(reference: Float32, frame: Float32, kind: str) -> Registration:
    """How `frame` lies on `reference`, both float32 `[H,W,3]` of one size; UserError where they cannot be matched."""
    height, width = reference.shape[:2]
    scale = min(1.0, WORK_LONG_SIDE_PX / max(height, width))
    small = [_small_grey(image, scale) for image in (reference, frame)]
    matrix = _ecc(small[0], small[1], kind)
    if matrix is None:
        matrix = _features(small[0], small[1], kind)
    if matrix is None:
        raise UserError("the frames do not resemble each other enough to be aligned; try --align none")
    # pixel centres: full = (small + 0.5) / scale - 0.5 on each axis
    sy, sx = small[0].shape[0] / height, small[0].shape[1] / width
    to_small = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    full = np.linalg.inv(to_small) @ matrix @ to_small
    found = Registration(matrix=full / full[2, 2], height=height, width=width)
    if found.is_mirrored:
        raise UserError("alignment found a mirrored picture; try --align none")
    if not 1 / MOST_SCALE < found.scale < MOST_SCALE or found.shift_px > max(height, width) / 4:
        step = f"scale {found.scale:.3f}, shift {found.shift_px:.0f} px"
        raise UserError(f"alignment found an impossible step ({step}); try --align none")
    return found


def align_stack(
    frames: Sequence[Float32], kind: str, names: Sequence[str] | None = None
) -> tuple[StoredFrames, list[Registration]]:
    """The frames resampled onto the middle one, and how each lay; UserError names the frame that cannot be matched.

    What a frame does not show is the middle frame's, which is soft there but true: edge pixels that repeat would be
    streaks, sharp along the edge. Values outside 0..1 are clipped. kind: `translation` or `homography`.
    """
    if kind not in ALIGNMENTS[1:]:
        raise UserError(f"--align {kind}: not known; use {', '.join(ALIGNMENTS)}")
    height, width = frames[0].shape[:2]
    if min(height, width) < LEAST_SIDE_PX:
        raise UserError(f"frames of {width} x {height} px are too small to be aligned; use --align none")
    middle = len(frames) // 2
    chain: dict[int, Matrix] = {middle: np.eye(3)}
    for i in [*range(middle + 1, len(frames)), *range(middle - 1, -1, -1)]:
        before = i - 1 if i > middle else i + 1
        try:
            chain[i] = register(frames[before], frames[i], kind).matrix @ chain[before]
        except UserError as error:
            raise UserError(f"{names[i] if names else f'frame {i + 1}'}: {error}") from None
    registrations = [
        Registration(matrix=chain[i] / chain[i][2, 2], height=height, width=width) for i in range(len(frames))
    ]

    def resampled() -> Iterator[Float32]:
        reference = frames[middle]
        for i, found in enumerate(registrations):
            yield reference if i == middle else _resampled(frames[i], found, reference)

    return StoredFrames(resampled()), registrations


def _resampled(frame: Float32, found: Registration, reference: Float32) -> Float32:
    """The frame as the reference lies, and the reference where the frame shows nothing."""
    size, cubic = (found.width, found.height), cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(frame, found.matrix, size, flags=cubic, borderMode=cv2.BORDER_REPLICATE)
    whole = np.full((found.height, found.width), 255, np.uint8)
    shown = cv2.warpPerspective(whole, found.matrix, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    if shown.min() == 255:
        return warped
    # px to the nearest place that is not shown; cubic interpolation hears the edge from 2 px inside
    inside_px = cv2.distanceTransform(shown, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    weight = np.clip((inside_px - 2) / SEAM_PX, 0, 1)[..., None]
    blended: Float32 = reference + weight * (warped - reference)
    return blended
