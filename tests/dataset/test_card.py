"""The card's numbers are those of the shards, the Hub can read its front matter, mlcroissant finds Croissant valid."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json

import numpy as np
import pytest
import yaml

from mattingmfif.dataset.card import COLUMN_TEXTS, megabytes, spread, write_card
from mattingmfif.dataset.describe import describe, spread_choice
from mattingmfif.dataset.reader import open_shards
from mattingmfif.dataset.sample import SourceRecord
from mattingmfif.dataset.schema import COLUMN_NAMES

UGLY = SourceRecord(
    path="a|b <img src=x>.jpg",
    sha256="0" * 64,
    licence="CC-BY-4.0",
    author="=Ann `Other` [x](http://evil)\n# big",
    url="https://ann:secret@example.org/p",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_record, put_shard):
    out = tmp_path_factory.mktemp("card")
    records = [make_record(seed=0), make_record(seed=1, focus_m=(1.0, 2.0, 4.0), source="b.jpg")]
    put_shard(out, records, "train-00000-of-00001.parquet")
    other = dataclasses.replace(
        make_record(seed=2, split="val", distances_m=(1.0, np.inf)), sources=[UGLY], licence="CC-BY-4.0"
    )
    put_shard(out, [other], "val-00000-of-00001.parquet")
    (out / "recipe.lock.toml").write_text('schema = 1\nname = "tiny: \\"x\\""\n')
    return out


@pytest.fixture(scope="module")
def card(folder):
    return write_card(folder).read_text(encoding="utf-8")


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_front_matter_is_yaml_with_licences_and_splits(card):
    plain = front_matter(card)
    assert plain["pretty_name"] == 'tiny: "x"'
    assert plain["license"] == ["cc-by-4.0", "cc0-1.0"]
    assert plain["size_categories"] == ["n<1K"]
    assert plain["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/train-*.parquet"},
        {"split": "validation", "path": "data/val-*.parquet"},
    ]


def test_a_licence_that_the_hub_does_not_know_is_other(tmp_path, make_record, put_shard):
    put_shard(tmp_path, [make_record(licence="my own: terms")])
    plain = front_matter(write_card(tmp_path).read_text())
    assert plain["license"] == "other"
    assert plain["license_link"] == "sources.csv"


def test_the_numbers_are_those_of_the_shards(folder, card):
    sizes = [path.stat().st_size for path in sorted((folder / "data").iterdir())]
    assert f"| train | 2 | 5 | 2 | 1 | {megabytes(sizes[0])} |" in card
    assert f"| all | 3 | 7 | 3 | 2 | {megabytes(sum(sizes))} |" in card
    assert "| frames a stack | 2 (2), 3 (1) |" in card
    assert "| farthest layer, m | 4 / 4 / inf |" in card
    gaps = [100 * float((sample.sharpest_frame == 255).mean()) for sample in open_shards(folder)]
    assert f"| sharp in no frame (the gap), % of the pixels | {spread(gaps)} |" in card


def test_every_column_is_explained(card):
    assert set(COLUMN_TEXTS) == set(COLUMN_NAMES)
    for name in COLUMN_NAMES:
        if name.rsplit("_", 1)[0] not in ("frame", "alpha", "trust"):
            assert f"`{name}`" in card
    assert "`frame_0 … frame_6`" in card


def test_names_from_data_stay_names(folder, card):
    assert "<img" not in card
    assert "](http://evil" not in card
    assert "\n# big" not in card
    rows = list(csv.DictReader(io.StringIO((folder / "sources.csv").read_text(encoding="utf-8"))))
    ugly = next(row for row in rows if row["sha256"] == "0" * 64)
    assert ugly["path"] == UGLY.path
    assert ugly["author"].startswith("'=")
    for name in ("README.md", "sources.csv", "croissant.json"):
        assert "secret" not in (folder / name).read_text(encoding="utf-8")


def test_the_card_is_the_same_each_time(folder, card):
    assert write_card(folder).read_text(encoding="utf-8") == card


def test_datasets_loads_the_folder_by_its_card(folder, card, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))
    assert {name: rows.num_rows for name, rows in found.items()} == {"train": 2, "validation": 1}
    assert found["train"][0]["all_in_focus"].size == (129, 96)


def test_unknown_licences_are_said(tmp_path, make_record, put_shard):
    record = make_record(licence="unknown")
    put_shard(tmp_path, [record])
    assert "Photographs of unknown licence: 1." in write_card(tmp_path).read_text()


def test_croissant_names_every_file_with_its_hash(folder, card):
    document = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
    files = {item["@id"]: item for item in document["distribution"] if item["@type"] == "cr:FileObject"}
    assert sorted(files) == ["data/train-00000-of-00001.parquet", "data/val-00000-of-00001.parquet", "sources.csv"]
    for place, item in files.items():
        assert item["sha256"] == hashlib.sha256((folder / place).read_bytes()).hexdigest()
    assert document["license"] == ["CC-BY-4.0", "CC0-1.0"]


@pytest.mark.parametrize("bits", [8, 16])
def test_mlcroissant_finds_it_valid_and_reads_the_samples(tmp_path, make_record, put_shard, bits):
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant (extra `test`) is not installed")
    record = make_record(bits=bits)
    put_shard(tmp_path, [record])
    write_card(tmp_path)
    dataset = mlcroissant.Dataset(str(tmp_path / "croissant.json"))
    assert not dataset.metadata.issues.errors
    rows = list(dataset.records("train"))
    assert len(rows) == 1
    np.testing.assert_array_equal(np.asarray(rows[0]["train/sharpest_frame"]), record.sharpest_frame)
    if bits == 8:
        np.testing.assert_array_equal(np.asarray(rows[0]["train/frame_1"]), record.frames[1])


def test_the_preview_config_is_small_and_loads_by_name(folder, card, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="datasets (extra `test`) is not installed")
    assert [config["config_name"] for config in front_matter(card)["configs"]] == ["default", "preview"]
    few = datasets.load_dataset(str(folder), "preview", cache_dir=str(tmp_path))
    assert {name: len(rows) for name, rows in few.items()} == {"train": 2, "validation": 1}
    row = few["validation"][0]
    assert row["preview"].size[0] > 16
    assert row["sources"][0]["licence"] == "CC-BY-4.0"
    assert "secret" not in row["sources"][0]["url"]
    whole = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))
    assert "frame_0" in whole["train"].column_names


def test_the_choice_of_samples_is_spread_and_steady(tmp_path, make_record, put_shard):
    put_shard(tmp_path, [make_record(seed=k, height=20, width=30) for k in range(9)])
    shards = open_shards(tmp_path)
    few = spread_choice(shards, 3)
    assert len(few) == 3
    assert set(few) <= set(spread_choice(shards, 5))
    assert few == sorted(few)
    assert spread_choice(shards, 50) == list(range(9))
    assert len(describe(shards, measured=2).shares.gap) == 2


def test_numbers_are_written_for_people():
    assert spread([]) == "none"
    assert spread([2, 2.0001]) == "2"
    assert spread([1, 2, 30]) == "1 / 2 / 30"
    assert [megabytes(n) for n in (900, 12_300_000, 4_560_000_000)] == ["0.9 kB", "12.3 MB", "4.6 GB"]
