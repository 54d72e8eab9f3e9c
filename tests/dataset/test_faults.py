"""A writer killed or starved at every named point leaves no shard or a whole one, and a second run makes the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mattingmfif.dataset.faults import FAULT_POINTS, VARIABLE, fault_point
from mattingmfif.dataset.shards import remove_stale_temporaries, shard_is_complete

ROOT = Path(__file__).resolve().parents[2]
NAME = "train-00000-of-00001.parquet"

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import make_record
from mattingmfif.dataset.shards import write_shard
write_shard(Path(sys.argv[2]), (make_record(seed=k) for k in range(2)), codec="tiff", plan_id="p" * 64,
            recipe_hash="r" * 64, toolkit_version="0.1.0")
"""


def write(folder, fault=""):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: fault}
    command = [sys.executable, "-c", WRITER, str(ROOT / "tests" / "dataset"), str(folder / NAME)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert write(folder).returncode == 0
    return (folder / NAME).read_bytes()


@pytest.mark.parametrize("point", FAULT_POINTS)
def test_a_kill_leaves_a_whole_shard_or_none_and_the_next_run_gives_the_same_bytes(tmp_path, undisturbed, point):
    assert write(tmp_path, point).returncode == -9
    assert (tmp_path / NAME).exists() == (point == "after-rename")
    if point == "after-rename":
        assert shard_is_complete(tmp_path / NAME, "p" * 64, deep=True)
    remove_stale_temporaries(tmp_path)
    assert names(tmp_path) == ([NAME] if point == "after-rename" else [])
    assert write(tmp_path).returncode == 0
    assert (tmp_path / NAME).read_bytes() == undisturbed


def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path):
    done = write(tmp_path, "after-row:2:disk-full")
    assert done.returncode == 1
    assert "no space left on device" in done.stderr
    assert names(tmp_path) == []


def test_points_do_nothing_unless_asked_and_unknown_names_are_refused(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    for point in FAULT_POINTS:
        fault_point(point)
    with pytest.raises(AssertionError, match="'nowhere'"):
        fault_point("nowhere")
