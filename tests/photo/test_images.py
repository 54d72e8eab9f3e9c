import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mattingmfif.errors import REASONS, Refused, UserError
from mattingmfif.photo.images import open_photo, read_image, write_image
from mattingmfif.pixels.colour import decode_srgb, encode_srgb

RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
FINE = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)


def _refused(folder, name, **options):
    with pytest.raises(Refused) as caught:
        open_photo(folder, name, **options)
    assert caught.value.reason in REASONS
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_eight_bit_pixels_come_back_as_linear_light(tmp_path, name):
    Image.fromarray(CODES).save(tmp_path / name, lossless=True)
    photo = open_photo(tmp_path, name)
    assert photo.bits == 8
    assert np.array_equal(photo.linear, decode_srgb(CODES))
    assert len(photo.sha256) == 64


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_sixteen_bit_pixels_keep_sixteen_bits(tmp_path, name):
    assert cv2.imwrite(str(tmp_path / name), FINE[..., ::-1])
    photo = open_photo(tmp_path, name)
    assert photo.bits == 16
    assert np.array_equal(photo.linear, decode_srgb(FINE))


def test_sixteen_bit_grey_becomes_three_equal_channels(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), FINE[..., 0])
    photo = open_photo(tmp_path, "a.png")
    assert np.array_equal(photo.linear[..., 2], decode_srgb(FINE[..., 0]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_turn_is_undone_like_pillow_does(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(CODES).save(tmp_path / "a.png", exif=exif)
    cv2.imwrite(str(tmp_path / "b.png"), FINE[..., ::-1])
    stored = Image.open(io.BytesIO((tmp_path / "a.png").read_bytes()))
    from PIL import ImageOps

    upright = np.asarray(ImageOps.exif_transpose(stored))
    assert np.array_equal(encode_srgb(open_photo(tmp_path, "a.png").linear), upright)
    from mattingmfif.photo.decode import _turn

    assert np.array_equal(_turn(CODES, orientation), upright)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA"])
def test_other_kinds_of_opaque_pixels_become_rgb(tmp_path, mode):
    image = Image.fromarray(CODES).convert(mode)
    image.save(tmp_path / "a.png")
    expected = decode_srgb(np.asarray(image.convert("RGB")))
    assert np.array_equal(open_photo(tmp_path, "a.png").linear, expected)


def test_transparent_pixels_are_refused_at_8_and_16_bit_and_in_palettes(tmp_path):
    rgba = np.dstack([CODES, np.full((20, 30), 255, np.uint8)])
    rgba[3, 3, 3] = 100
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert _refused(tmp_path, "a.png") == "transparent"
    cv2.imwrite(str(tmp_path / "b.png"), rgba.astype(np.uint16) * 257)
    assert _refused(tmp_path, "b.png") == "transparent"
    palette = Image.fromarray(CODES).convert("P")
    palette.save(tmp_path / "c.png", transparency=int(np.asarray(palette)[0, 0]))
    assert _refused(tmp_path, "c.png") == "transparent"


def test_opaque_sixteen_bit_alpha_is_dropped(tmp_path):
    rgba = np.dstack([FINE[..., ::-1], np.full((20, 30), 65535, np.uint16)])
    cv2.imwrite(str(tmp_path / "a.png"), rgba)
    assert np.array_equal(open_photo(tmp_path, "a.png").linear, decode_srgb(FINE))


def test_cmyk_needs_a_profile(tmp_path):
    Image.fromarray(CODES).convert("CMYK").save(tmp_path / "a.jpg")
    assert _refused(tmp_path, "a.jpg") == "cmyk-without-profile"
    Image.fromarray(CODES).convert("CMYK").save(tmp_path / "b.jpg", icc_profile=b"nonsense" * 30)
    assert _refused(tmp_path, "b.jpg") == "unsupported-profile"


def test_a_wide_gamut_profile_is_applied_at_8_and_16_bit_alike(tmp_path, make_profile):
    profile = make_profile(name="wide")
    Image.fromarray(CODES).save(tmp_path / "a.png", icc_profile=profile)
    from mattingmfif.photo.png_chunks import with_metadata

    _, buffer = cv2.imencode(".png", CODES[..., ::-1].astype(np.uint16) * 257)
    (tmp_path / "b.png").write_bytes(with_metadata(buffer.tobytes(), profile, b""))
    eight, sixteen = open_photo(tmp_path, "a.png"), open_photo(tmp_path, "b.png")
    assert eight.icc_name == sixteen.icc_name == "wide"
    assert (eight.bits, sixteen.bits) == (8, 16)
    assert np.abs(eight.linear - sixteen.linear).max() < 1e-5
    assert np.abs(eight.linear - decode_srgb(CODES)).max() > 0.02


def test_a_damaged_profile_is_refused(tmp_path, make_profile):
    Image.fromarray(CODES).save(tmp_path / "a.png", icc_profile=make_profile()[:200])
    assert _refused(tmp_path, "a.png") == "unsupported-profile"


def test_a_grey_profile_on_a_grey_picture(tmp_path, make_profile):
    grey = Image.fromarray(CODES[..., 0])
    grey.save(tmp_path / "a.png", icc_profile=make_profile(space=b"GRAY", gamma=2.0))
    expected = (CODES[..., 0] / 255.0) ** 2
    assert np.abs(open_photo(tmp_path, "a.png").linear[..., 1] - expected).max() < 1e-3


def test_files_that_are_no_photographs_each_have_their_reason(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (200, 300, 3), dtype=np.uint8)).save(whole, "JPEG")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "png.jpg").write_bytes(_png())
    (tmp_path / "torn.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (tmp_path / "torn.png").write_bytes(_png()[:800])
    Image.fromarray(CODES).save(tmp_path / "moving.webp", save_all=True, append_images=[Image.fromarray(255 - CODES)])
    Image.fromarray(CODES[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    assert _refused(tmp_path, "empty.jpg") == "empty-file"
    assert _refused(tmp_path, "text.jpg") == "not-an-image"
    with pytest.raises(Refused) as caught:
        open_photo(tmp_path, "text.jpg")
    assert "0x" not in caught.value.detail  # an address in memory would differ from build to build
    assert _refused(tmp_path, "png.jpg") == "wrong-suffix"
    assert _refused(tmp_path, "torn.jpg") == "damaged"
    assert _refused(tmp_path, "torn.png") == "damaged"
    assert _refused(tmp_path, "moving.webp") == "several-frames"
    assert _refused(tmp_path, "float.tif") == "unsupported-pixels"
    assert _refused(tmp_path, "missing.jpg") == "source-missing"
    assert _refused(tmp_path, "bad\udcff.jpg") == "bad-name"
    (tmp_path / "folder.jpg").mkdir()
    assert _refused(tmp_path, "folder.jpg") == "unreadable"


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (40000, 30000)).save(tmp_path / "bomb.png")
    assert _refused(tmp_path, "bomb.png") == "too-many-pixels"
    Image.fromarray(CODES).save(tmp_path / "a.png")
    assert _refused(tmp_path, "a.png", max_pixels=599) == "too-many-pixels"
    assert open_photo(tmp_path, "a.png", max_pixels=600).linear.shape == (20, 30, 3)


def test_damaged_files_are_refused_and_never_crash(tmp_path):
    rng = np.random.default_rng(5)
    for suffix in ("jpg", "png", "tif", "webp"):  # what decoders raise is of every type
        stream = io.BytesIO()
        Image.fromarray(CODES).save(stream, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
        good = stream.getvalue()
        for k in range(25):
            damaged = bytearray(good)
            for position in rng.integers(0, len(good), 6):
                damaged[position] = rng.integers(0, 256)
            (tmp_path / f"{k}.{suffix}").write_bytes(damaged)
            try:  # Refused knows documented reasons only; anything else fails the test
                photo = open_photo(tmp_path, f"{k}.{suffix}", max_pixels=10**6)
            except Refused:
                continue
            assert np.isfinite(photo.linear).all()


def test_only_harmless_metadata_travels_on(tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0xA431] = "Maker\x00", "Model X", "serial 123"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    details = exif.get_ifd(0x8769)
    details[0x829D], details[0x8827], details[0xA430] = 2.8, 400, "Jane Doe"
    Image.fromarray(CODES).save(tmp_path / "a.jpg", exif=exif)
    metadata = open_photo(tmp_path, "a.jpg").metadata
    assert metadata == {"make": "Maker", "model": "Model X", "f_number": 2.8, "iso": 400.0}
    assert open_photo(tmp_path, "a.jpg").jpeg


@pytest.mark.parametrize(("name", "bits"), [("a.png", 8), ("a.png", 16), ("a.tif", 8), ("a.tif", 16), ("a.webp", 8)])
def test_an_edited_picture_is_written_in_its_own_depth_and_primaries(tmp_path, make_profile, name, bits):
    profile = make_profile(name="wide")
    Image.fromarray(CODES).save(tmp_path / "in.png", icc_profile=profile)
    source = read_image(tmp_path / "in.png")
    write_image(tmp_path / name, source.linear, like=source, bits=bits)
    if bits == 8:
        again = read_image(tmp_path / name)
        assert np.array_equal(np.asarray(Image.open(tmp_path / name).convert("RGB")), CODES)
        assert again.icc_profile == profile
    else:
        raw = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)[..., ::-1]
        assert raw.dtype == np.uint16
        assert np.abs(raw.astype(int) - CODES.astype(int) * 257).max() <= 1


def test_exif_is_kept_upright_and_dropped_when_asked(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "Model X"
    Image.fromarray(CODES).save(tmp_path / "in.jpg", exif=exif, quality=100, subsampling=0)
    source = read_image(tmp_path / "in.jpg")
    assert source.linear.shape == (30, 20, 3)
    write_image(tmp_path / "kept.jpg", source.linear, like=source)
    write_image(tmp_path / "bare.jpg", source.linear, like=source, strip_metadata=True)
    write_image(tmp_path / "fine.png", source.linear, like=source, bits=16)
    kept = Image.open(tmp_path / "kept.jpg").getexif()
    assert (kept[0x0112], kept[0x0110]) == (1, "Model X")
    assert not Image.open(tmp_path / "bare.jpg").getexif()
    assert Image.open(tmp_path / "fine.png").getexif()[0x0110] == "Model X"


def test_a_picture_may_have_the_longest_name_there_is(tmp_path):
    path = tmp_path / ("x" * 251 + ".png")
    write_image(path, np.zeros((4, 5, 3), np.float32))
    assert read_image(path).linear.shape == (4, 5, 3)
    assert list(tmp_path.iterdir()) == [path]


def test_a_grey_picture_stays_grey(tmp_path):
    Image.fromarray(CODES[..., 0]).save(tmp_path / "in.png")
    source = read_image(tmp_path / "in.png")
    write_image(tmp_path / "out.png", source.linear, like=source)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), CODES[..., 0])


def test_reading_and_writing_fail_with_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UserError, match=r"use \.png"):
        write_image(tmp_path / "a.gif", np.zeros((4, 4, 3), np.float32))
    with pytest.raises(UserError, match="cannot be written"):
        write_image(tmp_path / "no" / "a.png", np.zeros((4, 4, 3), np.float32))


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_beside_it(tmp_path, monkeypatch):
    old = np.zeros((4, 4, 3), np.float32)
    (tmp_path / "real").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "real" / "a.png")
    write_image(tmp_path / "link.png", old)  # a link stays one
    before = (tmp_path / "real" / "a.png").read_bytes()

    def full(path, content):
        with path.open("wb") as stream:
            stream.write(content[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match="No space left on device") as caught:
            write_image(tmp_path / "link.png", old + 1)
    assert caught.value.exit_code == 3
    assert (tmp_path / "real" / "a.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.png", "link.png", "real"]


def test_a_picture_that_a_format_cannot_hold_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"a.webp: cannot be written"):
        write_image(tmp_path / "a.webp", np.zeros((1, 16384, 3), np.float32))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = b"x" * 70000
    Image.fromarray(CODES).save(tmp_path / "in.png", exif=exif.tobytes())
    with pytest.raises(UserError, match=r"a.jpg: cannot be written: EXIF data is too long"):
        write_image(tmp_path / "a.jpg", np.zeros((4, 4, 3), np.float32), like=read_image(tmp_path / "in.png"))


