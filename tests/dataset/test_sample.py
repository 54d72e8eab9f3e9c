"""The record of a sample: hashes, depth codes, and records that cannot be."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from mattingmfif.dataset.sample import SourceRecord, decode_depth, encode_depth, pixel_sha256


def test_the_pixel_hash_is_over_type_shape_and_little_endian_pixels_by_hand():
    image = np.array([[1, 2, 258]], np.uint16)
    assert pixel_sha256(image) == hashlib.sha256(b"uint16 1x3\n" + bytes([1, 0, 2, 0, 2, 1])).hexdigest()


def test_the_pixel_hash_depends_on_shape_and_type_and_not_on_layout():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert pixel_sha256(image) != pixel_sha256(image.reshape(4, 2, 3))
    assert pixel_sha256(image) != pixel_sha256(image.astype(np.uint16))
    assert pixel_sha256(np.asfortranarray(image)) == pixel_sha256(image)
    assert pixel_sha256(image.astype(">u2")) == pixel_sha256(image.astype("<u2"))


def test_two_distances_are_stored_exactly_also_when_one_is_infinite():
    for pair in ([0.7, 3.3], [1.5, np.inf], [2.0, 2.0]):
        depth = np.array([pair, pair[::-1]], np.float32)
        np.testing.assert_array_equal(decode_depth(*encode_depth(depth)), depth)


def test_the_rounding_of_depth_is_half_a_step_in_inverse_distance():
    depth = np.random.default_rng(0).uniform(0.3, 50, (200, 200)).astype(np.float32)
    depth[0, 0] = np.inf
    codes, scale, offset = encode_depth(depth)
    assert codes[0, 0] == 0
    assert codes.max() == 65535
    back = decode_depth(codes, scale, offset)
    assert np.isinf(back[0, 0])
    assert np.abs(1 / back.astype(np.float64) - 1 / depth.astype(np.float64)).max() <= 0.51 * scale
    assert scale == pytest.approx(1 / depth.min() / 65535)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_id": "../up"}, "sample_id"),
        ({"sample_id": ""}, "sample_id"),
        ({"sample_id": "A"}, "sample_id"),
        ({"split": "a/b"}, "split"),
        ({"frames": []}, "frames: 0; allowed: 2 to 7"),
        ({"focus_distance_m": [1.0]}, "one a frame"),
        ({"focus_distance_m": [1.0, 0.04]}, "within f"),
        ({"frame_trust": []}, "one a frame"),
        ({"layers": []}, "layers: 0 for 1"),
        ({"trust": np.zeros((3, 3), np.uint8)}, "trust: uint8"),
        ({"sharpest_frame": np.zeros((96, 129), np.int64)}, "sharpest_frame: int64"),
        ({"depth_m": np.zeros((96, 129), np.float32)}, "depth_m: not above 0"),
        ({"depth_m": np.full((96, 129), np.nan, np.float32)}, "depth_m: not above 0"),
        ({"all_in_focus": np.zeros((96, 129, 3), np.float32)}, "all_in_focus: float32"),
        ({"sources": [SourceRecord(path="a", sha256="0")]}, "64 hex"),
        ({"sources": []}, "layer 'cutout': source 0"),
    ],
)
def test_a_record_that_cannot_be_says_which_part(make_record, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make_record(), **change)


def test_a_camera_is_ideal_only_without_noise_and_faults(make_record):
    camera = make_record().camera
    assert camera.is_ideal
    assert not dataclasses.replace(camera, sensor={"exposure_ev": 0.3}).is_ideal
    assert not dataclasses.replace(camera, lens_options={"breathing": 1.0}).is_ideal
