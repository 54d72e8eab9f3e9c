"""Convolution of one layer's window by Fourier transforms that all frames of a stack share."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.optics.pyramid import Box, Pyramid

Float32 = npt.NDArray[np.float32]


class Spectra:
    """The Fourier transforms of a layer's planes, as far as its view can see them, for all frames of a stack.

    A convolution is then a transform of the kernel and one back for every plane. Wrap-around never reaches what is
    wanted: the transformed window goes beyond the view by the widest kernel on every side.
    """

    def __init__(self, pyramid: Pyramid) -> None:
        reach = pyramid.widest_reach
        wanted = pyramid.wanted_box(reach)
        self._corner = (wanted[0] - reach, wanted[2] - reach)
        self._reach = reach
        self._shape = self.shape_of(pyramid)
        height, width = pyramid.frame_shape
        # beyond the layer there is nothing; beyond the frame the edge goes on
        rows = (self._corner[0], wanted[1] + reach)
        columns = (self._corner[1], wanted[3] + reach)
        box = (max(rows[0], 0), min(rows[1], height), max(columns[0], 0), min(columns[1], width))
        outside = (box[0] - rows[0], rows[1] - box[1], box[2] - columns[0], columns[1] - box[3])
        self._planes = []
        for plane in pyramid.planes:
            padded = np.zeros(self._shape, np.float32)
            window = pyramid.window(plane, box)
            if any(outside):
                window = np.asarray(cv2.copyMakeBorder(window, *outside, pyramid.border), np.float32)
            padded[: window.shape[0], : window.shape[1]] = window
            self._planes.append(np.asarray(cv2.dft(padded, dst=padded), np.float32))

    @staticmethod
    def shape_of(pyramid: Pyramid) -> tuple[int, int]:
        """Rows and columns of the transforms."""
        reach = pyramid.widest_reach
        y0, y1, x0, x1 = pyramid.wanted_box(reach)
        return cv2.getOptimalDFTSize(y1 - y0 + 2 * reach), cv2.getOptimalDFTSize(x1 - x0 + 2 * reach)

    def blur(self, kernel: Float32, wanted: Box, result: Float32) -> None:
        """Write the planes convolved with `kernel`, in the box `wanted` of the frame, to `result` `[C,h,w]`."""
        reach = kernel.shape[0] // 2
        rows, columns = self._shape
        padded = np.zeros(self._shape, np.float32)
        top, left = rows - self._reach - reach, columns - self._reach - reach  # row 0 becomes the view's first
        padded[top : top + kernel.shape[0], left : left + kernel.shape[1]] = kernel
        spectrum = cv2.dft(padded, dst=padded)
        y, x = (wanted[0] - self._corner[0] - self._reach, wanted[2] - self._corner[1] - self._reach)
        product: Float32 = np.empty(self._shape, np.float32)
        for plane, blurred in zip(self._planes, result, strict=True):
            cv2.mulSpectrums(plane, spectrum, 0, c=product)
            cv2.dft(product, dst=product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
            blurred[...] = product[y : y + blurred.shape[0], x : x + blurred.shape[1]]
