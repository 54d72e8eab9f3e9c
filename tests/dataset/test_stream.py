"""A stream gives the dataset's items, a few shards at a time, from far away, and goes on where it stopped."""

from __future__ import annotations

import numpy as np
import pytest

from mattingmfif import FocalStackDataset
from mattingmfif.dataset import files
from mattingmfif.dataset.manifest import write_manifest
from mattingmfif.dataset.reader import open_shards
from mattingmfif.dataset.stream import FocalStackStream
from mattingmfif.errors import UserError

OPTIONS = {"crop": 40, "output": "numpy", "crops_per_sample": 2, "fields": ("frames", "target")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_record, put_shard):
    out = tmp_path_factory.mktemp("stream")
    for shard in range(5):
        records = [make_record(seed=10 * shard + k) for k in range(2)]
        put_shard(out, records, f"train-{shard:05d}-of-00005.parquet")
    write_manifest(out, open_shards(out).files)
    return out


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_the_items_are_the_datasets_and_few_shards_are_mixed_at_a_time(folder):
    stream = FocalStackStream(folder, **OPTIONS, shards_at_once=2, threads=3)
    stacks = FocalStackDataset(folder, **OPTIONS)
    first, second = list(stream), list(stream)
    for epoch, items in enumerate((first, second)):
        assert sorted(item["index"] for item in items) == list(range(20))
        assert all(same(item, stacks[epoch, item["index"]]) for item in items)
        shards = [item["index"] // 4 for item in items]
        assert [len(set(shards[start : start + 8])) for start in (0, 8, 16)] == [2, 2, 1]
    assert [item["index"] for item in first] != [item["index"] for item in second]


def test_a_state_resumes_after_the_item_given_last_not_after_what_was_read_ahead(folder):
    whole = [*FocalStackStream(folder, **OPTIONS), *FocalStackStream(folder, **OPTIONS)][:20]
    first = FocalStackStream(folder, **OPTIONS, threads=5)
    iterator = iter(first)
    given = [next(iterator) for _ in range(7)]
    state = first.state_dict()
    iterator.close()
    resumed = FocalStackStream(folder, **OPTIONS, threads=2)
    resumed.load_state_dict(state)
    assert all(map(same, whole, [*given, *resumed]))
    with pytest.raises(UserError, match="shards_at_once 8, this stream has 3"):
        FocalStackStream(folder, **OPTIONS, shards_at_once=3).load_state_dict(state)


def test_a_stream_from_s3_is_that_from_a_disk(folder, s3):
    system, _ = files.remote(s3("far"))
    for path in folder.rglob("*.parquet"):
        with system.open_output_stream(f"shelf/far/{path.relative_to(folder).as_posix()}") as target:
            target.write(path.read_bytes())
    here, there = FocalStackStream(folder, **OPTIONS), FocalStackStream(s3("far"), **OPTIONS)
    assert all(map(same, here, there))
    items = there.__getitems__([(3, 1), (3, 0)])
    assert same(items[1], here[3, 0])


def test_a_damaged_shard_ends_the_stream_with_its_name(folder, tmp_path):
    (tmp_path / "data").mkdir()
    for path in (folder / "data").iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
        (tmp_path / "data" / path.name).write_bytes(data)
    (tmp_path / "manifest.parquet").write_bytes((folder / "manifest.parquet").read_bytes())
    with pytest.raises(UserError, match=r"train-0000\d-of-00005\.parquet"):
        list(FocalStackStream(tmp_path, **OPTIONS))
