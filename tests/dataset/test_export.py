"""Exports hold exactly what the shards hold, in the layouts that others read, and never leave their folder."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import tarfile

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mattingmfif.dataset.export import export
from mattingmfif.dataset.reader import open_shards
from mattingmfif.dataset.sample import SourceRecord, decode_depth
from mattingmfif.errors import UserError

OTHER = SourceRecord(path="../b|.jpg", sha256="1" * 64, licence="CC-BY-4.0", author="=Bea", url="https://u:pw@x.org/b")


@pytest.fixture(scope="module", params=[8, 16])
def folder(request, tmp_path_factory, make_record, put_shard):
    out = tmp_path_factory.mktemp("export")
    bits = request.param
    put_shard(out, [make_record(seed=k, bits=bits, focus_m=(1.0, 2.0, 4.0)[: 2 + k]) for k in range(2)])
    other = dataclasses.replace(
        make_record(seed=2, bits=bits, split="val", distances_m=(1.0, np.inf)), sources=[OTHER], licence="CC-BY-4.0"
    )
    put_shard(out, [other], "val-00000-of-00001.parquet")
    return out


def read(data):
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return image if image.ndim == 2 else image[..., ::-1]


def check(sample, content):
    """`content` maps file names to bytes."""
    letters = "ABCDEFG"[: sample.n_frames]
    info = json.loads(content["info.json"])
    for letter, frame in zip(letters, sample.frames, strict=True):
        np.testing.assert_array_equal(read(content[f"{letter}.png"]), frame)
    np.testing.assert_array_equal(read(content["gt.png"]), sample.target)
    depth = decode_depth(read(content["depth.png"]), info["camera"]["depth_scale"], info["camera"]["depth_offset"])
    np.testing.assert_array_equal(depth, sample.depth_m)
    assert info["focus_distance_m"] == sample.focus_distance_m
    assert [layer["far_m"] or np.inf for layer in info["layers"]] == [layer.far_m for layer in sample.layers]
    assert info["sources"][0]["sha256"] == sample.sources[0].sha256
    return set(content) - {f"{letter}.png" for letter in letters} - {"gt.png", "depth.png", "info.json"}


def test_folders_hold_a_scene_each_and_the_evaluator_reads_them(folder, tmp_path):
    done = export(folder, tmp_path / "f", "folders")
    assert (done.samples, done.left_out) == (3, {})
    samples = list(open_shards(folder))
    for sample in samples:
        place = tmp_path / "f" / sample.split / sample.sample_id
        assert check(sample, {path.name: path.read_bytes() for path in place.iterdir()}) == set()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "f" / "sources.csv").read_text())))
    assert [row["licence"] for row in rows] == ["CC-BY-4.0", "CC0-1.0"]
    assert "pw" not in rows[0]["url"]
    assert "pw" not in (tmp_path / "f" / "val" / "sample-0002" / "info.json").read_text()
    from mattingmfif.vaeedof.folders import find_stacks

    stacks = find_stacks(tmp_path / "f" / "train")
    assert [[path.stem for path in stack.frames] for stack in stacks] == [["A", "B"], ["A", "B", "C"]]
    assert all(stack.truth is not None and stack.truth.name == "gt.png" for stack in stacks)


def test_tar_files_are_webdataset_shards_of_whole_samples_and_always_the_same(folder, tmp_path):
    done = export(folder, tmp_path / "w", "webdataset", all_maps=True, tar_bytes=1)
    export(folder, tmp_path / "again", "webdataset", all_maps=True, tar_bytes=1)
    names = sorted(path.name for path in (tmp_path / "w").iterdir())
    assert names == ["sources.csv", "train-00000.tar", "train-00001.tar", "val-00000.tar"]
    assert done.files == 4
    found = {}
    for path in sorted((tmp_path / "w").glob("*.tar")):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, field = member.name.partition(".")
                found.setdefault(key, {})[field] = tar.extractfile(member).read()
    for sample in open_shards(folder):
        content = {
            "info.json" if field == "json" else field[0].upper() + ".png" if len(field) == 5 else field: data
            for field, data in found[sample.sample_id].items()
        }
        assert check(sample, content) == {"alpha_0.png", "sharpest_frame.png", "boundary.png", "trust.png"}


def test_datasets_reads_the_tar_files(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="datasets (extra `test`) is not installed")
    export(folder, tmp_path / "w", "webdataset", split="val")
    files = {"validation": str(tmp_path / "w" / "val-*.tar")}
    row = datasets.load_dataset("webdataset", data_files=files, split="validation", cache_dir=str(tmp_path / "c"))[0]
    sample = open_shards(folder, "val")[0]
    assert row["__key__"] == sample.sample_id
    assert row["json"]["split"] == "val"
    if sample.target.dtype == np.uint8:  # Pillow gives 16-bit colour as 8
        np.testing.assert_array_equal(np.asarray(row["gt.png"]), sample.target)


def test_licences_gate_what_is_exported(folder, tmp_path):
    done = export(folder, tmp_path / "a", "folders", allow_licences=("CC0-1.0",))
    assert (done.samples, done.left_out) == (2, {"CC-BY-4.0": 1})
    assert not (tmp_path / "a" / "val").exists()
    assert "CC-BY" not in (tmp_path / "a" / "sources.csv").read_text()
    with pytest.raises(UserError, match=r"nothing to export.*CC-BY-4\.0 \(1\), CC0-1\.0 \(2\)"):
        export(folder, tmp_path / "b", "folders", allow_licences=("MIT",))
    assert not (tmp_path / "b").exists()


def test_a_folder_that_holds_something_is_left_alone(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match=r"holds 'mine\.txt'; give a new or empty folder"):
        export(folder, tmp_path, "folders")
    with pytest.raises(UserError, match="is a file"):
        export(folder, tmp_path / "mine.txt", "webdataset")


@pytest.mark.parametrize("kind", ["folders", "webdataset"])
@pytest.mark.parametrize(("column", "value"), [("sample_id", "../../evil"), ("sample_id", "/evil"), ("split", "..")])
def test_names_from_data_never_leave_the_folder(folder, tmp_path, kind, column, value):
    """A shard whose writer was not this package."""
    path = next((folder / "data").glob("val-*"))
    table = pq.read_table(path)
    table = table.set_column(table.schema.get_field_index(column), table.schema.field(column), pa.array([value]))
    hostile = tmp_path / "in" / "data" / path.name
    hostile.parent.mkdir(parents=True)
    pq.write_table(table, hostile, compression="none", use_dictionary=False, data_page_version="1.0")
    with pytest.raises(UserError, match=rf"{path.name}, row 0"):
        export(tmp_path / "in", tmp_path / "x" / "y" / "out", kind)
    assert not list(tmp_path.rglob("*evil*"))
    assert not list((tmp_path / "x").rglob("*.png"))
    assert not list((tmp_path / "x").rglob("*part"))


def test_a_failure_leaves_no_half_sample(folder, tmp_path, monkeypatch):
    import mattingmfif.dataset.export as module

    real, calls = module.encode_cell, []

    def full(image, codec):
        calls.append(1)
        if len(calls) == 6:
            raise OSError(28, "No space left on device")
        return real(image, codec)

    for kind in ("folders", "webdataset"):
        calls.clear()
        monkeypatch.setattr(module, "encode_cell", full)
        with pytest.raises(OSError, match="No space"):
            export(folder, tmp_path / kind, kind)
        left = [path.relative_to(tmp_path / kind).as_posix() for path in (tmp_path / kind).rglob("*") if path.is_file()]
        assert all(name.startswith("train/sample-0000/") for name in left), left


def test_the_command_says_what_it_wrote(folder, tmp_path, mattingmfif):
    done = mattingmfif("export", folder, "--to", "folders", "--dest", tmp_path / "o", "--limit", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("samples   1\nfiles     6\n")
