"""The audit finds what a network could read instead of focus, and nothing in what the renderer makes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mattingmfif.dataset.audit import audit_folder
from mattingmfif.dataset.camera import lens_of
from mattingmfif.dataset.leaks import CHECKS
from mattingmfif.optics import psf
from mattingmfif.pixels.colour import decode_srgb, encode_srgb

HEIGHT, WIDTH = 384, 512


@pytest.fixture(scope="module")
def pictures(sample_photos):
    """A cat before a coffee table: photographs of the sizes that a scene needs."""
    codes = [cv2.imread(str(next(sample_photos.glob(f"{name}.*"))))[..., ::-1] for name in ("astronaut", "coffee")]
    return [np.ascontiguousarray(cv2.resize(c, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)) for c in codes]


@pytest.fixture(scope="module")
def record(make_record, pictures):
    """Three frames, focused on the subject, behind it and on the background."""
    return make_record(height=HEIGHT, width=WIDTH, focus_m=(1.0, 1.4, 4.0), pictures=pictures)


@pytest.fixture
def audited(put_shard, tmp_path):
    """`audited(record)` is the report on a dataset of one sample."""

    def look(record):
        put_shard(tmp_path, [record])
        return audit_folder(tmp_path)

    return look


def radii(record):
    from mattingmfif.dataset.camera import radius_px

    return [np.abs(radius_px(record.camera, record.depth_m, focus)) for focus in record.focus_distance_m]


def checks(report):
    return {leak.check for leak in report.leaks}


def test_nothing_is_found_in_a_stack_of_one_lens(audited, record):
    report = audited(record)
    assert report.ok, report.lines()
    assert report.looked == dict.fromkeys(CHECKS, 1)
    assert len(report.lines()) == len(CHECKS)


def test_the_same_noise_in_every_frame_is_no_leak(audited, record):
    rng = np.random.default_rng(0)
    frames = [noisy(frame, rng.normal(0, 2.5, frame.shape)) for frame in record.frames]
    assert "noise" not in checks(audited(replace(record, frames=frames)))


def noisy(frame, noise):
    return np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)


def grain_where_sharp(record):
    rng = np.random.default_rng(0)
    return [
        noisy(frame, rng.normal(0, 2, frame.shape) * (radius <= 0.5)[..., None])
        for frame, radius in zip(record.frames, radii(record), strict=True)
    ]


def grain_where_blurred(record):
    rng = np.random.default_rng(0)
    return [
        noisy(frame, rng.normal(0, 2, frame.shape) * (radius > 1)[..., None])
        for frame, radius in zip(record.frames, radii(record), strict=True)
    ]


def noise_in_one_frame(record):
    rng = np.random.default_rng(0)
    return [noisy(record.frames[0], rng.normal(0, 2, record.frames[0].shape)), *record.frames[1:]]


def jpeg_in_one_frame(record):
    stored = cv2.imencode(".jpg", record.frames[2][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return [*record.frames[:2], np.ascontiguousarray(cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1])]


def jpeg_where_sharp(record):
    frames = []
    for frame, radius in zip(record.frames, radii(record), strict=True):
        stored = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        frames.append(np.where((radius <= 0.5)[..., None], cv2.imdecode(stored, cv2.IMREAD_COLOR), frame))
    return frames


def black_outside(record):
    """Blur that sees black outside the frame."""
    middle = cv2.blur(record.frames[1], (9, 9), borderType=cv2.BORDER_CONSTANT)
    return [record.frames[0], middle, record.frames[2]]


def saturated_line(record):
    frame = record.frames[0].copy()
    frame[:, -2:] = 255
    return [frame, *record.frames[1:]]


def black_line(record):
    frame = record.frames[2].copy()
    frame[:3] = 0
    return [*record.frames[:2], frame]


def hard_masks(record):
    """The target where a frame is sharp, one and the same blurred picture elsewhere."""
    blurred = cv2.GaussianBlur(record.all_in_focus, (0, 0), 3)
    best = np.argmin(radii(record), axis=0)
    return [np.where((best == k)[..., None], record.all_in_focus, blurred) for k in range(len(record.frames))]


def copied_patch(record):
    frame = record.frames[1].copy()
    frame[24:120, 24:152] = record.frames[0][24:120, 24:152]
    return [record.frames[0], frame, record.frames[2]]


def enlarged_frame(record):
    large = cv2.resize(record.frames[2], None, fx=1.06, fy=1.06, interpolation=cv2.INTER_LINEAR)
    return [*record.frames[:2], np.ascontiguousarray(large[:HEIGHT, :WIDTH])]


def halved_and_doubled_frame(record):
    small = cv2.resize(record.frames[2], (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    return [*record.frames[:2], cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)]


def noise_in_red_and_blue_where_sharp(record):
    noise = np.random.default_rng(0).normal(0, 1.5, record.frames[0].shape) * np.array([1, 0, 1])
    return [
        noisy(frame, noise * (radius <= 0.5)[..., None])
        for frame, radius in zip(record.frames, radii(record), strict=True)
    ]


def sharpened_where_sharp(record):
    frames = []
    for frame, radius in zip(record.frames, radii(record), strict=True):
        detail = frame - cv2.GaussianBlur(frame.astype(np.float32), (0, 0), 1)
        frames.append(noisy(frame, 0.3 * detail * (radius <= 0.25)[..., None]))
    return frames


def hot_pixels_in_one_frame(record):
    rng = np.random.default_rng(0)
    frame = record.frames[2].copy()
    frame[rng.integers(0, HEIGHT, 60), rng.integers(0, WIDTH, 60)] = 255
    return [*record.frames[:2], frame]


def moved_frame(record):
    quarter = np.float32([[1, 0, 0.25], [0, 1, 0.0]])
    moved = cv2.warpAffine(record.frames[0], quarter, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    return [moved, *record.frames[1:]]


def brighter_frame(record):
    return [*record.frames[:2], noisy(record.frames[2] * 1.01, 0.0)]


def redder_frame(record):
    return [noisy(record.frames[0] * np.array([1.01, 1, 0.99]), 0.0), *record.frames[1:]]


def fine_jpeg_in_one_frame(record):
    stored = cv2.imencode(".jpg", record.frames[0], [cv2.IMWRITE_JPEG_QUALITY, 97])[1]
    return [cv2.imdecode(stored, cv2.IMREAD_COLOR), *record.frames[1:]]


def grey_line(record):
    frame = record.frames[1].copy()
    frame[:, -1] = 118
    return [record.frames[0], frame, record.frames[2]]


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (grain_where_sharp, "noise"),
        (grain_where_blurred, "noise"),
        (noise_in_one_frame, "noise"),
        (jpeg_in_one_frame, "grid"),
        (jpeg_where_sharp, "grid"),
        (black_outside, "borders"),
        (black_line, "borders"),
        (saturated_line, "borders"),
        (hard_masks, "equal-frames"),
        (copied_patch, "equal-frames"),
        (enlarged_frame, "resampling"),
        (halved_and_doubled_frame, "resampling"),
        (noise_in_red_and_blue_where_sharp, "marks"),
        (sharpened_where_sharp, "marks"),
        (hot_pixels_in_one_frame, "marks"),
        (fine_jpeg_in_one_frame, "marks"),
        (moved_frame, "position"),
        (brighter_frame, "tone"),
        (redder_frame, "tone"),
        (grey_line, "borders"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_planted_leak_is_found_and_named(audited, record, plant, check):
    report = audited(replace(record, frames=plant(record)))
    assert check in checks(report), report.lines()
    found = next(leak for leak in report.leaks if leak.check == check)
    assert record.sample_id in str(found)
    assert "allowed" in found.detail


@pytest.mark.parametrize(("trace", "check"), [("grain", "noise"), ("jpeg", "grid"), ("enlarged", "resampling")])
def test_traces_of_the_source_that_blur_takes_away_are_leaks_too(audited, make_record, pictures, trace, check):
    """Target and sharp pixels share them; a fuser sees them in the sharp frame alone."""
    if trace == "grain":
        rng = np.random.default_rng(0)
        spoilt = [noisy(picture, rng.normal(0, 3, picture.shape)) for picture in pictures]
    elif trace == "jpeg":
        spoilt = [cv2.imdecode(cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], 1) for p in pictures]
    else:
        spoilt = [cv2.resize(p, None, fx=1.25, fy=1.25, interpolation=cv2.INTER_LINEAR) for p in pictures]
        spoilt = [np.ascontiguousarray(picture[:HEIGHT, :WIDTH]) for picture in spoilt]
    report = audited(make_record(height=HEIGHT, width=WIDTH, focus_m=(1.0, 4.0), pictures=spoilt))
    assert checks(report) == {check}, report.lines()


def test_equality_with_the_target_where_both_frames_are_sharp_is_no_leak(audited, make_record, pictures):
    """Two focus distances so near each other that neither blurs the subject: both store the target's codes."""
    report = audited(make_record(height=HEIGHT, width=WIDTH, focus_m=(1.0, 1.001, 4.0), pictures=pictures))
    assert report.ok, report.lines()


