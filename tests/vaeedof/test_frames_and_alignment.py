"""Frames from files and their registration: what is found, refused, evened out, and moved back. Needs no torch."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from mattingmfif.errors import UserError
from mattingmfif.pixels.colour import decode_srgb, encode_srgb
from mattingmfif.vaeedof.align import align_stack, register
from mattingmfif.vaeedof.folders import find_stacks
from mattingmfif.vaeedof.frames import StoredFrames, exposure_gains, find_frames, read_stack


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return decode_srgb(np.ascontiguousarray(data.astronaut()[:400]))


def _write(path: Path, codes: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), codes[..., ::-1])
    return path


def _warped(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The frame in which reference pixel p appears at matrix p."""
    height, width = image.shape[:2]
    return cv2.warpPerspective(image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _about_centre(scale: float, dx: float, dy: float, width: int = 512, height: int = 400) -> np.ndarray:
    x, y = (width - 1) / 2, (height - 1) / 2
    return np.array([[scale, 0, x - scale * x + dx], [0, scale, y - scale * y + dy], [0, 0, 1]])


def test_a_known_breathing_is_measured_and_removed(photo: np.ndarray) -> None:
    truth = _about_centre(1.03, 4.5, -3.25)
    frame = cv2.GaussianBlur(_warped(photo, truth), (0, 0), 1.5)  # frames differ in focus as well
    found = register(photo, frame, "homography")
    assert found.scale == pytest.approx(1.03, abs=0.001)
    assert found.shift_px == pytest.approx(np.hypot(4.5, 3.25), abs=0.15)
    corners = np.array([[10, 10, 1], [500, 10, 1], [10, 390, 1], [500, 390, 1]], float).T
    wanted, got = truth @ corners, found.matrix @ corners
    assert np.abs(wanted[:2] / wanted[2] - got[:2] / got[2]).max() < 0.5


@pytest.mark.parametrize("texture", ["brick", "page", "grass"])
def test_fine_texture_that_is_in_focus_in_one_frame_only_is_put_in_its_place(texture: str) -> None:
    grey = cv2.resize(getattr(data, texture)(), (512, 400), interpolation=cv2.INTER_AREA)
    sharp, truth = decode_srgb(np.dstack([grey] * 3)), _about_centre(1.03, 0, 0)
    moved, left = _warped(sharp, truth), (np.arange(512) < 256)[None, :, None]
    soft, moved_soft = cv2.GaussianBlur(sharp, (0, 0), 3), cv2.GaussianBlur(moved, (0, 0), 3)
    found = register(np.where(left, sharp, soft), np.where(left, moved_soft, moved), "homography")
    corners = np.array([[10, 10, 1], [500, 10, 1], [10, 390, 1], [500, 390, 1]], float).T
    wanted, got = truth @ corners, found.matrix @ corners
    assert np.abs(wanted[:2] / wanted[2] - got[:2] / got[2]).max() < 0.5


def test_what_a_frame_does_not_show_is_the_middle_frames_and_no_streak(photo: np.ndarray) -> None:
    away = _warped(photo, _about_centre(1.0, 14.0, 0.0))  # shows nothing of the 14 columns on the right
    middle = cv2.GaussianBlur(photo, (0, 0), 2)
    aligned = align_stack([away, middle], "translation")[0][0]
    assert np.abs(aligned[:, -13:] - middle[:, -13:]).max() < 0.01
    assert np.abs(aligned - photo)[40:-40, 40:-40].mean() < 0.01


def test_a_stack_is_aligned_onto_its_middle_frame_by_a_chain(photo: np.ndarray) -> None:
    matrices = [_about_centre(0.98, -3, 1), np.eye(3), _about_centre(1.015, 2, 2), _about_centre(1.03, 4, 3)]
    frames = [_warped(photo, matrix) for matrix in matrices]
    aligned, found = align_stack(frames, "homography")
    assert [round(r.scale, 2) for r in found] == pytest.approx([0.98 / 1.015, 1 / 1.015, 1.0, 1.03 / 1.015], abs=0.006)
    inner = (slice(40, -40), slice(40, -40))
    assert np.abs(aligned[2] - frames[2].clip(0, 1)).max() < 1e-4
    for i in (0, 1, 3):
        error = np.abs(aligned[i] - frames[2])[inner].mean()
        assert error < 0.25 * np.abs(frames[i] - frames[2])[inner].mean()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stored_frames_give_back_their_codes_and_take_half_the_memory(dtype: type) -> None:
    every = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    frame = decode_srgb(np.resize(every, (512, 512, 3)))
    stored = StoredFrames(iter([frame, frame / 2]))
    assert np.array_equal(encode_srgb(stored[0], 8 * np.dtype(dtype).itemsize), np.resize(every, (512, 512, 3)))
    assert [len(stored), len(stored[0:2]), stored[-1].dtype] == [2, 2, np.float32]
    assert sum(codes.nbytes for codes in stored.codes) == frame.nbytes
    stored.gains[0] = 2.0
    assert np.abs(stored[0] - stored[1]).max() < 2e-5


def test_a_shift_is_found_to_a_tenth_of_a_pixel_and_nothing_else_changes(photo: np.ndarray) -> None:
    frame = _warped(photo, _about_centre(1.0, 6.3, -2.7))
    found = register(photo, frame, "translation")
    assert found.matrix == pytest.approx(_about_centre(1.0, 6.3, -2.7), abs=0.1)
    assert found.scale == pytest.approx(1.0, abs=1e-6)


def test_frames_that_show_different_things_are_refused_by_number(photo: np.ndarray) -> None:
    other = decode_srgb(np.ascontiguousarray(data.coffee()[:400, :512]))
    with pytest.raises(UserError, match=r"frame 1: .*--align none"):
        align_stack([other, photo], "homography")
    with pytest.raises(UserError, match=r"far.jpg: .*--align none"):
        align_stack([photo, photo[:, ::-1]], "homography", ["far.jpg", "near.jpg"])
    with pytest.raises(UserError, match="too small"):
        align_stack([photo[:32, :32]] * 2, "translation")


def test_an_exposure_step_is_measured_through_blur(photo: np.ndarray) -> None:
    blurred = cv2.GaussianBlur(photo, (0, 0), 6)
    assert exposure_gains([photo, blurred, photo]) == pytest.approx([1, 1, 1], abs=0.02)
    gains = exposure_gains([photo, blurred, photo * 1.2])
    assert gains[2] / gains[0] == pytest.approx(1.2, rel=0.03)


def test_a_brighter_frame_is_evened_out_and_said(tmp_path: Path, photo: np.ndarray) -> None:
    codes = np.ascontiguousarray(data.astronaut()[:400])
    darker = np.clip(codes.astype(float) * 0.8, 0, 255).astype(np.uint8)
    paths = [_write(tmp_path / f"{k}.png", image) for k, image in enumerate((codes, codes, darker))]
    said: list[str] = []
    stack = read_stack(paths, said.append)
    assert len(said) == 1
    assert said[0].startswith("2.png: -0.")
    before = np.abs(decode_srgb(darker) - photo).mean()
    assert np.abs(stack.frames[2] - photo).mean() < 0.25 * before


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.png": (40, 60), "b.png": (40, 61)}, "b.png: 61 x 40 px, but a.png is 60 x 40"),
        ({"a.png": (40, 60), "b.png": None}, "b.png"),
    ],
)
def test_frames_that_make_no_stack_are_refused_by_name(tmp_path: Path, files: dict, words: str) -> None:
    paths = []
    for name, size in files.items():
        if size is None:
            paths.append(tmp_path / name)
            paths[-1].write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
        else:
            paths.append(_write(tmp_path / name, np.full((*size, 3), 90, np.uint8)))
    with pytest.raises(UserError, match=words):
        read_stack(paths)


