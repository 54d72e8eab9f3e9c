"""From an alpha that fits sRGB codes to the alpha that fits light.

Closed-form matting solves in sRGB, where its local colour lines are straightest; but light mixes linearly, and a
bright subject that covers 5 % of a dark pixel looks like 20 % in codes. Composed in linear light such an alpha asks for
a background darker than black: the plate gets a dark outline (a bright one behind dark subjects). With F and B the
colours of the subject and of what is behind it, continued from where each is alone, and g the sRGB curve,

    I = g^-1( g(B) + a_codes (g(F) - g(B)) )       is the light that a_codes stands for,
    a = ((I - B) . (F - B)) / |F - B|^2            its share of the subject in light.

The photograph's own light then pulls a towards its own projection, the more the farther F and B are apart compared with
their own variation.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mattingmfif.matting.surroundings import SURE, continued, points_of, reduced, sampled
from mattingmfif.matting.windows import window_of
from mattingmfif.pixels.colour import Float32, linear_to_srgb, srgb_to_linear

_MARGIN_PX = 32
#: less light of a subject than this is none: an eighth of a code on black
_NOTHING = np.float32(0.0005)
#: standard deviation of an alpha solved in codes, once it is brought to light
_ALPHA_SIGMA = np.float32(0.15)
#: what F and B are uncertain by besides their variation: of their own brightness, and at least
_RELATIVE, _LEAST = np.float32(0.03), np.float32(0.002)
#: their variation counts so much more, because a continuation across a band misses some of it
_VARIATION = np.float32(4.0)


def fractions_in_light(photo_linear: Float32, fractions: Sequence[Float32], scale: int) -> list[Float32]:
    """`fractions` `[H,W]`, solved in sRGB, as shares of the light of `photo_linear` `[H,W,3]`; 0 and 1 stay 0 and 1.

    Colours around the bands are looked at 1/`scale` of the size. Shares below 2 % stay where they end an outline (on a
    dark ground the light of a bright subject still shows), and are cleared elsewhere.
    """
    lit = [_in_light(photo_linear, fraction, scale) for fraction in fractions]
    if len(lit) > 1:
        window = window_of(np.logical_or.reduce([fraction > 0 for fraction in lit]), 0)
        total = np.maximum(np.sum([fraction[window] for fraction in lit], axis=0), np.float32(1))
        for fraction in lit:
            fraction[window] /= total
    return lit


def _in_light(photo_linear: Float32, solved: Float32, scale: int) -> Float32:
    fraction = solved.copy()
    window = window_of(solved > 0, _MARGIN_PX)
    own = solved[window]
    rows, columns = np.nonzero((own > 0) & (own < 1))
    if not rows.size:
        return fraction
    cover, light = reduced(own, scale), reduced(photo_linear[window], scale)
    inside, outside = cover >= 1 - SURE, cover <= SURE
    if not (inside.any() and outside.any()):
        return fraction
    at = points_of(rows, columns, own.shape, cover.shape)
    front, front_varies = (sampled(plane, at) for plane in continued(light, inside))
    back, back_varies = (sampled(plane, at) for plane in continued(light, outside))
    a = own[rows, columns]
    apart = front - back
    square = np.einsum("nc,nc->n", apart, apart)
    codes = linear_to_srgb(back)
    stands_for = srgb_to_linear(np.clip(codes + a[:, None] * (linear_to_srgb(front) - codes), 0.0, 1.0))
    share = np.einsum("nc,nc->n", stands_for - back, apart) / np.maximum(square, np.float32(1e-9))
    share = np.where(square > 1e-6, np.clip(share, 0.0, 1.0), a)
    noise = _VARIATION * (a * a * front_varies + (1 - a) ** 2 * back_varies)
    noise += (_RELATIVE * (front + back).mean(axis=1) + _LEAST) ** 2
    doubt = noise / _ALPHA_SIGMA**2
    seen = np.einsum("nc,nc->n", photo_linear[window][rows, columns] - back, apart)
    share = np.clip((seen + doubt * share) / (square + doubt), 0.0, 1.0)
    share[share < _NOTHING] = 0.0
    share[share > 1 - _NOTHING] = 1.0
    part = fraction[window]
    part[rows, columns] = share
    box = np.ones((4 * scale + 3,) * 2, np.uint8)
    part[(part < SURE) & (cv2.dilate((part >= SURE).astype(np.uint8), box) == 0)] = 0.0
    return fraction