def test_a_cats_eye_whose_middle_is_off_the_pixel_shifts_no_frame(audited, record):
    """What is nearly sharp may be moved by such an opening: only what is sharp has a place to be judged."""
    moved = np.float32([[1, 0, 0.25], [0, 1, 0]])
    frame = cv2.warpAffine(record.frames[0], moved, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    blurred_a_little = replace(
        record,
        frames=[frame, *record.frames[1:]],
        focus_distance_m=[1.06, *record.focus_distance_m[1:]],
        camera=replace(record.camera, aperture={**record.camera.aperture, "cats_eye": 0.5}),
    )
    assert 0.25 < radii(blurred_a_little)[0].min() < 0.5
    assert "position" not in checks(audited(blurred_a_little))
    assert "position" in checks(audited(replace(blurred_a_little, camera=record.camera)))


def test_discs_of_raised_lights_that_overlap_in_a_pixel_are_no_marks(audited, make_record):
    rng = np.random.default_rng(0)
    night = np.full((HEIGHT, WIDTH, 3), 4, np.uint8)
    for y, x in rng.integers(8, (HEIGHT - 8, WIDTH - 8), (1500, 2)):
        night[y : y + 2, x : x + 2] = 255
    record = make_record(height=HEIGHT, width=WIDTH, focus_m=(1.0, 4.0), pictures=[night, night])
    light = decode_srgb(night)
    raised = np.where(light >= 1, np.float32(8), light)
    radius = float(np.max(radii(record)[0]))
    blurred = encode_srgb(np.clip(cv2.filter2D(raised, -1, psf(lens_of(record.camera), radius)), 0, 1))
    camera = replace(record.camera, draws={**record.camera.draws, "highlights": {"most": 8.0, "threshold": 0.98}})
    frames = [np.where(radii(record)[0][..., None] > 3, blurred, record.frames[0]), record.frames[1]]
    assert "marks" in checks(audited(replace(record, frames=frames)))  # not of lights that a sensor has clipped
    assert "marks" not in checks(audited(replace(record, frames=frames, camera=camera)))


def test_the_command_prints_one_line_a_finding_and_leaves_with_1(put_shard, tmp_path, record, mattingmfif):
    put_shard(tmp_path, [replace(record, frames=black_line(record))])
    done = mattingmfif("audit", tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"borders: {record.sample_id}: frame 2 is")
    assert all(": sample-0000: " in line and "allowed" in line for line in lines[: -len(CHECKS)])
    assert [line.partition(":")[0] for line in lines[-len(CHECKS) :]] == list(CHECKS)
    assert mattingmfif("audit", tmp_path / "nothing").returncode == 2


def test_a_photograph_comes_in_without_the_grid_of_its_jpeg(sample_photos):
    from mattingmfif.dataset.inputs import Inputs
    from mattingmfif.dataset.intake import prepare_photo
    from mattingmfif.dataset.recipe import load_recipe
    from mattingmfif.photo.images import open_photo
    from mattingmfif.pixels.colour import linear_to_srgb
    from mattingmfif.pixels.traces import grid_strength

    as_stored = linear_to_srgb(open_photo(sample_photos, "rocket.jpg").linear)
    prepared = prepare_photo("rocket.jpg", load_recipe("quick"), Inputs(src=sample_photos))
    before, after = (np.ascontiguousarray(photo[..., 1] * np.float32(255)) for photo in (as_stored, prepared.srgb))
    assert grid_strength(before) > 0.3
    assert grid_strength(np.rint(after)) < 0.05


@pytest.mark.campaign
def test_the_recipe_quick_leaks_nothing(sample_photos, tmp_path, mattingmfif):
    words = ("--src", sample_photos, "--depth", sample_photos / "depth", "--recipe", "quick", "--jobs", 2)
    assert mattingmfif("build", "--out", tmp_path / "out", *words).returncode == 0
    done = mattingmfif("audit", tmp_path / "out")
    assert done.returncode == 0, done.stdout
