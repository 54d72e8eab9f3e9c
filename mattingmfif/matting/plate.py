"""The plate: the picture without its subjects. What stood behind them is invented by filling from around.

`known` `[H,W]` is 1 where the plate's colour was photographed and 0 where it was invented.
"""

from __future__ import annotations

import cv2
import numpy as np

from mattingmfif.pixels.colour import Float32, decode_srgb, encode_srgb
from mattingmfif.pixels.fill import push_pull

#: from this share of the pixel on, the light that came past the subjects tells the plate's colour
VISIBLE_SHARE = np.float32(0.1)


def known_behind(covered: Float32) -> Float32:
    """How far the colour behind a cover of opacity `covered` `[H,W]` was photographed, 0..1."""
    return np.minimum((np.float32(1) - covered) / VISIBLE_SHARE, np.float32(1))


def fill_plate(
    background_linear: Float32, covered: Float32, *, method: str = "push-pull", ring_px: int = 0
) -> tuple[Float32, Float32]:
    """(plate, known): `background_linear` `[H,W,3]` filled where subjects of total opacity `covered` `[H,W]` hide it.

    Weights are (1 - covered)^2: the estimate of a background pixel is the better the more of it was seen. `ns` fills
    the first `ring_px` pixels behind the contour by Navier-Stokes inpainting instead, which continues lines.
    """
    known = known_behind(covered)
    hidden = covered > 0
    if not hidden.any():
        return background_linear, known
    filled = push_pull(background_linear, (np.float32(1) - covered) ** 2)
    plate = np.where(hidden[..., None], filled, background_linear)
    if method == "ns":
        plate = _inpaint_ring(plate, covered, max(1, ring_px))
    return np.clip(plate, 0.0, 1.0), known


def _inpaint_ring(plate: Float32, covered: Float32, ring_px: int) -> Float32:
    """Navier-Stokes inpainting (8 bit, as OpenCV has it) of the hidden pixels within `ring_px` of visible ones."""
    hole = (covered > 0.5).astype(np.uint8)
    ring = (cv2.distanceTransform(hole, cv2.DIST_L2, cv2.DIST_MASK_5) <= ring_px) & (hole > 0)
    codes = cv2.inpaint(encode_srgb(plate, 8), ring.astype(np.uint8), 3, cv2.INPAINT_NS)
    return np.where(ring[..., None], decode_srgb(codes), plate)


def add_grain(plate_linear: Float32, known: Float32, sigma_codes: float) -> None:
    """Put grain of `sigma_codes` (of 255, sRGB) over the invented pixels of a plate, in place; always the same grain.

    Without it the fill would be the only noise-free patch, and give itself away.
    """
    invented = known < 0.5
    if sigma_codes < 0.5 or not invented.any():
        return
    noise = np.random.default_rng(0).standard_normal((int(invented.sum()), 3), np.float32)
    colour = plate_linear[invented]
    # the slope of the sRGB curve turns small steps of codes into steps of light
    slope = np.maximum(
        np.asarray(cv2.pow(colour, 1.4 / 2.4), np.float32) * np.float32(2.4 / 1.055), np.float32(1 / 12.92)
    )
    plate_linear[invented] = np.clip(colour + noise * slope * np.float32(sigma_codes / 255), 0.0, 1.0)
