"""Filters and statistics that several fusion metrics share.

Images are float64 `[H,W]` grey values 0..255. `same` pads with zeros, `valid` keeps only what the whole window covers,
both correlate (the kernel is not turned), as the metrics' reference definitions do.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[Any]  # float64; OpenCV's stubs know no more than "some array"

SOBEL_X = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float64)
SOBEL_Y = SOBEL_X.T.copy()


def same(image: Grey, kernel: Grey) -> Grey:
    """`image` correlated with `kernel`, zeros outside, same size."""
    return cv2.filter2D(image, cv2.CV_64F, kernel, borderType=cv2.BORDER_CONSTANT)


def valid(image: Grey, line: Grey) -> Grey:
    """`image` correlated with the square window `line` x `line`, only where the window fits (n - 1 pixels smaller)."""
    size = len(line)
    full: Grey = cv2.sepFilter2D(image, cv2.CV_64F, line, line, borderType=cv2.BORDER_CONSTANT)
    top = size // 2
    height, width = image.shape
    inside: Grey = full[top : top + height - size + 1, top : top + width - size + 1]
    return inside


def gaussian_line(size: int, sigma: float) -> Grey:
    """A Gaussian of `size` samples that sums to 1."""
    x = np.arange(size, dtype=np.float64) - (size - 1) / 2
    line = np.exp(-(x**2) / (2 * sigma**2))
    normalised: Grey = line / line.sum()
    return normalised


def moments(x: Grey, y: Grey, line: Grey) -> tuple[Grey, Grey, Grey, Grey, Grey]:
    """Local means of x and y, their variances and their covariance under the window `line` x `line`."""
    mean_x, mean_y = valid(x, line), valid(y, line)
    return (
        mean_x,
        mean_y,
        valid(x * x, line) - mean_x**2,
        valid(y * y, line) - mean_y**2,
        valid(x * y, line) - mean_x * mean_y,
    )


def stretch(image: Grey) -> Grey:
    """`image` stretched so that its least value is 0 and its greatest 255, rounded; a flat image becomes 0."""
    low, high = float(image.min()), float(image.max())
    if high == low:
        return np.zeros_like(image)
    return np.floor((image - low) / (high - low) * 255 + 0.5)


def radial_frequency(height: int, width: int, scale_y: float, scale_x: float) -> Grey:
    """Radius in the frequency plane, unshifted FFT order, where 1 along an axis is Nyquist times that axis' scale."""
    v = np.fft.fftfreq(height) * 2 * scale_y
    u = np.fft.fftfreq(width) * 2 * scale_x
    radius: Grey = np.hypot(v[:, None], u[None, :])
    return radius


def filter_frequencies(image: Grey, response: Grey) -> Grey:
    """`image` with its spectrum multiplied by `response` (real part: at even sizes the Nyquist line is one-sided)."""
    filtered: Grey = np.fft.ifft2(np.fft.fft2(image) * response).real
    return filtered
