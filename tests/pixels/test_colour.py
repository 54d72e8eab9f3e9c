"""The sRGB curve against the standard's own formula."""

from __future__ import annotations

import numpy as np
import pytest

from mattingmfif.pixels.colour import decode_srgb, encode_srgb, linear_to_srgb, luminance, srgb_to_linear


def test_the_curve_meets_the_standard_s_formula_and_its_two_parts_meet() -> None:
    # IEC 61966-2-1: 12.92 x below 0.0031308, 1.055 x^(1/2.4) - 0.055 above
    x = np.concatenate([np.linspace(0, 0.01, 5001), np.linspace(0, 1, 100_003)])
    truth = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(linear_to_srgb(x), truth, atol=2e-6)
    np.testing.assert_allclose(srgb_to_linear(truth), x, atol=2e-6)


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_every_code_comes_back(bits: int, dtype: type) -> None:
    codes = np.arange(2**bits, dtype=dtype)
    assert (encode_srgb(decode_srgb(codes), bits) == codes).all()


def test_the_nearest_code_is_taken_and_values_outside_are_clipped() -> None:
    codes = np.arange(255)
    middle = srgb_to_linear((codes + 0.5) / 255).astype(np.float64)
    assert (encode_srgb(middle * (1 - 1e-4)) == codes).all()
    assert (encode_srgb(middle * (1 + 1e-4)) == codes + 1).all()
    assert encode_srgb(np.array([-1.0, 2.0, np.inf])).tolist() == [0, 255, 255]


def test_any_shape_and_layout_gives_the_same_codes() -> None:
    linear = np.random.default_rng(0).random((301, 77, 3), np.float32)
    codes = encode_srgb(linear)
    assert codes.shape == linear.shape
    assert (encode_srgb(linear[:, ::-1])[:, ::-1] == codes).all()
    assert (encode_srgb(linear.transpose(1, 0, 2)).transpose(1, 0, 2) == codes).all()
    assert encode_srgb(np.zeros((0, 4, 3), np.float32)).shape == (0, 4, 3)


def test_nan_and_other_depths_are_errors() -> None:
    with pytest.raises(ValueError, match="NaN"):
        encode_srgb(np.array([0.1, np.nan]))
    with pytest.raises(ValueError, match="bits must be 8 or 16"):
        encode_srgb(np.zeros(3), 10)
    with pytest.raises(TypeError, match="uint8 or uint16"):
        decode_srgb(np.zeros(3))


def test_luminance_of_white_is_one() -> None:
    assert luminance(np.ones((2, 3), np.float32)) == pytest.approx([1.0, 1.0])
