"""Every check of `verify` is planted with a fault and finds it; a good folder has none."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mattingmfif.dataset.cells import encode_cell
from mattingmfif.dataset.manifest import read_manifest, write_manifest
from mattingmfif.dataset.plan import Plan, PlannedSample, PlannedShard, Source, plan_identity, write_plan
from mattingmfif.dataset.reader import open_shards
from mattingmfif.dataset.recipe import Recipe
from mattingmfif.dataset.sample import CameraRecord, LayerRecord, pixel_sha256
from mattingmfif.dataset.shards import _writer
from mattingmfif.dataset.verify import CHECKS, verify
from mattingmfif.errors import UserError

PHOTOS = {"a.jpg": "train", "b.jpg": "train", "c.jpg": "val"}


class Folder:
    """A small dataset of three photographs: two training samples in one shard, one for validation."""

    def __init__(self, out, make_record, put_shard):
        self.out, self.put_shard = out, put_shard
        out.mkdir(exist_ok=True)
        recipe = Recipe(name="tiny")
        inputs = tuple((path, hashlib.sha256(path.encode()).hexdigest()) for path in PHOTOS)
        plan_id = plan_identity(recipe, 0, "tiff", "frames", inputs)
        self.records = [
            make_record(
                seed=k,
                source=path,
                split=split,
                distances_m=(0.8, 1.6, 8.0),
                focus_m=(0.8, 1.6, 8.0) if k else (0.8, 0.95, 8.0),
                plan_id=plan_id,
                recipe_hash=recipe.recipe_hash,
            )
            for k, (path, split) in enumerate(PHOTOS.items())
        ]
        sources = tuple(
            Source(
                path=path,
                sha256=digest,
                licence="CC0-1.0",
                author="Ann Other",
                url="https://example.org/photo",
                height=96,
                width=129,
                group=digest,
                split=PHOTOS[path],
                subjects=1,
                why_no_subject="",
                has_depth=False,
                sidecars=(),
                scores={},
            )
            for path, digest in inputs
        )
        samples = tuple(
            PlannedSample(sample_id=f"sample-{k:04d}", key=str(k), split=split, kind="in-place", sources=(k,))
            for k, split in enumerate(PHOTOS.values())
        )
        shards = (
            PlannedShard(name="train-00000-of-00001.parquet", split="train", samples=(0, 1)),
            PlannedShard(name="val-00000-of-00001.parquet", split="val", samples=(2,)),
        )
        self.plan = Plan(
            plan_id=plan_id,
            recipe=recipe,
            seed=0,
            codec="tiff",
            store="frames",
            inputs=inputs,
            sources=sources,
            samples=samples,
            shards=shards,
            rejects=(),
        )
        self.write()

    def write(self):
        write_plan(self.plan, self.out)
        for shard in self.plan.shards:
            self.put_shard(self.out, [self.records[index] for index in shard.samples], shard.name)

    def change(self, index, **changes):
        """Replace fields of a record, as a build with that mistake in it would."""
        self.records[index] = dataclasses.replace(self.records[index], **changes)
        self.write()

    def edit(self, change, shard=0):
        """Rewrite a shard after `change(rows)`, past every check of the writer."""
        path = self.out / "data" / self.plan.shards[shard].name
        table = pq.read_table(path)
        rows = table.to_pylist()
        change(rows)
        with path.open("wb") as stream, _writer(stream, table.schema) as writer:
            for row in rows:
                writer.write_table(pa.Table.from_pylist([row], schema=table.schema), row_group_size=1)

    def checks(self, **options):
        return {fault.check for fault in verify(self.out, **options).faults}

    def lines(self, **options):
        return [str(fault) for fault in verify(self.out, **options).faults]


@pytest.fixture
def folder(tmp_path, make_record, put_shard):
    return Folder(tmp_path / "out", make_record, put_shard)


def painted(image, value, y=3, x=5):
    """A copy with one pixel changed, far from the subjects by default."""
    copy = image.copy()
    copy[y, x] = value
    return copy


def with_hashes(row, name, image):
    """Put an image into a row together with its true hash: only its meaning is wrong."""
    row[name] = {"bytes": encode_cell(image, "tiff"), "path": "x.tif"}
    row["pixel_sha256"][name] = pixel_sha256(image)


def test_a_good_folder_has_no_fault(folder):
    write_manifest(folder.out, open_shards(folder.out).files)
    seen = []
    report = verify(
        folder.out,
        rerender=2,
        rerender_sample=lambda sample_id: next(r for r in folder.records if r.sample_id == sample_id),
        on_sample=lambda done, total: seen.append((done, total)),
    )
    assert report.ok, report.faults
    assert (report.shards, report.samples, report.rerendered) == (2, 3, 2)
    assert report.images == 3 * (1 + 3 + 1 + 2 + 3 + 3)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_folder_named_data_whose_shards_lie_in_it_has_no_fault(tmp_path, make_record, put_shard):
    flat = Folder(tmp_path / "built", make_record, put_shard).out / "data"
    (flat.parent / "plan.json").rename(flat / "plan.json")
    write_manifest(flat, open_shards(flat).files)
    assert [str(fault) for fault in verify(flat).faults] == []
    (flat / "data").mkdir()  # among shards of its own a file is still foreign
    (flat / "data" / "notes.txt").touch()
    assert [fault.shard for fault in verify(flat).faults if "not a shard" in fault.detail] == ["notes.txt"]


def test_nothing_to_verify_is_said(tmp_path):
    with pytest.raises(UserError, match="neither a plan nor shards"):
        verify(tmp_path)


def test_a_missing_or_damaged_plan_is_found(folder):
    path = folder.out / "plan.json"
    text = path.read_text()
    path.write_text(text.replace('"seed": 0', '"seed": 1'))
    assert "plan" in folder.checks()
    path.unlink()
    assert folder.checks() == {"plan"}


def test_missing_foreign_torn_and_left_over_files_are_found(folder):
    data = folder.out / "data"
    train, val = data / "train-00000-of-00001.parquet", data / "val-00000-of-00001.parquet"
    (data / "test-00000-of-00001.parquet").write_bytes(val.read_bytes())
    (data / ".val-00000-of-00001.parquet.77.part").write_bytes(b"")
    train.write_bytes(train.read_bytes()[:-9])
    val.unlink()
    lines = "\n".join(folder.lines())
    for text in (
        "val-00000-of-00001.parquet: planned and not there",
        "there and not planned",
        "77.part: not a shard",
        "train-00000-of-00001.parquet: not a whole Parquet file",
    ):
        assert text in lines
    assert folder.checks() >= {"shard"}


def test_a_shard_under_another_name_or_of_another_plan_is_found(folder, put_shard, make_record):
    put_shard(folder.out, [make_record(split="val", source="c.jpg", seed=2)], "val-00000-of-00001.parquet")
    lines = folder.lines()
    assert any("stamped with plan_id 'pppp" in line for line in lines)


def test_another_type_of_column_is_found(folder):
    path = folder.out / "data" / "val-00000-of-00001.parquet"
    table = pq.read_table(path)
    schema = table.schema.set(table.schema.get_field_index("format_version"), pa.field("format_version", pa.int64()))
    pq.write_table(table.cast(schema), path, row_group_size=1, compression="none", use_dictionary=False)
    assert "schema" in folder.checks()


def test_other_declarations_for_datasets_are_found(folder):
    path = folder.out / "data" / "val-00000-of-00001.parquet"
    table = pq.read_table(path)
    table = table.replace_schema_metadata({**table.schema.metadata, b"huggingface": b"{}"})
    with path.open("wb") as stream, _writer(stream, table.schema) as writer:
        writer.write_table(table, row_group_size=1)
    assert folder.checks() == {"schema"}


def test_missing_doubled_and_exchanged_samples_are_found(folder):
    folder.edit(lambda rows: rows.reverse())
    assert folder.checks() == {"count"}
    folder.edit(lambda rows: rows.__setitem__(1, rows[0]))
    assert "a sample is there twice" in "\n".join(folder.lines())
    folder.edit(lambda rows: rows.pop())
    assert any("is missing and was not refused" in line for line in folder.lines())


def test_a_refused_sample_may_be_missing(folder):
    rows = json.dumps([{"path": "b.jpg", "sha256": None, "stage": "render", "reason": "no-subject", "detail": ""}])
    folder.put_shard(
        folder.out,
        folder.records[:1],
        "train-00000-of-00001.parquet",
        closing_metadata=lambda: {"mattingmfif.refused": rows},
    )
    assert folder.checks() == set()


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.update(recipe_hash="0" * 64),
        lambda row: row.update(plan_id="0" * 64),
        lambda row: row.update(codec="png"),
        lambda row: row.update(split="test"),
        lambda row: row.update(trust_1=None),
        lambda row: row["pixel_sha256"].update(alpha_0=None),
        lambda row: row["layers"].pop(),
        lambda row: row["layers"][0].update(source=4),
        lambda row: row["focus_distance_m"].__setitem__(0, 0.01),
        lambda row: row["focus_distance_m"].pop(),
        lambda row: row["sources"][0].update(path="z.jpg"),
        lambda row: row["sources"][0].update(licence="CC-BY-4.0"),
        lambda row: row.update(camera=None),
        lambda row: with_hashes(row, "trust", np.zeros((5, 5), np.uint8)),
        lambda row: with_hashes(row, "frame_2", np.zeros((96, 129, 3), np.uint16)),
    ],
)
def test_a_record_that_does_not_agree_with_itself_or_the_plan_is_found(folder, change):
    folder.edit(lambda rows: change(rows[0]))
    assert folder.checks() & {"record", "damaged"}


def test_a_cell_that_cannot_be_read_is_found(folder):
    def cut(rows):
        rows[0]["frame_1"]["bytes"] = rows[0]["frame_1"]["bytes"][:-1]

    folder.edit(cut)
    assert folder.checks() >= {"damaged"}
    assert any("sample-0000" in line and "frame_1" in line for line in folder.lines())


def test_a_changed_pixel_is_found_by_its_hash(folder):
    def change(rows):
        image = painted(folder.records[0].frames[1], 7)
        rows[0]["frame_1"]["bytes"] = encode_cell(image, "tiff")

    folder.edit(change)
    assert folder.lines() == [
        "checksum: train-00000-of-00001.parquet sample-0000: frame_1: the pixels are not those that were written"
    ]


def test_a_flipped_byte_anywhere_in_the_images_is_found(folder):
    path = folder.out / "data" / "val-00000-of-00001.parquet"
    data = path.read_bytes()
    file = open_shards(path)[0].file
    rng = np.random.default_rng(0)
    for name in ("all_in_focus", "frame_2", "depth", "alpha_1", "sharpest_frame", "boundary", "trust", "trust_0"):
        start, length = file.span(0, name)
        for at in rng.integers(start, start + length, 3):
            copy = bytearray(data)
            copy[int(at)] ^= 0x20
            path.write_bytes(copy)
            padding_only = np.array_equal(_image(path, name), _image_of(data, path, name))
            path.write_bytes(copy)
            assert folder.checks() & {"checksum", "damaged"} or padding_only


def _image(path, name):
    try:
        return open_shards(path)[0].image(name)
    except UserError:
        return None


def _image_of(data, path, name):
    path.write_bytes(data)
    return _image(path, name)


def test_a_wrong_depth_is_found(folder):
    folder.change(0, depth_m=painted(folder.records[0].depth_m, 3.0))
    assert "depth" in folder.checks()


def test_a_wrong_sharpest_frame_is_found(folder):
    for value in (1, 255, 200):
        folder.change(0, sharpest_frame=painted(folder.records[0].sharpest_frame, value))
        assert folder.checks() == {"sharpest"}


def test_a_gap_that_is_not_marked_is_found(folder):
    assert (folder.records[0].sharpest_frame == 255).any()
    closed = np.where(folder.records[0].sharpest_frame == 255, 1, folder.records[0].sharpest_frame)
    folder.change(0, sharpest_frame=closed.astype(np.uint8))
    assert folder.checks() == {"sharpest"}


def test_a_camera_that_did_not_take_the_frames_is_found(folder):
    camera = folder.records[0].camera
    folder.change(0, camera=dataclasses.replace(camera, f_number=22.0))
    assert "sharpest" in folder.checks()
    folder.change(0, camera=dataclasses.replace(camera, f_number=0.7))
    assert "boundary" in folder.checks()


def test_a_wrong_boundary_is_found(folder):
    good = folder.records[0].boundary
    for bad in (np.zeros_like(good), np.full_like(good, 255), painted(good, 7, 48, 64)):
        folder.change(0, boundary=bad)
        assert "boundary" in folder.checks()


def test_a_pixel_in_focus_that_differs_by_one_code_is_found(folder):
    record = folder.records[0]
    middle = (int(96 * 0.4), int(129 * 0.4))
    assert record.sharpest_frame[middle] == 0
    frames = list(record.frames)
    frames[0] = frames[0].copy()
    frames[0][(*middle, 1)] ^= 1
    folder.change(0, frames=frames)
    assert folder.checks() == {"in-focus"}
    assert any("frame 0: 1 of" in line and "by up to 1 codes" in line for line in folder.lines())
    noisy = dataclasses.replace(record.camera, sensor={"read_noise": 1.0})
    folder.change(0, camera=noisy)
    assert folder.checks() == set()


def test_frames_that_change_places_are_found(folder):
    folder.change(0, frames=folder.records[0].frames[::-1])
    assert folder.checks() == {"in-focus"}


def test_a_trust_that_differs_in_focus_is_found(folder):
    trust = [painted(folder.records[0].frame_trust[0], 100, 38, 51), *folder.records[0].frame_trust[1:]]
    folder.change(0, frame_trust=trust)
    assert folder.checks() == {"trust"}


def test_a_source_in_two_splits_is_found(folder):
    folder.change(2, sources=folder.records[0].sources)
    assert folder.checks() == {"split"}


def test_near_duplicates_in_two_splits_are_found(folder):
    first, second, third = folder.plan.sources
    third = dataclasses.replace(third, group=first.group)
    folder.plan = dataclasses.replace(folder.plan, sources=(first, second, third))
    folder.write()
    assert any("near-duplicate group of 'c.jpg'" in line for line in folder.lines())


def test_a_photograph_that_left_the_split_of_an_earlier_dataset_is_found(folder):
    assert folder.checks(earlier=folder.plan) == set()
    first, second, third = folder.plan.sources
    moved = dataclasses.replace(folder.plan, sources=(first, second, dataclasses.replace(third, split="test")))
    lines = folder.lines(earlier=moved)
    assert all(line.startswith("split: ") for line in lines)
    assert "'c.jpg' is in 'val' and, by sample of the earlier dataset, in 'test'" in lines[0]


def test_a_manifest_that_tells_another_story_is_found(folder):
    rows = write_manifest(folder.out, open_shards(folder.out).files)
    assert rows["sample_id"].to_pylist() == ["sample-0000", "sample-0001", "sample-0002"]
    assert read_manifest(folder.out) == rows
    rows = rows.to_pylist()
    assert rows[0]["image_bytes"] > 100_000
    assert (rows[0]["width"], rows[0]["height"], rows[0]["frames"], rows[0]["layers"]) == (129, 96, 3, 3)
    folder.change(0, focus_plan="gap")
    assert folder.checks() == {"manifest"}
    (folder.out / "manifest.parquet").write_bytes(b"PAR1")
    assert folder.checks() == {"manifest"}


def test_a_sample_that_cannot_be_made_again_is_found(folder):
    def another(sample_id):
        record = next(r for r in folder.records if r.sample_id == sample_id)
        return dataclasses.replace(record, all_in_focus=painted(record.all_in_focus, 0))

    lines = folder.lines(rerender=1, rerender_sample=another)
    assert len(lines) == 1
    assert lines[0].startswith("rerender: ")
    assert "all_in_focus: 3 values differ" in lines[0]

    def nothing(sample_id):
        raise RuntimeError("photo gone")

    assert any(
        "could not be made again (RuntimeError: photo gone)" in x
        for x in folder.lines(rerender=1, rerender_sample=nothing)
    )


def test_a_receding_layer_and_a_layer_at_infinity_are_no_fault(tmp_path, make_record, put_shard):
    record = make_record(distances_m=(1.0, np.inf), focus_m=(1.0, 400.0), split="train")
    ramp = np.linspace(2.0, 40.0, 96, dtype=np.float32)[:, None].repeat(129, axis=1)
    depth = np.where(record.depth_m == 1.0, np.float32(1.0), ramp).astype(np.float32)
    layers = [record.layers[0], LayerRecord(kind="ground", source=0, near_m=2.0, far_m=40.0)]
    put_shard(tmp_path, [record])
    assert {fault.check for fault in verify(tmp_path).faults} == {"plan"}
    receding = dataclasses.replace(record, depth_m=depth, layers=layers)
    put_shard(tmp_path, [receding])
    assert {fault.check for fault in verify(tmp_path).faults} == {"plan", "sharpest"}
    radii = np.stack([np.abs(open_shards(tmp_path)[0].blur_radius_px(k)) for k in range(2)])
    best = np.where(radii.min(axis=0) <= 0.5, radii.argmin(axis=0), 255).astype(np.uint8)
    put_shard(tmp_path, [dataclasses.replace(receding, sharpest_frame=best)])
    assert {fault.check for fault in verify(tmp_path).faults} == {"plan"}


def test_every_check_is_planted_here():
    source = open(__file__, encoding="utf-8").read()  # noqa: PTH123, SIM115
    for check in CHECKS:
        assert f'"{check}"' in source or f'"{check}:' in source, check


def test_the_camera_record_is_what_ideal_means():
    assert CameraRecord(focal_length_mm=50, f_number=2, sensor_width_mm=36, image_width_px=100).is_ideal
