"""Shards are whole or absent, the same bytes each time, and readable by pyarrow and Hugging Face datasets."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from mattingmfif.dataset.schema import COLUMN_NAMES, is_blob
from mattingmfif.dataset.shards import (
    parse_shard_name,
    remove_stale_temporaries,
    shard_is_complete,
    shard_name,
    write_shard,
)
from mattingmfif.dataset.whole_files import temporary_beside, this_host

PLAN, RECIPE = "p" * 64, "r" * 64


def test_two_writes_give_identical_bytes(tmp_path, make_record, put_shard):
    one, two = (put_shard(tmp_path / name, [make_record(seed=1), make_record(seed=2)]) for name in "ab")
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.total_bytes == one.path.stat().st_size
    assert one.sample_ids == ("sample-0001", "sample-0002")


def test_the_folder_and_the_process_are_not_in_the_bytes(tmp_path, make_record, put_shard):
    data = put_shard(tmp_path, [make_record()]).path.read_bytes()
    assert str(tmp_path).encode() not in data
    assert f".{os.getpid()}.part".encode() not in data


def test_the_columns_are_those_of_the_interface(tmp_path, make_record, put_shard):
    schema = pq.read_schema(put_shard(tmp_path, [make_record()]).path)
    assert tuple(schema.names) == COLUMN_NAMES
    assert " ".join(COLUMN_NAMES) == (
        "sample_id split sources licence camera layers focus_plan focus_distance_m all_in_focus "
        "frame_0 frame_1 frame_2 frame_3 frame_4 frame_5 frame_6 depth "
        "alpha_0 alpha_1 alpha_2 alpha_3 alpha_4 alpha_5 sharpest_frame boundary "
        "trust trust_0 trust_1 trust_2 trust_3 trust_4 trust_5 trust_6 preview pixel_sha256 "
        "codec recipe_hash plan_id format_version toolkit_version"
    )


def test_a_sample_is_a_row_group_and_image_bytes_are_stored_as_they_are(tmp_path, make_record, put_shard):
    footer = pq.ParquetFile(put_shard(tmp_path, [make_record(seed=1), make_record(seed=2)]).path).metadata
    assert footer.num_row_groups == 2
    for group in range(2):
        assert footer.row_group(group).num_rows == 1
        for index in range(footer.num_columns):
            column = footer.row_group(group).column(index)
            assert "RLE_DICTIONARY" not in column.encodings
            if is_blob(column.path_in_schema):
                assert column.compression == "UNCOMPRESSED"
                assert not column.is_stats_set


def test_no_samples_make_a_valid_empty_shard(tmp_path, put_shard):
    path = put_shard(tmp_path, []).path
    assert pq.read_table(path).num_rows == 0
    assert shard_is_complete(path, PLAN)


@pytest.mark.parametrize("codec", ["tiff", "png"])
@pytest.mark.parametrize("bits", [8, 16])
def test_datasets_shows_pictures_and_none_for_absent_frames(tmp_path, make_record, put_shard, codec, bits, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    record = make_record(bits=bits)
    path = put_shard(tmp_path, [record, make_record(seed=1, bits=bits, focus_m=(1, 2, 4))], codec=codec).path
    rows = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == list(COLUMN_NAMES)
    row = rows[0]
    pictures = {"depth": None, "alpha_0": record.alphas[0], "sharpest_frame": record.sharpest_frame}
    if bits == 8:
        pictures |= {"all_in_focus": record.all_in_focus, "frame_1": record.frames[1]}
    else:  # Pillow would give 8 of the 16 bits, so these are left as bytes
        assert set(row["frame_1"]) == {"bytes", "path"}
    for name, expected in pictures.items():
        assert row[name].size == (129, 96)
        if expected is not None:
            np.testing.assert_array_equal(np.asarray(row[name]), expected)
    assert [row[f"frame_{k}"] for k in range(2, 7)] == [None] * 5
    assert [row[f"trust_{k}"] for k in range(2, 7)] == [None] * 5
    assert rows[1]["frame_2"] is not None
    assert row["sources"][0]["licence"] == "CC0-1.0"
    assert row["camera"]["aperture"]["rotation_deg"] == 7
    assert row["preview"].format == "JPEG"


def test_options_of_free_form_are_strict_json(tmp_path, make_record, put_shard):
    record = make_record()
    camera = dataclasses.replace(record.camera, draws={"b": float("inf"), "a": [1, (2.5,)]})
    path = put_shard(tmp_path, [dataclasses.replace(record, camera=camera)]).path
    text = pq.read_table(path, columns=["camera"]).to_pylist()[0]["camera"]["draws"]
    assert text == '{"a":[1,[2.5]],"b":"inf"}'
    json.loads(text, parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize(
    "change", [{"plan_id": "q" * 64}, {"recipe_hash": "q" * 64}, {"split": "test"}, {"bits": 16}], ids=str
)
def test_a_sample_of_another_plan_recipe_split_or_depth_is_refused_and_leaves_nothing(tmp_path, make_record, change):
    path = tmp_path / shard_name("train", 0, 1)
    with pytest.raises(ValueError, match="sample-0000"):
        write_shard(
            path, [make_record(**change)], codec="tiff", plan_id=PLAN, recipe_hash=RECIPE, toolkit_version="0.1.0"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_of_samples_leaves_the_old_shard(tmp_path, make_record, put_shard):
    path = put_shard(tmp_path, [make_record()]).path
    before = path.read_bytes()

    def samples():
        yield make_record(seed=5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(path, samples(), codec="tiff", plan_id=PLAN, recipe_hash=RECIPE, toolkit_version="0.1.0")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_shard_is_complete_only_whole_under_its_own_name_and_plan(tmp_path, make_record, put_shard):
    path = put_shard(tmp_path, [make_record()]).path
    assert shard_is_complete(path, PLAN)
    assert shard_is_complete(path, PLAN, deep=True)
    assert not shard_is_complete(path, "q" * 64)
    assert not shard_is_complete(tmp_path / "absent.parquet", PLAN)
    data = path.read_bytes()
    other = path.with_name(shard_name("train", 1, 2))
    other.write_bytes(data)
    assert not shard_is_complete(other, PLAN)
    for length in (0, 3, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        assert not shard_is_complete(path, PLAN)


def test_a_flipped_byte_anywhere_in_the_pages_is_found_by_the_deep_check(tmp_path, make_record, put_shard):
    path = put_shard(tmp_path, [make_record()]).path
    data = path.read_bytes()
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    last = max(
        pq.ParquetFile(path).metadata.row_group(0).column(k).data_page_offset
        for k in range(chunk.statistics is not None, 60)
    )
    rng = np.random.default_rng(0)
    for at in rng.integers(4, last, 60):
        copy = bytearray(data)
        copy[int(at)] ^= 0x10
        path.write_bytes(copy)
        if shard_is_complete(path, PLAN, deep=True):
            table = pq.read_table(path)  # only statistics inside a page header are outside every checksum
            path.write_bytes(data)
            assert table.equals(pq.read_table(path))


def test_shard_names_go_both_ways():
    assert shard_name("val", 3, 12) == "val-00003-of-00012.parquet"
    assert parse_shard_name("val-00003-of-00012.parquet") == ("val", 3, 12)
    for name in ("val-3-of-12.parquet", ".val-00003-of-00012.parquet.9.part", "../val-00003-of-00012.parquet"):
        assert parse_shard_name(name) is None


def test_only_temporaries_of_dead_writers_of_this_machine_are_removed(tmp_path):
    alive = temporary_beside(tmp_path / "train-00000-of-00001.parquet")
    dead = alive.with_name(alive.name.replace(f"-{os.getpid()}-", "-999999-"))
    elsewhere = alive.with_name(f".train-00000-of-00001.parquet.other{this_host()}-999999-00000000.part")
    foreign = tmp_path / ".notes.part"
    for path in (dead, alive, elsewhere, foreign):
        path.write_bytes(b"x")
    assert remove_stale_temporaries(tmp_path) == [dead.name]
    assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere, foreign])
    assert remove_stale_temporaries(tmp_path, all_writers_are_gone=True) == sorted([alive.name, elsewhere.name])
    assert list(tmp_path.iterdir()) == [foreign]
