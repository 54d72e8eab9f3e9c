"""A plan, tasks of it that know nothing of each other, the index, and the status in between."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mattingmfif.dataset import estimate, run
from mattingmfif.dataset.out_folder import Journal, RunNote, holders, locked, prepare_out
from mattingmfif.dataset.planning import Request
from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.dataset.status import folder_status, status_lines
from mattingmfif.dataset.whole_files import temporary_beside, this_host
from mattingmfif.dataset.workers import Engine
from mattingmfif.errors import UserError

Command = Any
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def request_into(small_photos: Path, tiny_recipe: Path) -> Any:
    """`request_into(out)`: what `build --src … --recipe tiny` asks for, with one worker."""

    def make(out: Path, **changes: Any) -> Request:
        return Request(**{"src": small_photos, "out": out, "recipe": load_recipe(str(tiny_recipe)), **changes})

    return make


def quiet(step: object) -> None:
    """Progress that nobody looks at."""


@pytest.fixture
def planned(built: Path, tmp_path: Path) -> Path:
    """A folder with a plan and nothing else."""
    out = tmp_path / "planned"
    out.mkdir()
    shutil.copy(built / "plan.json", out)
    return out


def test_plan_writes_the_plan_that_build_would(
    small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = mattingmfif("plan", "--src", small_photos, "--out", out, "--recipe", tiny_recipe)
    assert done.returncode == 0, done.stderr
    assert (out / "plan.json").read_bytes() == (built / "plan.json").read_bytes()
    assert [path.name for path in out.iterdir() if path.is_file()] == ["plan.json"]
    assert f"written   {out / 'plan.json'}" in done.stdout


def test_a_plan_without_shards_gives_way_to_another_and_one_with_shards_does_not(
    request_into: Any, planned: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = estimate.Measured(samples=2, frames=3.0, total_bytes=10**6, cpu_s=1.0, peak_bytes=10**8)
    monkeypatch.setattr(estimate, "measure", lambda plan, inputs: took)
    before = (planned / "plan.json").read_bytes()
    list(estimate.plan_report(request_into(planned, seed=3), quiet, write=True))
    assert (planned / "plan.json").read_bytes() != before
    with pytest.raises(UserError, match="--seed: planned 0, now 3"):
        list(estimate.plan_report(request_into(built, seed=3), quiet, write=True))


def test_tasks_at_once_and_then_the_index_give_the_bytes_of_one_build(
    contents: Contents, small_photos: Path, tiny_recipe: Path, mattingmfif: Command, built: Path, planned: Path
) -> None:
    words = ["build", "--src", small_photos, "--out", planned, "--recipe", tiny_recipe, "--jobs", 1]
    # 1/3 twice: a queue may start a task again while it still runs elsewhere
    tasks = [mattingmfif.start(*words, "--task", task) for task in ("1/3", "2/3", "3/3", "1/3")]
    for task in tasks:
        _, stderr = task.communicate(timeout=300)
        assert task.returncode == 0, stderr
    state = folder_status(planned)
    assert (len(state.whole), state.missing, state.damaged, state.indexed) == (4, (), (), False)
    assert "mattingmfif index" in list(status_lines(state))[-1]
    done = mattingmfif("index", planned)
    assert done.returncode == 0, done.stderr
    assert contents(planned) == contents(built)
    rows = [json.loads(line) for line in (planned / "run.jsonl").read_text().splitlines()]
    assert sorted(row["command"] for row in rows) == sorted(
        ["build --task 1/3"] * 2 + ["build --task 2/3", "build --task 3/3", "index"]
    )


def test_every_task_takes_its_own_shards_and_together_they_take_all(
    request_into: Any, built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(built, out)
    made = [run.build_task(request_into(out), number, 5, quiet) for number in range(1, 6)]
    assert [item.shards for item in made] == [1, 1, 1, 1, 0]  # more tasks than shards: one has nothing to do
    assert [item.shards_before for item in made] == [1, 1, 1, 1, 0]


def test_a_task_needs_a_plan_of_the_same_recipe_and_a_number_that_exists(
    request_into: Any, planned: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no plan.json in .*run `mattingmfif plan`"):
        run.build_task(request_into(tmp_path / "nowhere"), 1, 2, quiet)
    with pytest.raises(UserError, match="--seed: planned 0, now 1"):
        run.build_task(request_into(planned, seed=1), 1, 2, quiet)
    for number in (0, 3):
        with pytest.raises(UserError, match="counted from 1/2 to 2/2"):
            run.build_task(request_into(planned), number, 2, quiet)


@pytest.mark.parametrize("task", ["1", "a/b", "1/2/3", "-1/2", "/"])
def test_a_task_that_is_no_number_is_refused(task: str, small_photos: Path, tiny_recipe: Path, planned: Path) -> None:
    from click.testing import CliRunner

    from mattingmfif.cli import cli

    words = ["build", "--src", small_photos, "--out", planned, "--recipe", tiny_recipe, f"--task={task}"]
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert isinstance(done.exception, UserError)
    assert "--task" in str(done.exception)


def test_the_index_of_a_folder_with_holes_says_which(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(built, out)
    first, second = sorted((out / "data").iterdir())[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"2 of 4 planned shards are missing or damaged .{first.name}, {second.name}"):
        run.index_folder(out)
    with pytest.raises(UserError, match=r"no plan\.json in it"):
        run.index_folder(tmp_path)


def test_status_tells_whole_missing_damaged_and_foreign_shards(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(built, out)
    state = folder_status(out)
    assert state.finished
    assert list(status_lines(state))[-1] == "state     finished"
    gone, cut, flipped, good = sorted((out / "data").iterdir())
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:5000])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    (out / "data" / "train-00007-of-00009.parquet").write_bytes(b"")
    state = folder_status(out)
    assert (state.whole, state.missing, state.damaged) == ((good.name,), (gone.name,), (cut.name, flipped.name))
    assert state.foreign == ("train-00007-of-00009.parquet",)
    assert state.samples == 1
    assert not state.finished
    text = "\n".join(status_lines(state))
    assert "1 of 4 whole (every page read)" in text
    assert "3 to go" in text
    assert folder_status(out, deep=False).damaged == (cut.name,)  # a footer does not tell of a flipped byte


def test_status_tells_who_is_at_work_and_not_who_was_killed(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(built, out)
    journal = Journal(out)
    journal.open()
    note = RunNote(
        host=this_host(), pid=1, began_s=0, said_s=90, stage="render", done=3, total=4, unit="shards", task="2/5"
    )
    journal.say(note)
    journal.say(RunNote(**{**vars(note), "pid": 2**22 + 1}))  # killed: no process has that number
    journal.say(RunNote(**{**vars(note), "host": "elsewhere", "pid": 7}))
    lines = [line for line in status_lines(folder_status(out), now_s=100) if line.startswith("running")]
    assert len(lines) == 2
    assert "on elsewhere, process 7" in lines[0]
    assert f"build --task 2/5 on {this_host()}, process 1, since 100 s: render 3/4 shards, said 10 s ago" in lines[1]


def test_what_a_run_leaves_that_was_killed_while_it_scanned_is_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Journal(tmp_path).open()
    temporary_beside(tmp_path / "plan.json").touch()
    prepare_out(tmp_path)
    (tmp_path / "data" / "mine.csv").touch()
    with pytest.raises(UserError, match=r"holds 'data' but no plan\.json"):
        prepare_out(tmp_path)


def test_a_build_holds_the_folder_alone_and_tasks_hold_it_together(tmp_path: Path) -> None:
    assert holders(tmp_path) == "nobody"
    with locked(tmp_path) as alone:
        assert alone
        assert holders(tmp_path) == "a build"
        with pytest.raises(UserError, match="another build is writing here"), locked(tmp_path, shared=True):
            pass
    with locked(tmp_path, shared=True) as alone, locked(tmp_path, shared=True):
        assert not alone
        assert holders(tmp_path) == "tasks"
        with pytest.raises(UserError, match="another build is writing here"), locked(tmp_path):
            pass
    assert holders(tmp_path) == "nobody"


def test_a_file_system_without_locks_is_used_with_more_care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with locked(tmp_path) as alone:
        assert not alone


def test_plan_refuses_what_does_not_fit(request_into: Any, planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    took = estimate.Measured(samples=2, frames=3.0, total_bytes=10**9, cpu_s=1.0, peak_bytes=2 * 10**9)
    monkeypatch.setattr(estimate, "measure", lambda plan, inputs: took)

    def report(memory: int, disk: int, **changes: Any) -> str:
        monkeypatch.setattr(estimate, "available_bytes", lambda: memory)
        monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(disk, 0, disk))
        return "\n".join(estimate.plan_report(request_into(planned, **changes), quiet))

    plenty = report(10**10, 10**11, engine=Engine(jobs=8))
    assert "4.00 GB; free 100 GB" in plenty
    assert "2.00 GB a worker; 4 workers, 10.0 GB available" in plenty
    for words, expected in (
        ((10**10, 5 * 10**9, Engine()), "needs about 4.6 GB, 5.0 GB are free"),
        ((10**9, 10**11, Engine()), "one worker needs 2.3 GB of memory, 1.0 GB are available"),
        ((10**10, 10**11, Engine(jobs=50)), "--jobs 50: needs 115.0 GB of memory; --jobs 4 fits"),
    ):
        with pytest.raises(UserError, match=expected) as caught:
            report(*words[:2], engine=words[2], jobs_given=True)
        assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("sources", 0, "path"), "../../secret.png"),
        (("sources", 0, "path"), "/etc/passwd"),
        (("samples", 0, "sample_id"), "../x"),
        (("samples", 0, "sources"), [99]),
        (("samples", 0, "sources"), []),
        (("shards", 0, "name"), "../train-00000-of-00001.parquet"),
        (("shards", 0, "samples"), [-1]),
        (("shards",), 7),
        (("sources", 0), "text"),
    ],
)
def test_a_plan_whose_names_or_numbers_lead_elsewhere_is_refused(
    place: tuple[Any, ...], value: Any, planned: Path
) -> None:
    plain = json.loads((planned / "plan.json").read_text())
    target = plain
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    (planned / "plan.json").write_text(json.dumps(plain))
    with pytest.raises(UserError, match=r"plan\.json: damaged"):
        folder_status(planned)


def test_compiling_is_timed_by_itself_and_once() -> None:
    import numba

    from mattingmfif.optics.kernels import compile_timer

    @numba.njit  # type: ignore[untyped-decorator]
    def inner(x: float) -> float:
        return x * 2.0

    @numba.njit  # type: ignore[untyped-decorator]
    def outer(x: float) -> float:
        return inner(x) + inner(x + 1.0)

    began = time.thread_time()
    with compile_timer() as first:
        assert outer(1.0) == 6.0
    took = time.thread_time() - began
    assert 0.3 * took < first.cpu_s <= took
    with compile_timer() as second:
        assert outer(2.0) == 10.0
    assert second.cpu_s == 0.0