def test_a_photo_is_reduced_in_linear_light_and_never_enlarged(tmp_path):
    checker = np.zeros((64, 64, 3), np.uint8)
    checker[::2, ::2] = checker[1::2, 1::2] = 255
    Image.fromarray(checker).save(tmp_path / "a.png")
    photo = open_photo(tmp_path, "a.png")
    assert photo.reduced(32) == pytest.approx(0.5)
    assert photo.reduced(500).shape == (64, 64, 3)


def _png():
    stream = io.BytesIO()
    Image.fromarray(CODES).save(stream, "PNG")
    return stream.getvalue()


def test_a_profile_that_the_decoder_dislikes_is_not_printed(tmp_path, capfd):
    from PIL import ImageCms

    from mattingmfif.matting.sidecars import read_user_input
    from mattingmfif.photo.depth_files import read_numbers
    from mattingmfif.photo.png_chunks import with_metadata, without_metadata

    codes = np.random.default_rng(0).integers(0, 65535, (40, 60)).astype(np.uint16)
    plain = cv2.imencode(".png", codes)[1].tobytes()
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[64:68] = b"\x01\x00\x00\x00"  # the rendering intent
    content = with_metadata(plain, bytes(profile), b"")
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    assert "libpng warning" in capfd.readouterr().err  # so it is when nothing is done
    for name in ("a.alpha.png", "a.depth.png"):
        (tmp_path / name).write_bytes(content)
    colour = cv2.imencode(".png", np.repeat(codes[..., None], 3, axis=2))[1].tobytes()
    (tmp_path / "a.png").write_bytes(with_metadata(colour, bytes(profile), b""))
    assert open_photo(tmp_path, "a.png").bits == 16
    assert np.array_equal(read_numbers(tmp_path / "a.depth.png"), codes)
    assert read_user_input(tmp_path, "a.png", (40, 60)).alphas[0].shape == (40, 60)
    assert capfd.readouterr().err == ""
    for broken in (b"", plain[:7], plain[:30], plain[:-20], b"\xff\xd8 no PNG"):
        assert without_metadata(broken) == broken
