"""Builds end as planned: the same bytes whatever the workers and interruptions, and clean refusals."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from mattingmfif.dataset.faults import FAULT_POINTS
from mattingmfif.dataset.plan import read_plan
from mattingmfif.dataset.reader import open_shards

Command = Any


def digests(out: Path) -> dict[str, str]:
    """sha256 of every file that a build is promised to make again byte for byte."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "run.jsonl"
    }


def still_running(group: int) -> list[int]:
    """Processes of a group that are not zombies."""
    found = []
    for item in psutil.process_iter():
        try:
            if os.getpgid(item.pid) == group and item.status() != psutil.STATUS_ZOMBIE:
                found.append(item.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def build(mattingmfif: Command, photos: Path, out: Path, recipe: Path, *words: object, **more: Any) -> Any:
    return mattingmfif("build", "--src", photos, "--out", out, "--recipe", recipe, *words, **more)


def test_every_photograph_becomes_a_sample_with_everything_a_fuser_needs(built: Path) -> None:
    samples = list(open_shards(built))
    assert len(samples) == 4
    for sample in samples:
        count, height, width, channels = sample.frames.shape
        assert 2 <= count <= 7
        assert channels == 3
        assert sample.target.shape == (height, width, 3)
        assert sample.depth_m.shape == sample.trust.shape == sample.boundary.shape == (height, width)
        assert sample.frame_trust.shape == (count, height, width)
        assert sample.blur_radius_px(0).shape == (height, width)
        assert max(height, width) == 256
        # a frame differs from the target where it is out of focus, and some frame equals it where it is sharp
        assert all((frame != sample.target).any() for frame in sample.frames)
        sharp = sample.sharpest_frame != 255
        assert sharp.any()


def test_what_is_in_focus_away_from_matte_edges_has_the_target_s_codes(built: Path) -> None:
    for sample in open_shards(built):
        # blurred mattes fade from 0.02 to 0 within the largest radius, 2 % of 256 px
        far_from_edges = cv2.dilate(sample.boundary.astype(np.uint8), np.ones((15, 15), np.uint8)) == 0
        for index, frame in enumerate(sample.frames):
            same = (np.abs(sample.blur_radius_px(index)) < 0.25) & far_from_edges
            assert (frame[same] == sample.target[same]).all()


def test_the_summary_counts_what_the_shards_hold(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path
) -> None:
    done = build(mattingmfif, small_photos, built, tiny_recipe)
    words = dict(line.split(None, 1) for line in done.stdout.splitlines())
    samples = list(open_shards(built))
    assert int(words["samples"]) == len(samples)
    assert int(words["frames"]) == sum(sample.n_frames for sample in samples)
    assert int(words["bytes"].replace(",", "")) == sum(path.stat().st_size for path in (built / "data").iterdir())


def test_two_workers_give_the_same_bytes_as_one(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    done = build(mattingmfif, small_photos, tmp_path / "out", tiny_recipe, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "out") == digests(built)


def test_a_second_run_touches_no_shard(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (built / "data").iterdir()}
    assert build(mattingmfif, small_photos, built, tiny_recipe).returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in (built / "data").iterdir()}


@pytest.mark.parametrize("point", FAULT_POINTS)
def test_a_run_killed_at_a_named_point_goes_on_to_the_same_bytes(
    point: str, small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    killed = build(mattingmfif, small_photos, out, tiny_recipe, "--jobs", 1, env={"MATTINGMFIF_FAULT": f"{point}:2"})
    assert killed.returncode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in (out / "data").glob("*.parquet")}
    assert len(kept) in (1, 2)
    assert build(mattingmfif, small_photos, out, tiny_recipe, "--jobs", 1).returncode == 0
    assert digests(out) == digests(built)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items()), "a finished shard was made again"


