import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from mattingmfif.photo.icc import ProfileError, parse_profile, profile_space
from mattingmfif.pixels.colour import decode_srgb, encode_srgb


def _all_codes():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)


def test_littlecms_comes_to_the_same_colours(make_profile):
    profile = make_profile(gamma=2.2)
    codes = _all_codes() // 2 + 64  # away from the border of sRGB's gamut, where both clip in their own way
    ours = parse_profile(profile)
    mine = encode_srgb(ours.to_srgb_primaries(ours.decode(codes)))
    theirs = ImageCms.profileToProfile(
        Image.fromarray(codes),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert np.abs(mine.astype(int) - np.asarray(theirs).astype(int)).max() <= 2


def test_littlecms_own_srgb_profile_is_recognised_by_its_numbers():
    profile = parse_profile(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert profile.is_srgb
    codes = _all_codes()
    assert np.abs(profile.decode(codes) - decode_srgb(codes)).max() < 1e-3


def test_a_profile_named_srgb_with_other_numbers_is_not_believed(make_profile):
    assert not parse_profile(make_profile(name="sRGB")).is_srgb


def test_decoding_and_encoding_are_inverse_for_8_and_16_bit(make_profile):
    profile = parse_profile(make_profile(gamma=1.8))
    codes = _all_codes()
    assert np.array_equal(profile.encode(profile.decode(codes), 8), codes)
    fine = np.arange(2000, 65536, 7, dtype=np.uint16).repeat(3).reshape(1, -1, 3)
    assert np.abs(profile.encode(profile.decode(fine), 16).astype(int) - fine).max() <= 1


def test_a_table_of_light_is_read_like_the_gamma_it_was_made_from(make_profile):
    table = np.round((np.arange(1024) / 1023) ** 2.2 * 65535)
    codes = _all_codes()
    from_table = parse_profile(make_profile(table=table)).decode(codes)
    assert np.abs(from_table - parse_profile(make_profile(gamma=2.19921875)).decode(codes)).max() < 1e-3


def test_white_stays_white(make_profile):
    profile = parse_profile(make_profile())
    white = profile.to_srgb_primaries(profile.decode(np.full((1, 1, 3), 255, np.uint8)))
    assert np.abs(white - 1).max() < 2e-3


def test_a_grey_profile_has_one_curve(make_profile):
    profile = parse_profile(make_profile(space=b"GRAY", gamma=2.0))
    codes = np.array([[0, 128, 255]], np.uint8)
    assert profile.decode(codes)[0] == pytest.approx([0, (128 / 255) ** 2, 1], abs=1e-4)


@pytest.mark.parametrize("cut", [0, 50, 131, 140, 200, 400])
def test_a_torn_profile_is_an_error_and_never_a_crash(make_profile, cut):
    with pytest.raises(ProfileError):
        parse_profile(make_profile()[:cut])


def test_random_damage_never_escapes(make_profile):
    rng = np.random.default_rng(1)
    good = make_profile()
    for _ in range(200):
        damaged = bytearray(good)
        for position in rng.integers(0, len(good), 8):
            damaged[position] = rng.integers(0, 256)
        try:
            profile = parse_profile(bytes(damaged))
        except ProfileError:
            continue
        assert np.isfinite(profile.decode(np.zeros((1, 1, 3), np.uint8))).all() or profile.curves is not None


def test_the_space_of_a_profile_is_named(make_profile):
    assert profile_space(make_profile()) == "RGB"
    with pytest.raises(ProfileError):
        profile_space(b"no profile")
