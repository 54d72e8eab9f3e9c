"""Tiled TIFF: other readers see the same pixels, windows equal slices, damage is an error and costs no memory."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from mattingmfif.dataset.tiff import (
    HEADER_GUESS_BYTES,
    TILE_PX,
    NeedMoreBytes,
    TiffError,
    decode_tiff,
    decode_window,
    encode_tiff,
    header_length,
    parse_header,
)

SHAPES = [(1, 1), (256, 256), (257, 300), (40, 513, 3), (255, 257, 3), (3, 700, 3), (600, 1, 3)]


def noise(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_come_back_at_odd_sizes(shape, dtype):
    image = noise(shape, dtype)
    back = decode_tiff(encode_tiff(image))
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((257, 300), np.uint8), ((255, 257, 3), np.uint8), ((257, 300), np.uint16)]
)
def test_pillow_reads_the_same_pixels(shape, dtype):
    image = noise(shape, dtype)
    np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(encode_tiff(image)))), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_tifffile_reads_the_same_pixels(shape, dtype):
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs", reason="tifffile reads zstd with imagecodecs (extra `test`)")
    image = noise(shape, dtype)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(encode_tiff(image))).reshape(shape), image)


def test_a_flat_image_and_extremes_survive_the_predictor():
    stripes = np.zeros((300, 300, 3), np.uint16)
    stripes[:, 1::2] = 65535
    np.testing.assert_array_equal(decode_tiff(encode_tiff(stripes)), stripes)
    flat = np.full((2160, 3840), 200, np.uint8)
    data = encode_tiff(flat)
    assert len(data) < flat.size / 100
    np.testing.assert_array_equal(decode_tiff(data), flat)


def test_views_with_strides_and_big_endian_codes_are_stored_by_value():
    image = noise((64, 90, 3), np.uint16)
    np.testing.assert_array_equal(decode_tiff(encode_tiff(image[::2, ::-1])), image[::2, ::-1])
    assert encode_tiff(image.astype(">u2")) == encode_tiff(image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_window_equals_the_slice_of_the_whole(dtype):
    image = noise((600, 777, 3), dtype)
    data = encode_tiff(image)
    rng = np.random.default_rng(1)
    corners = [(0, 0, 600, 777), (599, 776, 1, 1), (255, 255, 2, 2), (256, 256, 256, 256)]
    for _ in range(40):
        y, x = int(rng.integers(600)), int(rng.integers(777))
        corners.append((y, x, int(rng.integers(1, 601 - y)), int(rng.integers(1, 778 - x))))
    for y, x, height, width in corners:
        np.testing.assert_array_equal(
            decode_tiff(data, (y, x, height, width)), image[y : y + height, x : x + width], err_msg=f"{y} {x}"
        )


@pytest.mark.parametrize(
    "window", [(-1, 0, 5, 5), (0, -1, 5, 5), (0, 0, 0, 5), (0, 0, 41, 5), (36, 0, 5, 5), (0, 49, 1, 2)]
)
def test_a_window_that_leaves_the_image_is_an_error(window):
    with pytest.raises(TiffError, match="leaves the image"):
        decode_tiff(encode_tiff(noise((40, 50), np.uint8)), window)


def test_a_window_reads_only_the_tiles_it_touches():
    image = noise((4 * TILE_PX, 4 * TILE_PX), np.uint8)
    data = encode_tiff(image)
    header = parse_header(data[:HEADER_GUESS_BYTES], len(data))
    fetched = []

    def read(offset, length):
        fetched.append((offset, length))
        return data[offset : offset + length]

    decode_window(read, header, (TILE_PX + 3, 2 * TILE_PX + 3, TILE_PX, 20))
    wanted = [(header.offsets[k], header.counts[k]) for k in (6, 10)]
    assert fetched == wanted


def test_a_4k_directory_lies_within_the_first_guess_and_a_larger_one_says_what_it_needs():
    assert header_length(2160, 3840, 3) <= HEADER_GUESS_BYTES
    data = encode_tiff(np.zeros((TILE_PX * 17, TILE_PX * 17), np.uint8))
    with pytest.raises(NeedMoreBytes) as need:
        parse_header(data[:HEADER_GUESS_BYTES], len(data))
    assert parse_header(data[: need.value.length], len(data)).width == TILE_PX * 17


def test_two_writes_give_identical_bytes():
    image = noise((300, 400, 3), np.uint8)
    assert encode_tiff(image) == encode_tiff(image.copy())


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8)],
)
def test_what_cannot_be_stored_is_refused(image):
    with pytest.raises(TiffError, match="cannot store"):
        encode_tiff(image)


def damaged_copies(data, seed, count):
    """Copies of `data` with a bit flipped (half of them in the header), cut short, lengthened or overwritten."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        copy = bytearray(data)
        kind = k % 6
        if kind < 3:
            copy[int(rng.integers(300 if kind < 2 else len(copy)))] ^= 1 << int(rng.integers(8))
        elif kind == 3:
            copy = copy[: int(rng.integers(len(copy)))]
        elif kind == 4:
            copy += bytes(int(rng.integers(1, 50)))
        else:
            at = int(rng.integers(len(copy) - 8))
            copy[at : at + 8] = rng.bytes(8)
        yield bytes(copy)


@pytest.mark.parametrize("shape", [(300, 517, 3), (90, 90), (520, 300)])
def test_damaged_bytes_give_one_kind_of_error_or_an_image_of_a_possible_size_and_little_memory(shape, peak_bytes):
    data = encode_tiff(noise(shape, np.uint8))
    honest = 3 * int(np.prod(shape)) + 4_000_000
    errors = 0
    for copy in damaged_copies(data, seed=3, count=600):
        with peak_bytes() as peak:
            try:
                assert decode_tiff(copy).ndim in (2, 3)
            except TiffError:
                errors += 1
        assert peak() < honest
    assert errors > 300


@pytest.mark.parametrize("field", range(13))
@pytest.mark.parametrize("value", [0, 1, 255, 65535, 2**31 - 1, 2**32 - 1])
def test_a_header_that_lies_is_an_error_before_memory_is_taken(field, value, peak_bytes):
    image = noise((300, 517, 3), np.uint8)
    data = bytearray(encode_tiff(image))
    at = 10 + 12 * field + 8
    before = bytes(data[at : at + 4])
    data[at : at + 4] = value.to_bytes(4, "little")
    if bytes(data[at : at + 4]) == before:  # no lie: this is the true value
        np.testing.assert_array_equal(decode_tiff(data), image)
        return
    with peak_bytes() as peak, pytest.raises(TiffError):
        decode_tiff(data)
    assert peak() < 200_000


def test_tile_offsets_and_counts_that_lie_are_errors():
    data = encode_tiff(noise((600, 600), np.uint8))
    start = header_length(600, 600, 1) - 2 * 4 * 9
    for entry in range(18):
        for value in (0, 1, 2**32 - 1):
            copy = bytearray(data)
            copy[start + 4 * entry : start + 4 * entry + 4] = value.to_bytes(4, "little")
            with pytest.raises(TiffError):
                decode_tiff(bytes(copy))


@pytest.mark.parametrize("data", [b"", b"II*\0", b"MM\0*" + bytes(400), b"\x89PNG\r\n\x1a\n" + bytes(400), bytes(2000)])
def test_what_is_no_tiff_of_ours_is_an_error(data):
    with pytest.raises(TiffError):
        decode_tiff(data)
