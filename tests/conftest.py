"""Small real photographs and a small recipe, for every test that runs the whole path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

TINY_RECIPE = """schema = 1
name = "tiny"
[output]
long_side_px = 256
samples_per_shard = 1
preview_long_side_px = 128
[splits]
train = 0.6
val = 0.2
test = 0.2
[gate]
min_long_side_px = 200
[distances]
least_gap_px = 1.0
[lens]
largest_blur_radius_share = 0.02
[focus]
plan = "layers"
frames_max = 3
"""


@pytest.fixture(scope="session")
def sample_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs of scikit-image's wheel as `mattingmfif samples` writes them."""
    from mattingmfif.photo.samples import write_samples

    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder


@pytest.fixture(scope="session")
def small_photos(sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of them, reduced to 256 px, so that a whole build takes seconds."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("astronaut", "camera", "coffee", "rocket"):
        path = next(sample_photos.glob(f"{name}.*"))
        image = cv2.imread(str(path))
        scale = 256 / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{name}.png"), small)
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe for builds of seconds."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return path


class CommandLine:
    """Runs `mattingmfif` as a person would, in a process of its own."""

    def __call__(
        self, *words: object, env: dict[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mattingmfif.cli", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            check=False,
        )

    def start(self, *words: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "mattingmfif.cli", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )


@pytest.fixture(scope="session")
def mattingmfif() -> CommandLine:
    """The command line."""
    return CommandLine()