def kills(
    count: int, mattingmfif: Command, photos: Path, recipe: Path, reference: Path, folder: Path, seed: int
) -> None:
    print(f"random seed of the kills: {seed}")
    rng = random.Random(seed)
    for number in range(count):
        out = folder / f"out{number}"
        process = mattingmfif.start("build", "--src", photos, "--out", out, "--recipe", recipe, "--jobs", 2)
        time.sleep(rng.uniform(0.3, 9.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        done = build(mattingmfif, photos, out, recipe)
        assert done.returncode == 0, done.stderr
        assert digests(out) == digests(reference)
        shutil.rmtree(out)


def test_a_run_killed_at_random_moments_goes_on_to_the_same_bytes(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    kills(2, mattingmfif, small_photos, tiny_recipe, built, tmp_path, seed=random.randrange(10**6))


@pytest.mark.campaign
def test_fifty_kills_at_random_moments(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    kills(50, mattingmfif, small_photos, tiny_recipe, built, tmp_path, seed=random.randrange(10**6))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_stops_within_seconds_and_says_how_to_go_on(
    name: str, small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = mattingmfif.start("build", "--src", small_photos, "--out", out, "--recipe", tiny_recipe, "--jobs", 2)
    deadline = time.monotonic() + 60
    while not (out / "plan.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    if name == "SIGINT":  # a terminal sends it to the whole group
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert time.monotonic() - began < 45  # seconds on a free machine; a worker that is waited for would take minutes
    assert process.returncode == 130
    assert "run the same command again: build" in stderr
    assert "Traceback" not in stderr
    deadline = time.monotonic() + 15  # joblib's resource tracker leaves by itself once the parent is gone
    while (left := still_running(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == [], "a worker outlived its parent"
    assert build(mattingmfif, small_photos, out, tiny_recipe).returncode == 0
    assert digests(out) == digests(built)


def test_a_worker_that_dies_costs_only_the_sample_it_died_over(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    """The fault is armed in every worker process: each dies over its first sample, alone or not."""
    out = tmp_path / "out"
    done = build(mattingmfif, small_photos, out, tiny_recipe, "--jobs", 2, env={"MATTINGMFIF_FAULT": "after-row:1"})
    assert done.returncode == 1
    assert "no sample was made" in done.stderr
    assert "crashed-worker 4" in done.stderr
    rows = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert {row["reason"] for row in rows} == {"crashed-worker"}


def test_another_recipe_seed_or_photo_in_the_same_folder_is_refused_with_what_differs(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    before = digests(built)
    other = tmp_path / "other.toml"
    other.write_text(tiny_recipe.read_text().replace("long_side_px = 256", "long_side_px = 240"))
    refused = build(mattingmfif, small_photos, built, other)
    assert refused.returncode == 2
    assert "recipe output.long_side_px: planned 256, now 240" in refused.stderr
    refused = build(mattingmfif, small_photos, built, tiny_recipe, "--seed", 7)
    assert refused.returncode == 2
    assert "--seed: planned 0, now 7" in refused.stderr
    more = tmp_path / "photos"
    shutil.copytree(small_photos, more)
    shutil.copy(more / "coffee.png", more / "tea.png")
    refused = build(mattingmfif, more, built, tiny_recipe)
    assert refused.returncode == 2
    assert "file tea.png: not planned, there now" in refused.stderr
    assert digests(built) == before


def test_a_folder_that_holds_something_else_is_refused(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    refused = build(mattingmfif, small_photos, tmp_path, tiny_recipe)
    assert refused.returncode == 2
    assert "holds 'thesis.tex' but no plan.json" in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.tex"]


def test_a_shard_with_a_flipped_byte_or_cut_short_is_made_again(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(built, out)
    first, second = sorted((out / "data").iterdir())[:2]
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-1000])
    assert mattingmfif("verify", out).returncode == 1
    assert build(mattingmfif, small_photos, out, tiny_recipe).returncode == 0
    assert digests(out) == digests(built)


def test_dry_runs_of_build_and_plan_print_the_same_and_write_nothing(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    dry = build(mattingmfif, small_photos, out, tiny_recipe, "--dry-run")
    planned = mattingmfif("plan", "--src", small_photos, "--out", out, "--recipe", tiny_recipe, "--dry-run")
    assert dry.returncode == planned.returncode == 0, dry.stderr + planned.stderr
    assert not out.exists()
    plan = read_plan(built)
    assert plan is not None
    for done in (dry, planned):
        assert plan.plan_id in done.stdout
        assert "samples   4" in done.stdout
        assert "GB a worker" in done.stdout


def test_bad_words_are_one_line_and_exit_code_2(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, tmp_path: Path
) -> None:
    for words, line in (
        (["--jobs", "0"], "--jobs"),
        (["--recipe", "quik"], "did you mean quick"),
        (["--codec", "jpeg"], "--codec"),
        (["--mattes", tmp_path / "none"], "no such folder"),
    ):
        done = mattingmfif("build", "--src", small_photos, "--out", tmp_path / "out", "--recipe", tiny_recipe, *words)
        assert done.returncode == 2, words
        assert line in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_and_one_without_a_readable_photo_end_with_exit_code_1(
    tiny_recipe: Path, mattingmfif: Command, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = build(mattingmfif, empty, tmp_path / "a", tiny_recipe)
    assert done.returncode == 1
    assert "no photographs in it" in done.stderr
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "zero.jpg").write_bytes(b"")
    (bad / "text.png").write_text("not a picture")
    done = build(mattingmfif, bad, tmp_path / "b", tiny_recipe)
    assert done.returncode == 1
    assert "no sample was made; refused: " in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "b" / "rejects.jsonl").read_text().splitlines()]
    assert [(row["path"], row["reason"]) for row in rows] == [("text.png", "not-an-image"), ("zero.jpg", "empty-file")]


def test_on_error_stop_ends_at_the_first_refusal(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(small_photos, photos)
    (photos / "broken.png").write_bytes((photos / "coffee.png").read_bytes()[:3000])
    done = build(mattingmfif, photos, tmp_path / "out", tiny_recipe, "--on-error", "stop")
    assert done.returncode == 1
    assert "broken.png: damaged" in done.stderr


def test_two_builds_into_one_folder_at_once_do_not_mix(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = mattingmfif.start("build", "--src", small_photos, "--out", out, "--recipe", tiny_recipe, "--jobs", 1)
    deadline = time.monotonic() + 60
    while not out.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    second = build(mattingmfif, small_photos, out, tiny_recipe)
    first.communicate(timeout=300)
    assert first.returncode == 0
    assert second.returncode in (0, 2)
    if second.returncode == 2:
        assert "another build is writing here" in second.stderr
    assert digests(out) == digests(built)


def test_the_licence_gate_refuses_by_name(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(small_photos, photos)
    (photos / "LICENSES.csv").write_text("path,licence\nastronaut.png,CC0-1.0\ncoffee.png,CC-BY-4.0\n")
    done = build(mattingmfif, photos, tmp_path / "out", tiny_recipe, "--allow-licences", "CC0-1.0")
    assert done.returncode == 0, done.stderr
    assert "licence-not-allowed 3" in done.stdout
    assert [sample.licence for sample in open_shards(tmp_path / "out")] == ["CC0-1.0"]


def test_disk_errors_stop_cleanly_with_exit_code_3_and_can_be_resumed(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    full = build(
        mattingmfif,
        small_photos,
        out,
        tiny_recipe,
        "--jobs",
        1,
        env={"MATTINGMFIF_FAULT": "after-temporary-write:2:disk-full"},
    )
    assert full.returncode == 3
    assert "no space left" in full.stderr.lower()
    assert len(full.stderr.strip().splitlines()[-1:]) == 1
    assert "Traceback" not in full.stderr
    assert [path for path in (out / "data").iterdir() if path.suffix != ".parquet"] == []
    assert build(mattingmfif, small_photos, out, tiny_recipe).returncode == 0
    assert digests(out) == digests(built)


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("mounting a tmpfs needs root, which this user is not")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_whole_shards_only(
    small_disk: Path, small_photos: Path, tiny_recipe: Path, mattingmfif: Command
) -> None:
    done = build(mattingmfif, small_photos, small_disk / "out", tiny_recipe, "--jobs", 1)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "o space left" in done.stderr
    for path in (small_disk / "out" / "data").iterdir():
        assert path.suffix == ".parquet"


def test_a_read_only_output_ends_with_exit_code_3(
    small_disk: Path, small_photos: Path, tiny_recipe: Path, mattingmfif: Command
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = build(mattingmfif, small_photos, small_disk / "out", tiny_recipe)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "ead-only" in done.stderr


OPEN_LENS = "[lens]\nf_number = 1.0\nlargest_blur_radius_share = 0.04"


def test_a_depth_map_without_mattes_is_cut_at_its_edges_when_asked(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, tmp_path: Path
) -> None:
    photos, depth = tmp_path / "photos", tmp_path / "depth"
    photos.mkdir()
    depth.mkdir()
    shutil.copy(small_photos / "coffee.png", photos)
    height, width = cv2.imread(str(photos / "coffee.png")).shape[:2]
    distance = np.full((height, width), 6.0, np.float32)
    distance[height // 4 :, width // 3 : width // 2] = 1.2
    np.save(depth / "coffee.npy", distance)
    recipe = tmp_path / "open.toml"  # a lens that is open enough to see the step
    recipe.write_text(tiny_recipe.read_text().replace("[lens]\nlargest_blur_radius_share = 0.02", OPEN_LENS))
    words = ["--depth", depth, "--depth-edges", "layers", "--licence", "CC0"]
    done = build(mattingmfif, photos, tmp_path / "out", recipe, *words)
    assert done.returncode == 0, done.stderr
    (sample,) = open_shards(tmp_path / "out")
    assert [layer.kind for layer in sample.layers] == ["depth-map", "depth-map"]
    assert sample.layers[0].far_m == pytest.approx(1.2, rel=1e-3)
    assert sample.layers[1].near_m == pytest.approx(6.0, rel=1e-3)
    nowhere = mattingmfif("verify", tmp_path / "out", "--rerender", 1, "--src", tmp_path / "nowhere")
    assert (nowhere.returncode, "no such folder" in nowhere.stderr) == (2, True)
    done = mattingmfif("verify", tmp_path / "out", "--rerender", 1, "--src", photos, "--depth", depth)
    assert done.returncode == 0, done.stdout


def test_mattes_and_depth_maps_are_used_and_strays_and_wrong_sizes_are_named(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, tmp_path: Path
) -> None:
    mattes, depth = tmp_path / "mattes", tmp_path / "depth"
    mattes.mkdir()
    depth.mkdir()
    height, width = cv2.imread(str(small_photos / "coffee.png")).shape[:2]
    y, x = np.mgrid[:height, :width]
    matte = (np.clip(60.5 - np.hypot(x - width / 2, y - height / 2), 0, 1) * 255).astype(np.uint8)
    cv2.imwrite(str(mattes / "coffee.png"), matte)
    cv2.imwrite(str(mattes / "rocket.png"), matte[:-5])
    distance = np.full((height, width), 4.0, np.float32)
    distance[matte > 0] = 1.5
    distance[0, 0], distance[1, 1] = np.nan, np.inf
    np.save(depth / "coffee.npy", distance)
    words = ["--mattes", mattes, "--depth", depth]
    done = build(mattingmfif, small_photos, tmp_path / "out", tiny_recipe, *words)
    assert done.returncode == 0, done.stderr
    samples = {sample.sources[0].path: sample for sample in open_shards(tmp_path / "out")}
    coffee = samples["coffee.png"]
    assert [layer.kind for layer in coffee.layers] == ["subject", "depth-map"]
    assert coffee.layers[0].near_m == pytest.approx(1.5)
    assert np.abs(coffee.alphas[0] - matte / 255).max() < 0.021  # tails below 0.02 are cleaned
    rows = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [(row["path"], row["reason"]) for row in rows] == [("rocket.png", "matte-size")]
    assert mattingmfif("verify", tmp_path / "out").returncode == 0
    cv2.imwrite(str(mattes / "cofee.png"), matte)
    done = build(mattingmfif, small_photos, tmp_path / "other", tiny_recipe, *words)
    assert done.returncode == 2
    assert "cofee.png belongs to no photograph" in done.stderr
