import numpy as np
import pytest

from mattingmfif.pixels.colour import decode_srgb, encode_srgb
from mattingmfif.scene.shot import quantised_alpha, quantised_colour


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("box", [(0, 150, 0, 170), (70, 131, 20, 90), (0, 0, 0, 0), (149, 150, 169, 170)])
def test_quantised_colours_are_those_of_their_codes_also_where_most_is_black(bits, box):
    top, bottom, left, right = box
    colour = np.zeros((150, 170, 3), np.float32)
    colour[top:bottom, left:right] = np.random.default_rng(3).random((bottom - top, right - left, 3)) ** 3
    colour[top:bottom, left:right, 1:] = 0  # light in one channel alone counts too
    for black in (True, False):
        quantised = quantised_colour(colour, bits, mostly_black=black)
        np.testing.assert_array_equal(quantised, decode_srgb(encode_srgb(colour, bits)))


def test_a_quantised_matte_is_within_half_a_code_and_its_codes_say_the_same():
    alpha = np.zeros((90, 70), np.float32)
    alpha[20:60, 30:41] = np.random.default_rng(4).random((40, 11))
    codes, matte = quantised_alpha(alpha)
    assert np.abs(matte - alpha).max() <= 0.5001 / 65535
    np.testing.assert_array_equal(matte, codes.astype(np.float32) / np.float32(65535))
    assert not quantised_alpha(np.zeros((5, 6), np.float32))[1].any()
