"""TIFF files written here are read by others: pixels of 8 and 16 bits, profile, and the whole EXIF of a camera."""

import io
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from mattingmfif.errors import UserError
from mattingmfif.photo.images import read_image, write_image
from mattingmfif.photo.tiff_file import tiff_bytes


def _camera_exif(endian="<"):
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0112] = "Maker", 1
    details = exif.get_ifd(0x8769)
    details[0x829D], details[0x9003], details[0x927C] = 2.8, "2026:01:01 00:00:00", b"maker\0note" * 9
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return exif.tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1, 3), (301, 129, 3)])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_others_read_pixels_profile_and_exif(make_profile, dtype, shape, endian):
    codes = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    content = tiff_bytes(codes, make_profile(), _camera_exif(endian))
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found.dtype == dtype
    assert np.array_equal(found if codes.ndim == 2 else found[..., ::-1], codes)
    tifffile = pytest.importorskip("tifffile", reason="tifffile reads the file a second time (extra `test`)")
    assert np.array_equal(tifffile.imread(io.BytesIO(content)), codes)
    picture = Image.open(io.BytesIO(content))
    if dtype is np.uint8:
        assert np.array_equal(np.asarray(picture), codes)
    exif = picture.getexif()
    assert picture.info["icc_profile"] == make_profile()
    assert exif[0x010F] == "Maker"
    assert exif.get_ifd(0x8769)[0x829D] == pytest.approx(2.8)
    assert exif.get_ifd(0x8769)[0x927C] == b"maker\0note" * 9
    assert exif.get_ifd(0x8825)[2] == (52.0, 31.0, 12.0)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_cameras_picture_keeps_colours_and_exif_in_every_format(tmp_path, make_profile, suffix, bits):
    codes = np.random.default_rng(1).integers(0, 256, (24, 31, 3)).astype(np.uint8)
    Image.fromarray(codes).save(tmp_path / "in.jpg", exif=_camera_exif(), icc_profile=make_profile(), quality=97)
    source = read_image(tmp_path / "in.jpg")
    write_image(tmp_path / f"out{suffix}", source.linear, like=source, bits=bits)
    write_image(tmp_path / "again.tif", source.linear, like=read_image(tmp_path / f"out{suffix}"), bits=bits)
    for name in (f"out{suffix}", "again.tif"):
        again = read_image(tmp_path / name)
        assert again.icc_profile == source.icc_profile
        assert np.abs(again.linear - source.linear).max() < (0.5 if suffix == ".jpg" and name != "again.tif" else 0.01)
        exif = Image.open(tmp_path / name).getexif()
        assert exif.get_ifd(0x8769)[0x9003] == "2026:01:01 00:00:00"
        assert exif[0x010F] == "Maker"
        if suffix != ".tif" and name != "again.tif":
            assert not {256, 259, 273, 279} & set(exif)  # nothing of how a TIFF file's pixels lie
    bare = tmp_path / f"bare{suffix}"
    write_image(bare, source.linear, like=source, bits=bits, strip_metadata=True)
    assert 0x010F not in Image.open(bare).getexif()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_the_exif_of_a_bigtiff_travels_on(tmp_path, suffix):
    tifffile = pytest.importorskip("tifffile", reason="tifffile writes the BigTIFF (extra `test`)")
    codes = np.random.default_rng(2).integers(0, 65536, (24, 31, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", codes, bigtiff=True, photometric="rgb", description="of long files")
    source = read_image(tmp_path / "in.tif")
    write_image(tmp_path / f"out{suffix}", source.linear, like=source)
    assert read_image(tmp_path / f"out{suffix}").linear.shape == codes.shape
    assert Image.open(tmp_path / f"out{suffix}").getexif()[0x010E] == "of long files"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("shape", [(24, 31), (24, 31, 3)])
def test_a_turned_tiff_of_16_bits_is_upright_as_one_of_8(tmp_path, orientation, endian, shape):
    codes = np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)
    exif = Image.Exif()
    exif.endian, exif[0x0112] = endian, orientation
    (tmp_path / "8.tif").write_bytes(tiff_bytes(codes, exif=exif.tobytes()))
    (tmp_path / "16.tif").write_bytes(tiff_bytes(codes.astype(np.uint16) * 257, exif=exif.tobytes()))
    shallow, deep = read_image(tmp_path / "8.tif"), read_image(tmp_path / "16.tif")
    assert (shallow.bits, deep.bits) == (8, 16)
    assert shallow.linear.shape[:2] == (shape[:2] if orientation < 5 else shape[1::-1])
    assert np.allclose(deep.linear, shallow.linear, atol=1e-5)


def test_of_a_tiff_of_16_bits_white_may_be_0_and_colours_lie_together(tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="tifffile writes such files (extra `test`)")
    codes = np.random.default_rng(4).integers(0, 65536, (3, 24, 31)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "black.tif", codes[0], photometric="minisblack")
    tifffile.imwrite(tmp_path / "white.tif", 65535 - codes[0], photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "white.tif").linear, read_image(tmp_path / "black.tif").linear)
    tifffile.imwrite(tmp_path / "planes.tif", codes, photometric="rgb", planarconfig="separate")
    with pytest.raises(UserError, match="one colour after the other"):
        read_image(tmp_path / "planes.tif")


def test_damaged_exif_is_left_out_without_a_word_and_the_pixels_stay(tmp_path):
    exif, stream = _camera_exif(), io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(stream, "JPEG", exif=exif)
    whole, rng = stream.getvalue(), np.random.default_rng(5)
    first = whole.index(b"Exif\0\0") + 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(100):
            damaged = bytearray(whole)
            for at in rng.integers(first, first + len(exif) - 6, 8):
                damaged[at] = rng.integers(256)
            (tmp_path / "in.jpg").write_bytes(damaged)
            try:
                source = read_image(tmp_path / "in.jpg")
            except UserError:
                continue  # no EXIF block any more, and no JPEG that can be read
            write_image(tmp_path / "out.tif", source.linear, like=source)
            assert cv2.imread(str(tmp_path / "out.tif")).max() == 0
