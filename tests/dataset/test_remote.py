"""Photographs and datasets on a (local) S3 server: the same bytes, whole objects only, no credentials anywhere."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

from mattingmfif.dataset import build as build_module
from mattingmfif.dataset import remote, run
from mattingmfif.dataset.check import check_folder
from mattingmfif.dataset.files import inside
from mattingmfif.dataset.plan import stays_inside
from mattingmfif.dataset.planning import Request
from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.dataset.status import folder_status
from mattingmfif.dataset.workers import Engine
from mattingmfif.errors import UserError

Command = Any
Contents = Callable[[Path], dict[str, bytes]]


def remote_contents(contents: Contents, address: str, folder: Path) -> dict[str, bytes]:
    """Every object under the address, fetched."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in remote.walk(address):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        remote.fetch_file(inside(address, name), folder / name)
    return contents(folder)


def upload_folder(folder: Path, address: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            remote.put_file(path, inside(address, path.relative_to(folder).as_posix()))


@pytest.fixture(scope="module")
def remote_photos(s3: Any, small_photos: Path) -> str:
    address: str = s3("photos")
    upload_folder(small_photos, address)
    return address


def request(src: str, out: str, recipe: Path, **changes: Any) -> Request:
    return Request(**{"src": src, "out": out, "recipe": load_recipe(str(recipe)), **changes})


def quiet(step: object) -> None:
    """Progress that nobody looks at."""


def test_a_build_from_s3_into_s3_makes_the_same_bytes_and_is_not_made_twice(
    contents: Contents, s3: Any, remote_photos: str, tiny_recipe: Path, built: Path, tmp_path: Path
) -> None:
    out = s3("dataset")
    summary = run.build(request(remote_photos, out, tiny_recipe), quiet)
    assert (summary.samples, summary.shards_before) == (4, 0)
    assert "secret" not in repr(summary)
    assert remote_contents(contents, out, tmp_path / "fetched") == contents(built)
    again = run.build(request(remote_photos, out, tiny_recipe), quiet)
    assert (again.samples, again.shards_before, again.peak_bytes) == (4, 4, 0)
    state = folder_status(out)
    assert state.finished
    assert state.samples == 4
    # a shard that was cut short there is made again, and nothing else
    victim = state.whole[1]
    (tmp_path / "cut").write_bytes((tmp_path / "fetched" / "data" / victim).read_bytes()[:-9])
    remote.put_file(tmp_path / "cut", inside(out, "data", victim))
    assert folder_status(out).damaged == (victim,)
    with pytest.raises(UserError, match=f"1 of 4 planned shards are missing or damaged .{victim}"):
        run.index_folder(out)
    assert run.build(request(remote_photos, out, tiny_recipe), quiet).shards_before == 3
    assert remote_contents(contents, out, tmp_path / "fetched") == contents(built)


def test_tasks_into_s3_and_the_index_make_the_same_bytes(
    contents: Contents, s3: Any, small_photos: Path, tiny_recipe: Path, built: Path, tmp_path: Path
) -> None:
    out = s3("tasks")
    with pytest.raises(UserError, match=r"no plan\.json in s3://shelf/tasks"):
        run.build_task(request(str(small_photos), out, tiny_recipe), 1, 2, quiet)
    remote.put_file(built / "plan.json", inside(out, "plan.json"))
    for number in (1, 2):
        asked = request(str(small_photos), out, tiny_recipe)
        run.build_task(Request(**{**vars(asked), "src": small_photos}), number, 2, quiet)
    assert run.index_folder(out).samples == 4
    assert remote_contents(contents, out, tmp_path / "fetched") == contents(built)


@pytest.mark.campaign
@pytest.mark.parametrize("number", range(6))
def test_a_build_into_s3_killed_at_any_moment_leaves_whole_objects_and_goes_on(
    contents: Contents,
    number: int,
    s3: Any,
    small_photos: Path,
    tiny_recipe: Path,
    mattingmfif: Command,
    built: Path,
    tmp_path: Path,
) -> None:
    out = s3(f"killed{number}")
    words = ["build", "--src", small_photos, "--out", out, "--recipe", tiny_recipe, "--jobs", 1]
    process = mattingmfif.start(*words)
    seen = 0
    deadline = time.monotonic() + 120
    while seen < min(number, 4) and time.monotonic() < deadline:
        seen = len([name for name in remote.walk(out) if name.startswith("data/")])
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    whole = contents(built)
    for name, content in remote_contents(contents, out, tmp_path / "fetched").items():
        assert content == whole[name], name
    done = mattingmfif(*words)
    assert done.returncode == 0, done.stderr
    assert remote_contents(contents, out, tmp_path / "fetched") == whole


def test_an_interrupted_upload_leaves_nothing_that_is_not_whole(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trap: a stream that an exception leaves is closed, and closing completes the object."""
    local = tmp_path / "local"
    local.write_bytes(os.urandom(300_000))
    address = s3("interrupted/object")
    system, path = remote.remote(address)

    class Interrupted:
        """A file system whose streams are interrupted in the middle of what is written."""

        def open_output_stream(self, name: str) -> Any:
            stream = system.open_output_stream(name)

            class Stream:
                close = stream.close

                def write(self, data: Any) -> None:
                    stream.write(data[: len(data) // 2])
                    raise KeyboardInterrupt

            return Stream()

        def __getattr__(self, name: str) -> Any:
            return getattr(system, name)

    monkeypatch.setattr(remote, "remote", lambda _: (Interrupted(), path))
    with pytest.raises(KeyboardInterrupt):
        remote.put_file(local, address)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError, match="s3://shelf/interrupted/object"):
        remote.fetch_file(address, tmp_path / "back")
    remote.put_file(local, address)
    remote.fetch_file(address, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == local.read_bytes()


def test_no_credentials_are_printed_or_stored(
    contents: Contents, s3: Any, remote_photos: str, tiny_recipe: Path, tmp_path: Path
) -> None:
    from click.testing import CliRunner

    from mattingmfif.cli import cli

    def said(*words: object) -> str:
        done = CliRunner().invoke(cli, [str(word) for word in words])
        assert done.exception is None or isinstance(done.exception, UserError | SystemExit), done.exception
        return done.output + str(done.exception or "")

    out, nothing = s3("quiet"), s3("nothing-there")
    rest = ["--recipe", tiny_recipe, "--limit", 1, "--jobs", 1]
    deaf = "s3://key:secret@shelf/x?endpoint_override=127.0.0.1:9"
    for text, expected in (
        (said("build", "--src", remote_photos, "--out", out, *rest), "samples   1"),
        (said("status", out), "state     finished"),
        (said("verify", out, "--rerender", 1, "--src", remote_photos), "1 made again: sound"),
        (said("build", "--src", remote_photos, "--out", out, *rest, "--seed", 5), "planned 0, now 5"),
        (said("status", nothing), "s3://shelf/nothing-there"),
        (said("build", "--src", nothing, "--out", out, *rest), "no photographs"),
        (said("build", "--src", remote_photos, "--out", deaf, *rest), "s3://shelf/x"),
    ):
        assert expected in text
        assert "secret" not in text
    for name, content in remote_contents(contents, out, tmp_path / "fetched").items():
        assert b"secret" not in content, name


def test_names_that_lead_out_of_the_folder_are_not_followed() -> None:
    for name in ("../evil.jpg", "a/../../evil.jpg", "/etc/passwd", "a\\..\\evil.jpg", "", "nul\0.jpg"):
        assert not stays_inside(name)
    assert stays_inside("a/b..jpg")


def test_what_belongs_to_a_remote_photograph_comes_with_it(
    contents: Contents, s3: Any, small_photos: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    import cv2
    import numpy as np

    photos = tmp_path / "photos"
    (photos / "trip").mkdir(parents=True)
    shutil.copy(small_photos / "coffee.png", photos / "trip")
    height, width = cv2.imread(str(photos / "trip" / "coffee.png")).shape[:2]
    y, x = np.mgrid[:height, :width]
    matte = (np.clip(60.5 - np.hypot(x - width / 2, y - height / 2), 0, 1) * 255).astype(np.uint8)
    cv2.imwrite(str(photos / "trip" / "coffee.alpha.png"), matte)
    (photos / "LICENSES.csv").write_text("path,licence\ntrip/coffee.png,CC-BY-4.0\n")
    address = s3("with-mattes")
    upload_folder(photos, address)
    here = Request(**{**vars(request("x", "y", tiny_recipe)), "src": photos, "out": tmp_path / "here"})
    run.build(here, quiet)
    run.build(Request(**{**vars(here), "src": address, "out": tmp_path / "there", "engine": Engine(jobs=2)}), quiet)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_verify_and_index_of_a_remote_folder_keep_no_more_than_a_shard_here(
    s3: Any, built: Path, contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most that lies in the temporary folder at any time, looked at whenever a shard has been fetched or opened."""
    out = s3("streamed")
    upload_folder(built, out)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(here))
    most, fetch = [0], remote.fetch_file

    def fetched(address: str, local: Path, most_bytes: int | None = None) -> None:
        fetch(address, local, most_bytes)
        most[0] = max(most[0], sum(1 for path in here.rglob("*.parquet") if path.parent.name == "data"))

    monkeypatch.setattr(remote, "fetch_file", fetched)
    report = check_folder(out)
    assert report.ok, report.faults
    assert (report.shards, report.samples, most[0]) == (4, 4, 1)
    remote.delete_file(inside(out, "croissant.json"))
    assert run.index_folder(out).samples == 4
    assert most[0] == 1
    assert remote_contents(contents, out, tmp_path / "fetched") == contents(built)
    assert not list(here.iterdir())
    # a damaged shard and a wrong manifest are found there as here
    victim = next(name for name in remote.walk(out) if name.startswith("data/train"))
    damaged = bytearray((tmp_path / "fetched" / victim).read_bytes())
    damaged[len(damaged) // 2] ^= 16
    (tmp_path / "damaged").write_bytes(damaged)
    remote.put_file(tmp_path / "damaged", inside(out, victim))
    assert {fault.shard for fault in check_folder(out).faults} == {Path(victim).name}


def test_mattes_and_depth_maps_may_lie_elsewhere(
    contents: Contents, s3: Any, small_photos: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    names = sorted(path.name for path in small_photos.iterdir() if path.suffix in (".png", ".jpg"))[:2]
    sizes = [cv2.imread(str(small_photos / name)).shape[:2] for name in names]
    (tmp_path / "mattes").mkdir()
    (tmp_path / "depth").mkdir()
    matte = np.zeros(sizes[0], np.uint8)
    matte[sizes[0][0] // 4 : sizes[0][0] // 2, sizes[0][1] // 4 : sizes[0][1] // 2] = 255
    cv2.imwrite(str(tmp_path / "mattes" / f"{Path(names[0]).stem}.png"), matte)
    ramp = np.linspace(3, 9, sizes[1][0], dtype=np.float32)[:, None].repeat(sizes[1][1], axis=1)
    np.save(tmp_path / "depth" / f"{Path(names[1]).stem}.npy", ramp)
    near, far = {}, {}
    for name in ("mattes", "depth"):
        upload_folder(tmp_path / name, s3(f"beside/{name}"))
        near[name], far[name] = tmp_path / name, s3(f"beside/{name}")
    made = {}
    for number, places in enumerate((near, far)):
        out = tmp_path / f"out{number}"
        asked = Request(src=small_photos, out=out, recipe=load_recipe(str(tiny_recipe)), limit=2, **places)
        assert run.build(asked, quiet).samples == 2
        made[number] = contents(out)
        assert run.build(asked, quiet).shards_before == 2  # the plan knows them again
    assert made[0] == made[1]
    assert check_folder(tmp_path / "out1", rerender=2, src=small_photos, **far).ok
    remote.put_file(tmp_path / "mattes" / f"{Path(names[0]).stem}.png", inside(s3("beside/mattes"), "nobody.png"))
    with pytest.raises(UserError, match=r"--mattes s3://shelf/beside/mattes.*: nobody\.png belongs to no photograph"):
        run.build(asked, quiet)
    with pytest.raises(UserError, match=r"--depth s3://shelf/none.*: no such folder"):
        run.build(Request(**{**vars(asked), "mattes": None, "depth": s3("none")}), quiet)


def test_a_sample_that_kills_its_workers_elsewhere_is_left_out(
    s3: Any, small_photos: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that do not see the folder of the machine which gives out the work, as on a cluster."""
    get_reusable_executor(reuse=True).shutdown(wait=True)  # workers of earlier tests do not know of the fault
    monkeypatch.setenv("MATTINGMFIF_FAULT", "after-row:1")  # every worker dies after its first sample
    out = s3("killing")
    seen = build_module.run_tasks

    def elsewhere(work: Any, tasks: Any, workers: Any) -> Any:
        return seen(work, [dataclasses.replace(task, out=tmp_path / "not" / "here") for task in tasks], workers)

    monkeypatch.setattr(build_module, "run_tasks", elsewhere)
    asked = request(str(small_photos), out, tiny_recipe)
    asked = Request(**{**vars(asked), "src": small_photos, "limit": 2, "engine": Engine(jobs=2)})
    with pytest.raises(UserError, match="no sample was made; refused: crashed-worker 2") as caught:
        run.build(asked, quiet)
    assert caught.value.exit_code == 1
    assert not [name for name in remote.walk(out) if name.startswith(".work")]
    monkeypatch.delenv("MATTINGMFIF_FAULT")
