"""`mattingmfif blur`: a photograph and its depth map become a photograph at another focus, with its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from mattingmfif.cli.lens import Length
from mattingmfif.errors import UserError
from mattingmfif.optics import Aperture, ThinLens, refocus
from mattingmfif.photo.images import read_image, write_image
from mattingmfif.scene.blur_photo import DepthFile, Refocusing, blur_photo

H, W = 60, 80
LENS = ThinLens(50.0, 0.4, 36.0)  # a small picture needs a wide lens to blur by pixels


@pytest.fixture
def codes() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (H, W, 3), np.uint8)


@pytest.fixture
def depth_file(tmp_path: Path) -> Path:
    depth = np.full((H, W), 4.0, np.float32)
    depth[20:50, 20:60] = 1.5
    depth[0, 0] = np.nan
    np.save(tmp_path / "depth.npy", depth)
    return tmp_path / "depth.npy"


def test_the_frame_is_that_of_refocus_and_the_blur_is_told_first(
    codes: np.ndarray, depth_file: Path, tmp_path: Path
) -> None:
    Image.fromarray(codes).save(tmp_path / "in.png")
    lines: list[str] = []
    wanted = Refocusing(lens=LENS, focus_distance_m=1.5)
    blur_photo(tmp_path / "in.png", DepthFile(path=depth_file), wanted, tmp_path / "out.png", say=lines.append)
    out = np.asarray(Image.open(tmp_path / "out.png"))
    np.testing.assert_array_equal(out, refocus(codes, np.load(depth_file), LENS, 1.5))
    assert not np.array_equal(out[:10], codes[:10])
    np.testing.assert_array_equal(out[26:44, 26:54], codes[26:44, 26:54])
    radius = LENS.blur_radius_px(4.0, 1.5, W)
    assert f"{radius:+.1f} px at 4 m" in lines[-1]
    assert "0.0 px at 1.5 m" in lines[-1]
    assert "unknown" in lines[0]


def test_focusing_at_a_pixel_takes_its_distance_and_portraits_have_the_sensor_turned(
    codes: np.ndarray, depth_file: Path, tmp_path: Path
) -> None:
    Image.fromarray(codes.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    np.save(tmp_path / "tall.npy", np.load(depth_file).T)
    depth = DepthFile(path=tmp_path / "tall.npy")
    blur_photo(tmp_path / "tall.png", depth, Refocusing(lens=LENS, focus_at=(30, 40)), tmp_path / "a.png")
    expected = refocus(codes, np.load(depth_file), LENS, 1.5).transpose(1, 0, 2).astype(int)
    assert np.abs(np.asarray(Image.open(tmp_path / "a.png")) - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_profile_and_exif_travel_with_the_picture(
    suffix: str, codes: np.ndarray, depth_file: Path, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8825)[1] = "N"  # GPS stays in a person's own photo
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(codes).save(tmp_path / f"in{suffix}", exif=exif, icc_profile=profile)
    wanted = Refocusing(lens=LENS, focus_distance_m=2.0)
    for strip in (False, True):
        out = tmp_path / f"out{strip}{suffix}"
        blur_photo(tmp_path / f"in{suffix}", DepthFile(path=depth_file), wanted, out, strip_metadata=strip)
        with Image.open(out) as picture:
            assert (picture.getexif().get(0x010F) == "Maker") is not strip
            if suffix != ".tif":  # Pillow writes none into the TIFF above
                assert bool(picture.getexif().get_ifd(0x8825)) is not strip
            assert strip or picture.info["icc_profile"] == profile


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_stay_sixteen(suffix: str, codes: np.ndarray, depth_file: Path, tmp_path: Path) -> None:
    linear = np.random.default_rng(2).random((H, W, 3)).astype(np.float32)
    write_image(tmp_path / f"in{suffix}", linear, bits=16)
    blur_photo(
        tmp_path / f"in{suffix}",
        DepthFile(path=depth_file),
        Refocusing(lens=LENS, focus_distance_m=1.5),
        tmp_path / f"out{suffix}",
    )
    before, after = (read_image(tmp_path / f"{name}{suffix}") for name in ("in", "out"))
    assert after.bits == 16
    np.testing.assert_array_equal(after.linear[26:44, 26:54], before.linear[26:44, 26:54])
    assert len(np.unique(after.linear)) > 256


def test_a_sweep_is_an_animation_from_near_to_far_and_back(
    codes: np.ndarray, depth_file: Path, tmp_path: Path, mattingmfif: Any
) -> None:
    Image.fromarray(codes).save(tmp_path / "in.png")
    words = ("blur", tmp_path / "in.png", "--depth", depth_file, "--f-number", 0.4, "--quality", "fast")
    for name in ("sweep.webp", "sweep.gif"):
        done = mattingmfif(*words, "--sweep", 3, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / name) as picture:
            assert picture.n_frames == 4
            shots = []
            for k in range(3):
                picture.seek(k)
                shots.append(np.asarray(picture.convert("RGB"), float))
        card = (slice(30, 40), slice(30, 50))
        assert np.abs(np.diff(shots[0][card], axis=1)).mean() > 2 * np.abs(np.diff(shots[2][card], axis=1)).mean()
        assert np.abs(np.diff(shots[2][52:], axis=1)).mean() > 2 * np.abs(np.diff(shots[0][52:], axis=1)).mean()


def test_the_command_says_what_it_does_and_errors_are_one_line(
    codes: np.ndarray, depth_file: Path, tmp_path: Path, mattingmfif: Any
) -> None:
    photo = tmp_path / "in.png"
    Image.fromarray(codes).save(photo)
    lens = ("--f-number", "0.5", "--focal-length", "50mm", "--blades", "6", "--roundness", "0.3")
    done = mattingmfif("blur", photo, "--depth", depth_file, "--focus", "150cm", *lens, "-o", tmp_path / "o.png")
    assert done.returncode == 0, done.stderr
    assert "focus 1.5 m; blur radius" in done.stdout
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    for words, rc, line in (
        (("--depth", tmp_path / "objects.npy", "--focus", "1m"), 2, "depth-unreadable"),
        (("--depth", depth_file, "--focus", "1m", "--focus-at", "3,4"), 2, "give one of"),
    ):
        done = mattingmfif("blur", photo, *words, "-o", tmp_path / "x.png")
        assert done.returncode == rc
        assert line in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.png").exists()


def test_what_cannot_work_is_refused_before_the_work(codes: np.ndarray, depth_file: Path, tmp_path: Path) -> None:
    photo, out = tmp_path / "in.png", tmp_path / "o.png"
    Image.fromarray(codes).save(photo)
    Image.fromarray(codes[:40]).save(tmp_path / "small.png")
    depth = DepthFile(path=depth_file)
    focused = Refocusing(lens=LENS, focus_distance_m=1.5)
    macro = Refocusing(lens=ThinLens(50, 0.01, 36), focus_distance_m=2.0)
    for source, map_, wanted, output, message in (
        (tmp_path / "none.png", depth, focused, out, "no such file"),
        (photo, DepthFile(path=tmp_path / "none.npy"), focused, out, "no such file"),
        (tmp_path / "small.png", depth, focused, out, "depth-size"),
        (photo, depth, focused, photo, "would overwrite"),
        (photo, depth, focused, tmp_path / "o.bmp", r"use \.png"),
        (photo, depth, focused, photo / "o.png", "Not a directory|File exists"),
        (photo, depth, Refocusing(lens=LENS, focus_at=(80, 0)), out, "outside of the photo"),
        (photo, depth, Refocusing(lens=LENS), out, "either a distance or a pixel"),
        (photo, depth, Refocusing(lens=LENS, focus_distance_m=0.04), out, "focal length"),
        (photo, depth, macro, out, "unit of the depth map"),
        (photo, DepthFile(path=depth_file, kind="disparity", near_m=3.0, far_m=1.0), focused, out, "near"),
    ):
        with pytest.raises(UserError, match=message):
            blur_photo(source, map_, wanted, output)
        assert not out.exists()


def test_disparity_is_laid_between_near_and_far(codes: np.ndarray, depth_file: Path, tmp_path: Path) -> None:
    Image.fromarray(codes).save(tmp_path / "in.png")
    np.save(tmp_path / "disparity.npy", 1.0 / np.load(depth_file))
    lens = ThinLens(50.0, 0.5, 36.0, Aperture(blades=5))
    outputs = []
    for depth in (
        DepthFile(path=depth_file),
        DepthFile(path=tmp_path / "disparity.npy", kind="disparity", near_m=1.5, far_m=4.0),
    ):
        out = tmp_path / f"{depth.kind}.png"
        blur_photo(tmp_path / "in.png", depth, Refocusing(lens=lens, focus_distance_m=2.0), out)
        outputs.append(np.asarray(Image.open(out)).astype(int))
    assert np.abs(outputs[0] - outputs[1]).max() <= 1


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [("1.8m", "m", 1.8), ("40 cm", "m", 0.4), ("2", "m", 2.0), ("inf", "m", np.inf), ("50mm", "mm", 50.0),
     ("35", "mm", 35.0), ("0.05m", "mm", 50.0)],
)  # fmt: skip
def test_lengths_are_read_with_their_units(text: str, unit: str, value: float) -> None:
    assert Length(unit).convert(text, None, None) == pytest.approx(value)
