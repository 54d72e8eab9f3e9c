"""The plate: the picture without its subjects. What stood behind them is invented by filling from around.

`known` `[H,W]` is 1 where the plate's colour was photographed and 0 where it was invented.
"""

from __future__ import annotations

import cv2
import numpy as np

from mattingmfif.matting.surroundings import SURE, VARIATION_CELL_PX, continued, variation
from mattingmfif.pixels.colour import Float32, decode_srgb, encode_srgb
from mattingmfif.pixels.fill import push_pull

#: from this share of the pixel on, the light that came past the subjects tells the plate's colour
VISIBLE_SHARE = np.float32(0.1)
#: error of alpha, as a share of it
_ALPHA_ERROR = np.float32(0.3)
#: what the continuation of a background is uncertain by besides its variation: of its own brightness, and at least
_RELATIVE, _LEAST = np.float32(0.1), np.float32(0.001)
#: a plate gives way in full where its surroundings vary by far more than this share of their brightness (and least)
_SMOOTH, _LEAST_LIGHT, _LEAST_EASE = np.float32(0.8), np.float32(0.01), np.float32(1e-3)
_MEAN = np.full((1, 3), 1 / 3, np.float32)


def known_behind(covered: Float32) -> Float32:
    """How far the colour behind a cover of opacity `covered` `[H,W]` was photographed, 0..1."""
    return np.minimum((np.float32(1) - covered) / VISIBLE_SHARE, np.float32(1))


def continue_behind(
    photo_linear: Float32, foreground: Float32, background: Float32, covered: Float32, solved: Float32
) -> tuple[Float32, Float32]:
    """(the plate `[H,W,3]`, what is seen around subjects of opacity `covered` `[H,W]` continued behind them; its ease).

    `foreground` and `background` are the colours unmixed with `covered`; `solved` is the opacity as it was solved in
    codes, whose zeros are surely background. In the band the unmixed background counts as far as it is better than the
    continuation of the sure one: it suffers from errors of alpha, the continuation from the background's own variation.
    Push-pull fills the rest. The ease `[H,W]`, 0..1, is how far the plate may give way where layers have to agree with
    the photo: behind an outline before a smooth background a line of another colour is the subject's (its sharpening,
    a fringe of the lens), before texture it may be either's.
    """
    sure = solved <= SURE
    if sure.all() or not sure.any():
        return background, np.ones(covered.shape, np.float32)
    around, body = continued(photo_linear, sure), solved >= 1 - SURE
    varies = _enlarged(variation(photo_linear, sure), covered.shape)
    own_varies = _enlarged(variation(photo_linear, body), covered.shape) if body.any() else varies
    through = np.float32(1) - covered
    apart = cv2.subtract(foreground, around)
    wrong = _ALPHA_ERROR * covered + np.abs(covered - solved)
    unmixed = wrong**2 * np.einsum("ijc,ijc->ij", apart, apart) + covered**2 * own_varies
    bright = cv2.transform(around, _MEAN).reshape(covered.shape)
    continuation = (varies + (_RELATIVE * bright + _LEAST) ** 2) * through**2
    weight = through**2 * continuation / (continuation + unmixed + np.float32(1e-12))
    known = background.copy()
    known[sure] = photo_linear[sure]
    plate = push_pull(known, np.where(sure, np.float32(1), weight))
    ease = varies / (varies + (_SMOOTH * (bright + _LEAST_LIGHT)) ** 2)
    return np.clip(plate, 0.0, 1.0, out=plate), np.maximum(ease, _LEAST_EASE)


def _enlarged(variance: Float32, shape: tuple[int, ...]) -> Float32:
    """`variance` `[h,w]`, in cells of `VARIATION_CELL_PX`, at every pixel of a picture of `shape`."""
    size = (variance.shape[1] * VARIATION_CELL_PX, variance.shape[0] * VARIATION_CELL_PX)
    return np.asarray(cv2.resize(variance, size, interpolation=cv2.INTER_LINEAR), np.float32)[: shape[0], : shape[1]]


def inpaint_ring(plate: Float32, covered: Float32, ring_px: int) -> Float32:
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