def test_frames_come_from_files_or_from_one_folder_and_their_number_is_bounded(tmp_path: Path) -> None:
    tiny = np.zeros((4, 4, 3), np.uint8)
    for number in range(41):
        _write(tmp_path / "many" / f"{number:02d}.png", tiny)
    few = [_write(tmp_path / "few" / name, tiny) for name in ("b.png", "a.png")]
    (tmp_path / "few" / "notes.txt").write_text("no frame")
    for name in ("gt.png", "depth.png", "alpha_0.png", "sharpest_frame.png"):  # as `export --to folders` writes them
        _write(tmp_path / "few" / name, tiny)
    assert find_frames([tmp_path / "few"]) == few[::-1]
    assert find_frames(few) == few
    (tmp_path / "empty").mkdir()
    for inputs, words in (
        ([tmp_path / "many"], "41 frames; at most 40"),
        ([tmp_path / "empty"], "no image"),
        ([tmp_path / "absent.png"], "no such file"),
        ([tmp_path / "few", few[0]], "one folder, or files"),
        ([], "no frames given"),
    ):
        with pytest.raises(UserError, match=words):
            find_frames(inputs)


def test_numbers_in_names_count_and_hidden_files_are_no_frames(tmp_path: Path) -> None:
    tiny = np.zeros((4, 4, 3), np.uint8)
    names = ["step1.png", "step2.jpg", "Step9.png", "step10.tif", "step11.webp"]
    for name in names:
        _write(tmp_path / name, tiny)
    (tmp_path / "._step1.png").write_bytes(b"of another system")
    assert [path.name for path in find_frames([tmp_path])] == names
    assert [path.name for path in find_stacks(tmp_path)[0].frames] == names


