"""Codes by the table are the codes by the curve."""

from __future__ import annotations

import numpy as np
import pytest

from mattingmfif.pixels.codes import codes_of
from mattingmfif.pixels.colour import decode_srgb, encode_srgb, srgb_to_linear


def test_the_table_gives_the_codes_of_the_curve():
    light = (np.random.default_rng(0).random(1 << 20) ** 3 * 1.3 - 0.1).astype(np.float32)
    np.testing.assert_array_equal(codes_of(light, 8), encode_srgb(light))
    # every number beside every border between two codes
    steps = decode_srgb(np.arange(256, dtype=np.uint8))
    borders = srgb_to_linear((np.arange(255) + 0.5) / 255)
    near = (borders.view(np.int32)[:, None] + np.arange(-400, 400, dtype=np.int32)).view(np.float32)
    by_curve = encode_srgb(near)
    assert (by_curve.min(axis=1) == np.arange(255)).all()  # both codes are there
    assert (by_curve.max(axis=1) == np.arange(1, 256)).all()
    np.testing.assert_array_equal(codes_of(near, 8), by_curve)
    np.testing.assert_array_equal(codes_of(steps, 8), np.arange(256))


def test_light_beyond_the_codes_is_clipped_and_nan_is_an_error():
    light = np.array([-np.inf, -1.0, -0.0, 0.0, 1e-40, 1e-5, 1.0, 1.0001, 1e30, np.inf], np.float32)
    np.testing.assert_array_equal(codes_of(light, 8), encode_srgb(light))
    for bits in (8, 16):
        with pytest.raises(ValueError, match="NaN"):
            codes_of(np.array([[0.5, np.nan, 0.2]], np.float32), bits)


def test_sixteen_bits_and_views_of_larger_pictures():
    light = np.random.default_rng(1).random((20, 30, 3), np.float32)
    np.testing.assert_array_equal(codes_of(light, 16), encode_srgb(light, 16))
    np.testing.assert_array_equal(codes_of(light[3:9, 5:, :], 8), encode_srgb(light[3:9, 5:, :]))
