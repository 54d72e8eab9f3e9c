"""Builds disturbed from outside: other clocks and hosts, sources that change, damaged photographs, full disks."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from mattingmfif.dataset.reader import open_shards
from mattingmfif.errors import REASONS

Command = Any
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """An environment in which Python believes to be on another machine, long ago."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, time\n"
        "now, uname = time.time, os.uname\n"
        "time.time = lambda: now() - 20 * 365 * 86400.0\n"
        "os.uname = lambda: os.uname_result(('Linux', 'another-host', *uname()[2:]))\n"
    )
    return {"PYTHONPATH": str(folder)}


def test_a_run_killed_on_another_host_with_another_clock_goes_on_here_to_the_same_bytes(
    contents: Contents,
    small_photos: Path,
    tiny_recipe: Path,
    mattingmfif: Command,
    built: Path,
    elsewhere: dict[str, str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    words = ["build", "--src", small_photos, "--out", out, "--recipe", tiny_recipe, "--jobs", 1]
    killed = mattingmfif(*words, env={**elsewhere, "MATTINGMFIF_FAULT": "after-temporary-write:2"})
    assert killed.returncode == -signal.SIGKILL
    left = [path.name for path in (out / "data").iterdir() if path.name.endswith(".part")]
    assert len(left) == 1
    assert "another_host" in left[0]
    assert mattingmfif(*words).returncode == 0
    assert contents(out) == contents(built)


def test_photographs_that_change_or_vanish_between_plan_and_task_are_refused_by_name(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(small_photos, photos)
    out.mkdir()
    shutil.copy(built / "plan.json", out)
    image = cv2.imread(str(photos / "coffee.png"))
    image[0, 0] ^= 1
    cv2.imwrite(str(photos / "coffee.png"), image)
    (photos / "rocket.png").unlink()
    words = ["build", "--src", photos, "--out", out, "--recipe", tiny_recipe, "--jobs", 1]
    done = mattingmfif(*words, "--task", "1/1")
    assert done.returncode == 0, done.stderr
    assert mattingmfif("index", out).returncode == 0
    rows = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert [(row["path"], row["reason"]) for row in rows] == [
        ("coffee.png", "source-changed"),
        ("rocket.png", "source-missing"),
    ]
    kept = {sample.sources[0].path: sample.pixel_sha256 for sample in open_shards(out)}
    undisturbed = {sample.sources[0].path: sample.pixel_sha256 for sample in open_shards(built)}
    assert kept == {path: undisturbed[path] for path in ("astronaut.png", "camera.png")}
    refused = mattingmfif(*words)
    assert refused.returncode == 2
    assert "file coffee.png: its content changed; file rocket.png: planned, not there now" in refused.stderr


@pytest.mark.campaign
def test_a_disk_that_was_full_and_got_room_ends_in_the_same_bytes(
    contents: Contents, small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs needs root, which this user is not")
    try:
        words = ["build", "--src", small_photos, "--out", disk / "out", "--recipe", tiny_recipe, "--jobs", 2]
        full = mattingmfif(*words)
        assert full.returncode == 3, full.stdout + full.stderr
        assert "o space left" in full.stderr
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        assert mattingmfif(*words).returncode == 0
        assert contents(disk / "out") == contents(built)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


MUTANT_RECIPE = """schema = 1
name = "mutants"
[output]
long_side_px = 96
samples_per_shard = 20
preview_long_side_px = 64
[gate]
min_long_side_px = 64
min_short_side_px = 16
max_soft_share = 1.0
max_grain_codes = 200.0
[matting]
segmenter = "given"
[scene]
without_subject = "ground"
[distances]
least_gap_px = 0.5
[lens]
quality = "fast"
largest_blur_radius_share = 0.02
[focus]
plan = "layers"
frames_max = 2
"""


def good_files() -> dict[str, bytes]:
    """A small photograph in every format and depth that is read, with EXIF and a profile where they belong."""
    from PIL import ImageCms
    from skimage import data

    photo = Image.fromarray(cv2.resize(data.coffee(), (96, 64), interpolation=cv2.INTER_AREA))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    deep = np.asarray(photo, np.uint16)[..., ::-1] * 257
    return {
        "jpg": saved(photo, "JPEG", exif=exif, icc_profile=profile),
        "jpeg": saved(photo.convert("L"), "JPEG", progressive=True),
        "png": saved(photo, "PNG", icc_profile=profile),
        "webp": saved(photo, "WEBP", exif=exif),
        "tif": saved(photo, "TIFF", compression="tiff_lzw"),
        "tiff": bytes(cv2.imencode(".tiff", deep)[1]),
    }


def flipped(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 3, 20))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def header_edited(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 2, 6))):
        damaged[rng.randrange(min(200, len(damaged)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(damaged)


def spliced(content: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(content)) for _ in range(2))
    middle = rng.choice((b"", bytes(end - start), rng.randbytes(rng.randrange(1, 300)), content[start:end] * 2))
    return content[:start] + middle + content[end:]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, cut, header_edited, spliced)


def build_mutants(count: int, folder: Path, mattingmfif: Command) -> Counter[str]:
    """Build from `count` damaged photographs; how many were kept, and how many refused for which reason."""
    seed = random.randrange(10**6)
    print(f"random seed of the mutations: {seed}")
    rng = random.Random(seed)
    photos = folder / "photos"
    photos.mkdir()
    good = sorted(good_files().items())
    digests = set()
    for number in range(count):
        suffix, content = good[number % len(good)]
        mutant = MUTATIONS[number // len(good) % len(MUTATIONS)](content, rng)
        digests.add(hashlib.sha256(mutant).hexdigest())
        (photos / f"{number:05d}.{suffix}").write_bytes(mutant)
    recipe = folder / "mutants.toml"
    recipe.write_text(MUTANT_RECIPE)
    out = folder / "out"
    words = ["build", "--src", photos, "--out", out, "--recipe", recipe, "--jobs", 2]
    done = mattingmfif(*words, timeout=60 + count * 3)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    rows = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    kept = [sample.sources[0].path for sample in open_shards(out)]
    assert sorted(kept + [row["path"] for row in rows]) == sorted(path.name for path in photos.iterdir()), (
        "a photograph lost, or told twice"
    )
    found = Counter(row["reason"] for row in rows)
    assert set(found) <= set(REASONS) - {"internal-error", "crashed-worker"}, [
        row for row in rows if row["reason"] in ("internal-error", "crashed-worker")
    ]
    assert len(digests) > count * 0.9
    assert mattingmfif("verify", out, timeout=600).returncode == 0
    run = json.loads((out / "run.jsonl").read_text().splitlines()[-1])
    print(f"{count} mutants: {len(kept)} kept, {dict(found)}, peak {run['peak_bytes'] / 1e6:.0f} MB a worker")
    assert run["peak_bytes"] < 1_500_000_000
    return found + Counter(kept=len(kept))


def test_damaged_photographs_are_kept_or_refused_with_a_reason(mattingmfif: Command, tmp_path: Path) -> None:
    found = build_mutants(72, tmp_path, mattingmfif)
    assert found["damaged"] > 5
    assert found["kept"] > 1


@pytest.mark.campaign
def test_two_thousand_damaged_photographs_are_kept_or_refused_with_a_reason(
    mattingmfif: Command, tmp_path: Path
) -> None:
    found = build_mutants(2000, tmp_path, mattingmfif)
    assert found["kept"] > 20
