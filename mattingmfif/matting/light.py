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

from mattingmfif.matting.foreground import hold_to_one
from mattingmfif.matting.surroundings import SURE, VARIATION_CELL_PX, cells_of, continued, reduced, variation
from mattingmfif.matting.windows import is_empty, whole_cells, window_of
from mattingmfif.pixels.colour import Float32

_MARGIN_PX = 32
#: less light of a subject than this is none: an eighth of a code on black
_NOTHING = 0.0005
#: standard deviation of an alpha solved in codes, once it is brought to light
_ALPHA_SIGMA = 0.15
#: what F and B are uncertain by besides their variation: of their own brightness, and at least
_RELATIVE, _LEAST = 0.03, 0.002
#: their variation counts so much more, because a continuation across a band misses some of it
_VARIATION = 4.0
_CONSTANTS = tuple(np.float32(value) for value in (_VARIATION, _RELATIVE, _LEAST, _ALPHA_SIGMA**2, _NOTHING))


def fractions_to_light(photo_linear: Float32, fractions: Sequence[Float32], cells: Float32, scale: int) -> None:
    """Turn `fractions` `[H,W]`, solved in sRGB, into shares of the light of `photo_linear` `[H,W,3]`, in place.

    0 and 1 stay 0 and 1. Colours around the bands are looked at in `cells`, the photo reduced by `scale`. Shares below
    2 % stay where they end an outline (on a dark ground the light of a bright subject still shows), and are cleared
    elsewhere.
    """
    for fraction in fractions:
        _to_light(photo_linear, fraction, cells, scale)
    hold_to_one(fractions)


def _to_light(photo_linear: Float32, fraction: Float32, cells: Float32, scale: int) -> None:
    from mattingmfif.matting.colour_kernels import shares_of_light

    window = whole_cells(window_of(fraction > 0, _MARGIN_PX), scale, fraction.shape)
    if is_empty(window):
        return
    light, cover = np.ascontiguousarray(cells[cells_of(window, scale)]), reduced(fraction[window], scale)
    inside, outside = cover >= 1 - SURE, cover <= SURE
    if not (inside.any() and outside.any()):
        return
    sides = np.stack([continued(light, inside), continued(light, outside)])
    varies = np.stack([variation(light, inside), variation(light, outside)])
    corners = (window[0].start, window[1].start, window[0].stop, window[1].stop)
    photo = np.ascontiguousarray(photo_linear)
    shares_of_light(photo, fraction, corners, sides, varies, scale, VARIATION_CELL_PX, _CONSTANTS)
    part = fraction[window]
    box = np.ones((4 * scale + 3,) * 2, np.uint8)
    near = cv2.dilate((part >= SURE).astype(np.uint8), box)
    part[(part < SURE) & (near == 0)] = 0.0
