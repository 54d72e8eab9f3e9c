"""Depth in OpenEXR files: half, float, whole numbers, whichever channel holds it; damage is a reason."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from mattingmfif.cli.group import cli
from mattingmfif.errors import Refused
from mattingmfif.photo import depth_files
from mattingmfif.photo.depth import find_depth, read_depth

OpenEXR = pytest.importorskip("OpenEXR", reason="the extra exr is not installed")
SHAPE = (30, 40)


def write(path, channels, **header):
    kind = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}
    OpenEXR.File(kind, channels).write(str(path))
    return path


def values():
    plane = np.random.default_rng(0).uniform(1, 8, SHAPE).astype(np.float32)
    plane[0, 0], plane[1, 1], plane[2, 2] = np.inf, np.nan, 0
    return plane


@pytest.mark.parametrize("channel", ["Z", "Y", "R", "depth", "ViewLayer.Depth.Z"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint32])
def test_a_channel_of_depth_is_read_as_it_is(tmp_path, channel, dtype):
    plane = np.nan_to_num(values(), posinf=9) if dtype == np.uint32 else values()
    path = write(tmp_path / "d.exr", {channel: plane.astype(dtype)})
    depth = read_depth(path, "metres", None, None, SHAPE)
    stored = plane.astype(dtype).astype(np.float32)  # whole numbers are metres too: only PNG holds millimetres
    known = ~np.isnan(stored) & (stored > 0)
    np.testing.assert_array_equal(depth.distance_m[known], stored[known])
    np.testing.assert_array_equal(depth.trusted, known)
    assert np.isinf(depth.distance_m[0, 0]) == (dtype != np.uint32)


def test_depth_among_colours_is_the_channel_z(tmp_path):
    colours = {name: np.random.default_rng(k).random(SHAPE).astype(np.float32) for k, name in enumerate("RGB")}
    path = write(tmp_path / "d.exr", {**colours, "Z": values()})
    assert np.isinf(read_depth(path, "metres", None, None, SHAPE).distance_m[0, 0])
    with pytest.raises(Refused, match="are colours"):
        read_depth(write(tmp_path / "c.exr", colours), "metres", None, None, SHAPE)
    grey = write(tmp_path / "g.exr", dict.fromkeys("RGB", values()))
    assert np.isinf(read_depth(grey, "metres", None, None, SHAPE).distance_m[0, 0])
    two = write(tmp_path / "t.exr", {"A.Z": values(), "B.Z": values()})
    with pytest.raises(Refused, match="which of them"):
        read_depth(two, "metres", None, None, SHAPE)


def test_a_window_of_data_lies_where_it_belongs_and_the_rest_is_unknown(tmp_path):
    plane = np.arange(1, 101, dtype=np.float32).reshape(10, 10)
    corners = (np.array([5, -3], np.int32), np.array([14, 6], np.int32))
    whole = (np.array([0, 0], np.int32), np.array([39, 29], np.int32))
    path = write(tmp_path / "d.exr", {"Z": plane}, dataWindow=corners, displayWindow=whole)
    depth = read_depth(path, "metres", None, None, SHAPE)
    np.testing.assert_array_equal(depth.distance_m[:7, 5:15], plane[3:])
    assert depth.trusted.sum() == 70


@pytest.mark.parametrize("names", [("Y", "RY", "BY"), ("A",)])
def test_colours_and_lone_alpha_are_no_depth(tmp_path, names):
    path = write(tmp_path / "d.exr", {name: values() for name in names})
    with pytest.raises(Refused, match="channel") as caught:
        read_depth(path, "metres", None, None, SHAPE)
    assert caught.value.reason == "depth-unreadable"


def test_a_damaged_file_is_a_reason_and_the_library_prints_nothing(tmp_path, capfd):
    whole = write(tmp_path / "whole.exr", {"Z": values()}).read_bytes()
    rng = random.Random(5)
    refused = []
    for number in range(120):
        content = bytearray(whole)
        if number % 2:
            content = content[: rng.randrange(len(content))]
        for _ in range(rng.choice([1, 3]) if content else 0):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path = tmp_path / "torn.exr"
        path.write_bytes(content)
        try:
            depth = read_depth(path, "metres", None, None, SHAPE)
        except Refused as refusal:
            refused.append((refusal.reason, refusal.detail))
        else:
            assert (depth.distance_m > 0).all()
    assert len(refused) > 60
    assert all(reason.startswith("depth-") and detail for reason, detail in refused)
    assert capfd.readouterr() == ("", "")


def test_without_the_library_the_reason_names_the_extra(tmp_path, monkeypatch):
    path = write(tmp_path / "d.exr", {"Z": values()})
    monkeypatch.setattr(depth_files, "find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"mattingmfif\[exr\]") as caught:
        read_depth(path, "metres", None, None, SHAPE)
    assert caught.value.reason == "depth-unreadable"


def test_the_file_is_found_beside_the_photo_and_by_blur(tmp_path, small_photos):
    write(tmp_path / "fox.depth.exr", {"Z": values()})
    assert find_depth(tmp_path, "fox.jpg") == tmp_path / "fox.depth.exr"
    plane = np.linspace(1, 4, 64 * 64, dtype=np.float32).reshape(64, 64)  # a quarter of the photo's size
    write(tmp_path / "d.exr", {"Z": plane})
    words = ["blur", small_photos / "astronaut.png", "--depth", tmp_path / "d.exr", "--focus", "2m"]
    done = CliRunner().invoke(cli, [*map(str, words), "-o", str(tmp_path / "out.png")])
    assert done.exit_code == 0, done.output
    assert "64x64 brought to the photo's 256x256" in done.output
    assert "OpenEXR" in sys.modules
