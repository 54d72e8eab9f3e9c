"""The examples run as they stand and write pictures."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("[0-9]*.py"))


@pytest.mark.parametrize("path", [path for path in EXAMPLES if "shards" not in path.stem], ids=lambda path: path.stem)
def test_an_example_runs_and_writes_pictures(path: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(path), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pictures = [cv2.imread(str(picture)) for picture in tmp_path.rglob("*.png")]
    assert pictures
    assert all(picture is not None and picture.std() > 1 for picture in pictures)


def test_the_example_that_reads_shards_runs(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Any, tmp_path: Path
) -> None:
    done = mattingmfif("build", "--src", small_photos, "--out", tmp_path / "s", "--recipe", tiny_recipe, "--limit", 1)
    assert done.returncode == 0, done.stderr
    example = next(path for path in EXAMPLES if "shards" in path.stem)
    picture = runpy.run_path(str(example))["main"](tmp_path / "s", tmp_path / "out")
    assert cv2.imread(str(picture)).std() > 1
