"""Both codecs are lossless and agree on windows; damaged PNGs are errors."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from PIL import Image as Pillow

from mattingmfif.dataset.cells import CODECS, CellError, decode_cell, encode_cell, read_cell


def noise(shape, dtype):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 300), (280, 301, 3)])
def test_pixels_come_back_whole_and_by_window(codec, dtype, shape):
    image = noise(shape, dtype)
    data = encode_cell(image, codec)
    back = decode_cell(data)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, image)
    y, x = shape[0] // 3, shape[1] // 4
    window = (y, x, shape[0] - y, (shape[1] - x + 1) // 2)
    np.testing.assert_array_equal(decode_cell(data, window), image[y:, x : x + window[3]])
    assert encode_cell(image, codec) == data


def test_colours_of_a_png_are_red_green_blue():
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 255
    picture = Pillow.open(io.BytesIO(encode_cell(red, "png")))
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == (255, 0, 0)


def test_an_unknown_codec_is_named_with_the_allowed_ones():
    with pytest.raises(ValueError, match="'jpeg'; allowed: tiff, png"):
        encode_cell(np.zeros((2, 2), np.uint8), "jpeg")


def test_large_directories_are_fetched_in_a_second_read():
    image = np.zeros((256 * 17, 256 * 17), np.uint8)
    data = encode_cell(image, "tiff")
    np.testing.assert_array_equal(
        read_cell(lambda offset, length: data[offset : offset + length], len(data), (4000, 4000, 9, 9)), image[:9, :9]
    )


def test_damaged_pngs_are_errors_or_images_of_the_same_size_and_take_little_memory(capfd, peak_bytes):
    image = noise((120, 90, 3), np.uint8)
    data = encode_cell(image, "png")
    rng = np.random.default_rng(5)
    for k in range(200):
        copy = bytearray(data)
        if k % 3 == 0:
            copy = copy[: int(rng.integers(len(copy)))]
        else:
            copy[int(rng.integers(60 if k % 3 == 1 else len(copy)))] ^= 1 << int(rng.integers(8))
        with peak_bytes() as peak, contextlib.suppress(CellError):
            assert decode_cell(copy).shape[:2] == (120, 90)
        assert peak() < 8_000_000


def test_a_png_that_claims_more_than_it_can_hold_is_an_error():
    data = bytearray(encode_cell(noise((20, 20), np.uint8), "png"))
    data[16:24] = (10_000).to_bytes(4, "big") * 2
    with pytest.raises(CellError, match="cannot hold"):
        decode_cell(bytes(data))