def test_a_name_without_number_stands_before_its_numbered_followers(tmp_path: Path) -> None:
    names = ["IMG.png", "IMG (1).png", "IMG (2).png", "IMG (10).png", "step.png", "step2.png"]
    for name in names[::-1]:
        _write(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    assert [path.name for path in find_frames([tmp_path])] == names


def test_what_was_written_before_is_no_frame_and_no_frame_is_written_over(tmp_path: Path) -> None:
    frames = [_write(tmp_path / name, np.zeros((4, 4, 3), np.uint8)) for name in ("a.png", "b.png", "fused.png")]
    said: list[str] = []
    outputs = [tmp_path / "sub" / ".." / "fused.png", tmp_path / "order.png"]
    (tmp_path / "sub").mkdir()
    assert find_frames([tmp_path], outputs=outputs, report=said.append) == frames[:2]
    assert said == ["no frames, by their names: fused.png"]
    with pytest.raises(UserError, match=r"fused.png: a frame would be written over"):
        find_frames(frames, outputs=outputs)


def test_a_profile_counts_by_its_numbers_and_colours_by_any_frame(tmp_path: Path) -> None:
    from PIL import Image, ImageCms

    def profile(kind: str = "sRGB", year: int = 2000) -> bytes:
        made = ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()
        return made[:24] + year.to_bytes(2, "big") + bytes(10) + made[36:]  # when it was made, to the second

    codes = np.ascontiguousarray(data.astronaut()[:40, :50])
    for name, icc in (("none", None), ("old", profile()), ("new", profile(year=2026))):
        Image.fromarray(codes).save(tmp_path / f"{name}.png", icc_profile=icc)
    Image.fromarray(codes[..., 1]).save(tmp_path / "grey.png")
    said: list[str] = []
    stack = read_stack([tmp_path / f"{name}.png" for name in ("grey", "none", "old", "new")], said.append)
    assert not stack.like.grey
    assert said[0] == "none.png: coloured, unlike grey.png"
    assert read_stack([tmp_path / "grey.png"] * 2, said.append).like.grey
    # what a grey frame says of its greys is no profile of colours
    mixed = read_stack([tmp_path / "grey.png", tmp_path / "old.png", tmp_path / "none.png"], said.append)
    assert mixed.like.icc_profile == profile()


def test_the_four_layouts_of_stacks_are_found(tmp_path: Path) -> None:
    tiny = np.zeros((4, 4, 3), np.uint8)
    for name in ("whu/source_1/1.jpg", "whu/source_1/2.jpg", "whu/source_2/1.jpg", "whu/source_2/2.jpg"):
        _write(tmp_path / name, tiny)
    _write(tmp_path / "whu/full_clear/2.jpg", tiny)
    for name in ("lytro-01-A", "lytro-01-B", "triple-01-A", "triple-01-B", "triple-01-C"):
        _write(tmp_path / "lytro" / f"{name}.jpg", tiny)
    for name in ("000_A", "000_B", "000_F", "001_A", "001_B", "001_F"):
        _write(tmp_path / "real" / f"{name}.png", tiny)
    for name in ("s/one/x1.png", "s/one/x2.png", "s/one/gt.png", "s/two/MFI_A.jpg", "s/two/MFI_B.jpg"):
        _write(tmp_path / name, tiny)
    for name in ("p.png", "q.png", "r.png"):
        _write(tmp_path / "single" / name, tiny)
    for name in ("oak_001.png", "oak_002.png", "elm_001.png", "elm_002.png", "elm_003.png"):
        _write(tmp_path / "long" / name, tiny)
    for name in ("IMG_0009.jpg", "IMG_0010.jpg"):
        _write(tmp_path / "camera" / name, tiny)

    def found(folder: str) -> list[tuple[str, list[str], str | None]]:
        stacks = find_stacks(tmp_path / folder)
        return [(s.name, [p.stem for p in s.frames], s.truth.stem if s.truth else None) for s in stacks]

    _write(tmp_path / "whu/source_1/3.jpg", tiny)  # and nowhere else
    said: list[str] = []
    find_stacks(tmp_path / "whu", said.append)
    assert said == ["whu: 1 left out, not in every source folder: 3"]
    assert found("whu") == [("1", ["1", "1"], None), ("2", ["2", "2"], "2")]
    assert found("lytro") == [
        ("lytro-01", ["lytro-01-A", "lytro-01-B"], None),
        ("triple-01", ["triple-01-A", "triple-01-B", "triple-01-C"], None),
    ]
    assert found("real") == [("000", ["000_A", "000_B"], "000_F"), ("001", ["001_A", "001_B"], "001_F")]
    assert found("s") == [("one", ["x1", "x2"], "gt"), ("two", ["MFI_A", "MFI_B"], None)]
    assert found("single") == [("single", ["p", "q", "r"], None)]
    assert [(name, len(frames)) for name, frames, _ in found("long")] == [("elm", 3), ("oak", 2)]
    assert found("camera") == [("camera", ["IMG_0009", "IMG_0010"], None)]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no stack found"):
        find_stacks(tmp_path / "none")


def test_scenes_of_one_frame_are_left_out_and_said(tmp_path: Path) -> None:
    tiny = np.zeros((4, 4, 3), np.uint8)
    for name in ("x-01-A", "x-01-B", "x-02-A", "x-02-B", "x-03-A"):
        _write(tmp_path / "named" / f"{name}.png", tiny)
    for name in ("one/A", "one/B", "two/A", "three/A", "three/gt"):
        _write(tmp_path / "folders" / f"{name}.png", tiny)
    (tmp_path / "folders/notes").mkdir()
    said: list[str] = []
    assert [len(s.frames) for s in find_stacks(tmp_path / "named", said.append)] == [2, 2]
    assert [s.name for s in find_stacks(tmp_path / "folders", said.append)] == ["one"]
    assert said == [f"{scene}: left out: fewer than two frames" for scene in ("x-03", "three", "two")]


@pytest.mark.parametrize(
    ("names", "result"),
    [(("s1.png", "s2.png"), "s2.png"), (("a.png", "b.png"), "b.png"), (("x.png", "near.png"), "x.png")],
)
def test_a_frame_of_the_folder_is_not_written_over_for_a_result_of_before(tmp_path, names, result):
    for second, name in enumerate(names):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
        os.utime(tmp_path / name, (second, second))
    with pytest.raises(UserError, match=f"{result}: may be a frame and would be written over"):
        find_frames([tmp_path], outputs=[tmp_path / result])
    assert find_frames([tmp_path], outputs=[tmp_path / "new.png"]) == [tmp_path / name for name in sorted(names)]
