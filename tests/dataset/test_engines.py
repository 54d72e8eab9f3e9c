"""The same plan on every engine gives the same bytes, and a worker that dies takes only its own task with it."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mattingmfif.dataset import memory
from mattingmfif.dataset.engines import open_workers, run_tasks
from mattingmfif.dataset.planning import Request
from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.dataset.run import Summary, build
from mattingmfif.dataset.threads import one_thread
from mattingmfif.dataset.workers import Engine
from mattingmfif.errors import UserError

Command = Any
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture(autouse=True)
def _quiet_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # no token file in the home of whoever runs the tests
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


def build_two(photos: Path, recipe: Path, out: Path, engine: Engine) -> Summary:
    request = Request(src=photos, out=out, recipe=load_recipe(str(recipe)), limit=2, engine=engine)
    return build(request, lambda step: None)


@pytest.fixture(scope="module")
def two_built(small_photos: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two") / "out"
    assert build_two(small_photos, tiny_recipe, out, Engine()).samples == 2
    return out


def blocked_signals(_: int) -> set[int]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_dask_cluster_of_two_workers_makes_the_same_bytes(
    contents: Contents, small_photos: Path, tiny_recipe: Path, two_built: Path, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        engine = Engine(name="dask", address=cluster.scheduler_address)
        assert build_two(small_photos, tiny_recipe, tmp_path / "out", engine).workers == 2
    assert contents(tmp_path / "out") == contents(two_built)


def test_a_local_ray_makes_the_same_bytes(
    contents: Contents, small_photos: Path, tiny_recipe: Path, two_built: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    assert build_two(small_photos, tiny_recipe, tmp_path / "out", Engine(name="ray", jobs=2)).workers == 2
    assert contents(tmp_path / "out") == contents(two_built)


def kill_when_told(task: tuple[int, Path]) -> int:
    """A task of the tests: number 1 kills its worker each time, number 2 the first time."""
    number, folder = task
    (folder / f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
    if number == 1 or (number == 2 and len(list(folder.glob("2-*"))) == 1):
        os.kill(os.getpid(), 9)
    return number


def deaths(engine: Engine, folder: Path) -> tuple[list[int], list[int]]:
    """Results, and the tasks given up, of six tasks of which one always and one once kills its worker."""
    folder.mkdir()
    with open_workers(engine) as workers:
        outcomes = list(run_tasks(kill_when_told, [(number, folder) for number in range(6)], workers))
    assert sorted(outcome.index for outcome in outcomes) == list(range(6)), "a task lost, or told twice"
    return [item.result for item in outcomes if not item.died], [item.index for item in outcomes if item.died]


def test_a_killed_worker_costs_its_task_a_retry_and_no_other_task_anything(tmp_path: Path) -> None:
    results, given_up = deaths(Engine(jobs=2), tmp_path / "loky")
    assert (sorted(results), given_up) == ([0, 2, 3, 4, 5], [1])


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_killed_worker_of_a_cluster_costs_no_other_task_anything(name: str, tmp_path: Path) -> None:
    results, given_up = deaths(Engine(name=name, jobs=2), tmp_path / name)
    assert (sorted(results), given_up) == ([0, 2, 3, 4, 5], [1])


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["loky", "ray", "dask"])
def test_samples_that_kill_every_worker_are_left_out_whatever_the_number(
    name: str, small_photos: Path, tiny_recipe: Path, mattingmfif: Command, tmp_path: Path
) -> None:
    words = ["build", "--src", small_photos, "--out", tmp_path / "out", "--recipe", tiny_recipe, "--jobs", 2]
    done = mattingmfif(*words, "--engine", name, env={"MATTINGMFIF_FAULT": "after-row:1"}, timeout=900)
    assert done.returncode == 1, done.stderr
    assert "no sample was made" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [row["reason"] for row in rows] == ["crashed-worker"] * 4


@pytest.mark.campaign
def test_a_dask_worker_of_two_threads_makes_the_same_bytes(
    contents: Contents, small_photos: Path, tiny_recipe: Path, two_built: Path, tmp_path: Path
) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster:
        build_two(small_photos, tiny_recipe, tmp_path / "out", Engine(name="dask", address=cluster.scheduler_address))
    assert contents(tmp_path / "out") == contents(two_built)


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_cluster_that_is_not_there_is_one_line_with_its_address_and_no_password(
    name: str, small_photos: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed" if name == "dask" else "ray")
    monkeypatch.setattr("mattingmfif.dataset.clusters._PATIENCE_S", 2)
    address = "tcp://me:secret@127.0.0.1:9" if name == "dask" else "me:secret@127.0.0.1:9"  # 9: nobody listens
    with pytest.raises(UserError) as caught:
        build_two(small_photos, tiny_recipe, tmp_path / "out", Engine(name=name, address=address))
    assert caught.value.exit_code == 3
    assert "127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_address_without_a_cluster_engine_and_an_unknown_engine_are_refused() -> None:
    with pytest.raises(UserError, match="loky works on this machine only"):
        Engine(address="tcp://127.0.0.1:8786")
    with pytest.raises(UserError, match="allowed: loky, dask, ray"):
        Engine(name="spark")


def number_of_threads(_: int) -> tuple[int, int, set[int]]:
    import numba
    from threadpoolctl import threadpool_info

    return cv2.getNumThreads(), numba.get_num_threads(), {item["num_threads"] for item in threadpool_info()}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_task_has_one_thread_of_everything(jobs: int) -> None:
    import scipy.linalg  # noqa: F401  (brings a BLAS)

    with open_workers(Engine(jobs=jobs)) as workers:
        for outcome in run_tasks(number_of_threads, [0, 1], workers):
            opencv, compiled, pools = outcome.result
            assert (opencv, compiled) == (1, 1)
            assert pools <= {1}


def test_the_limit_of_one_thread_lasts_until_the_last_of_the_tasks_in_a_process_ends() -> None:
    before = cv2.getNumThreads()
    inside, leave, seen = threading.Event(), threading.Event(), []

    def longer() -> None:
        with one_thread():
            inside.set()
            leave.wait(10)
            seen.append(cv2.getNumThreads())

    thread = threading.Thread(target=longer)
    with one_thread():
        thread.start()
        inside.wait(10)
    leave.set()
    thread.join()
    assert seen == [1]
    assert cv2.getNumThreads() == before


def faults_of_arrays(_: int) -> int:
    """Pages that the system had to hand out for 20 arrays of 24 MB, one after the other."""
    for k in range(21):
        if k == 1:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(3_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_workers_begin_deaf_to_ctrl_c() -> None:
    # blocked from their first instruction, so that none prints a traceback over its imports; the parent still hears it
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)  # workers of other tests
    blocked_here = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with open_workers(Engine(jobs=2)) as workers:
        masks = [outcome.result for outcome in run_tasks(blocked_signals, [0, 1, 2], workers)]
    assert all(signal.SIGINT in mask for mask in masks)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == blocked_here
    assert signal.SIGINT not in blocked_here


@pytest.mark.skipif(
    not hasattr(os, "confstr") or "CS_GNU_LIBC_VERSION" not in os.confstr_names,
    reason="freed memory is kept through the allocator of glibc (Linux); other systems keep their own way",
)
def test_memory_that_a_task_freed_serves_its_next_arrays() -> None:
    with open_workers(Engine(jobs=2)) as workers:
        for outcome in run_tasks(faults_of_arrays, [0, 1], workers):
            assert outcome.result < 50


def test_workers_are_as_many_as_fit_into_memory(
    contents: Contents,
    small_photos: Path,
    tiny_recipe: Path,
    two_built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert memory.fitting_workers(8, 3_000_000_000, 10_000_000_000) == 3
    assert memory.fitting_workers(2, 1, 10_000_000_000) == 2
    assert memory.fitting_workers(8, 20_000_000_000, 10_000_000_000) == 1
    assert 10_000_000 < memory.available_bytes() < 1 << 50
    monkeypatch.setattr("mattingmfif.dataset.build.available_bytes", lambda: 400_000_000)
    summary = build_two(small_photos, tiny_recipe, tmp_path / "out", Engine(jobs=2))
    assert summary.workers == 1
    assert summary.peak_bytes > 100_000_000
    assert contents(tmp_path / "out") == contents(two_built)


def take_memory(task: tuple[Path, int]) -> int:
    folder, count = task
    (folder / str(os.getpid())).touch()
    time.sleep(0.3)
    return count


def test_workers_can_be_made_more_while_tasks_wait(tmp_path: Path) -> None:
    done = []
    with open_workers(Engine(jobs=3)) as workers:
        workers.resize(1)
        for outcome in run_tasks(take_memory, [(tmp_path, number) for number in range(8)], workers):
            done.append(outcome.result)
            if len(done) == 2:
                assert len(list(tmp_path.iterdir())) == 1
                workers.resize(3)
    assert sorted(done) == list(range(8))
    assert len(list(tmp_path.iterdir())) > 1
