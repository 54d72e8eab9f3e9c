"""What was written is read back as arrays, whole or by window; damage is one clear error."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mattingmfif.dataset.reader import open_shards
from mattingmfif.dataset.sample import pixel_sha256
from mattingmfif.dataset.schema import is_blob, leaf_paths
from mattingmfif.errors import UserError


@pytest.fixture(scope="module", params=[("tiff", 8), ("tiff", 16), ("png", 8)], ids=str)
def stored(request, tmp_path_factory, make_record, put_shard):
    codec, bits = request.param
    folder = tmp_path_factory.mktemp("reader")
    size = {"height": 300, "width": 421, "bits": bits}
    records = [
        make_record(seed=0, **size),
        make_record(seed=1, distances_m=(0.8, 1.5, np.inf), focus_m=(0.8, 1.5, 40.0), **size),
        make_record(seed=2, distances_m=(np.inf,), focus_m=(2.0, 3.0), **size),
    ]
    put_shard(folder, records[:2], "train-00000-of-00002.parquet", codec)
    put_shard(folder, records[2:], "train-00001-of-00002.parquet", codec)
    return folder, records


def test_arrays_come_back_exactly(stored):
    folder, records = stored
    shards = open_shards(folder)
    assert len(shards) == 3
    for record, sample in zip(records, shards, strict=True):
        np.testing.assert_array_equal(sample.frames, np.stack(record.frames))
        np.testing.assert_array_equal(sample.target, record.all_in_focus)
        assert sample.frames.dtype == record.all_in_focus.dtype
        np.testing.assert_array_equal(sample.depth_m, record.depth_m)
        np.testing.assert_array_equal(sample.sharpest_frame, record.sharpest_frame)
        np.testing.assert_array_equal(sample.boundary, record.boundary > 0)
        assert sample.alphas.shape == (len(record.alphas), 300, 421)
        for alpha, code in zip(sample.alphas, record.alphas, strict=True):
            np.testing.assert_array_equal(np.rint(alpha * 65535), code)
        assert sample.trust.dtype == sample.frame_trust.dtype == np.float32
        assert float(sample.trust.min()) == float(sample.frame_trust.max()) == 1.0
        assert sample.frame_trust.shape == (len(record.frames), 300, 421)
        assert pixel_sha256(sample.frames[1]) == sample.pixel_sha256["frame_1"]


def test_the_record_comes_back(stored):
    folder, records = stored
    for record, sample in zip(records, open_shards(folder), strict=True):
        for name in ("sample_id", "split", "licence", "focus_plan", "recipe_hash", "plan_id", "toolkit_version"):
            assert getattr(sample, name) == getattr(record, name)
        assert sample.focus_distance_m == record.focus_distance_m
        assert sample.sources == record.sources
        assert sample.layers == record.layers
        assert sample.camera.draws == record.camera.draws
        assert sample.camera.aperture == {
            "blades": 0,
            "roundness": 0,
            "rotation_deg": 7,
            "cats_eye": 0,
            "spherical": 0,
        }
        assert sample.size == (300, 421)


def test_blur_radii_follow_the_textbook_formula(stored):
    folder, _ = stored
    for sample in open_shards(folder):
        for k, focus in enumerate(sample.focus_distance_m):
            z, f, s = sample.depth_m.astype(np.float64), 0.05, focus
            expected = (f / 2.8) * f / (s - f) * (1 - s / z) / 2 / 0.036 * 421
            np.testing.assert_allclose(sample.blur_radius_px(k), expected, atol=2e-4)


def test_a_crop_equals_the_slice_and_crops_of_crops_add_up(stored):
    folder, _ = stored
    sample = open_shards(folder)[1]
    crop = sample.crop(37, 200, 211, 97)
    part = np.s_[37:248, 200:297]
    assert crop.size == (211, 97)
    np.testing.assert_array_equal(crop.frames, sample.frames[:, *part])
    np.testing.assert_array_equal(crop.target, sample.target[part])
    np.testing.assert_array_equal(crop.depth_m, sample.depth_m[part])
    np.testing.assert_array_equal(crop.alphas, sample.alphas[:, *part])
    np.testing.assert_array_equal(crop.blur_radius_px(2), sample.blur_radius_px(2)[part])
    np.testing.assert_array_equal(crop.crop(5, 6, 7, 8).boundary, crop.boundary[5:12, 6:14])
    for window in [(-1, 0, 5, 5), (0, 0, 301, 5), (0, 420, 5, 2), (0, 0, 0, 1)]:
        with pytest.raises(UserError, match="leaves the sample"):
            sample.crop(*window)


def test_indices_slices_and_files_work_as_sequences_do(stored):
    folder, records = stored
    shards = open_shards(folder)
    assert shards[-1].sample_id == records[-1].sample_id
    assert [sample.sample_id for sample in shards[::-1]] == [record.sample_id for record in records[::-1]]
    with pytest.raises(IndexError):
        shards[3]
    one = open_shards(folder / "data" / "train-00001-of-00002.parquet")
    assert [sample.sample_id for sample in one] == ["sample-0002"]
    assert len(open_shards(folder, split="train")) == 3


def test_a_sample_can_be_sent_to_another_process(stored):
    folder, records = stored
    sample = open_shards(folder)[0]
    _ = sample.target
    again = pickle.loads(pickle.dumps(sample.crop(0, 0, 50, 50)))
    np.testing.assert_array_equal(again.frames[1], records[0].frames[1][:50, :50])


def test_nothing_to_open_is_said_with_what_was_expected(tmp_path, put_shard, make_record):
    with pytest.raises(UserError, match=r"no shard found; expected .*data/<split>"):
        open_shards(tmp_path)
    put_shard(tmp_path, [make_record()])
    with pytest.raises(UserError, match="no shard of split 'val' found; there are: train"):
        open_shards(tmp_path, split="val")


def test_files_are_closed_with_their_shards(stored):
    folder, _ = stored
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        assert open_shards(folder)[0].target is not None
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def everything(path):
    for sample in open_shards(path):
        for name in ("frames", "target", "depth_m", "alphas", "sharpest_frame", "boundary", "trust", "frame_trust"):
            getattr(sample, name)
        _ = sample.sources, sample.layers, sample.camera, sample.blur_radius_px(0)


@pytest.mark.parametrize("codec", ["tiff", "png"])
def test_a_damaged_shard_gives_a_user_error_with_its_name_or_reads_and_takes_little_memory(
    tmp_path, make_record, put_shard, codec, capfd, peak_bytes
):
    path = put_shard(tmp_path, [make_record(height=40, width=50)], codec=codec).path
    data = path.read_bytes()
    rng = np.random.default_rng(11)
    outcomes, messages = {"read": 0, "error": 0}, []
    for k in range(200):
        copy = bytearray(data)
        if k % 4 == 0:
            copy = copy[: int(rng.integers(len(copy)))]
        elif k % 4 == 1:
            copy[len(copy) - 1 - int(rng.integers(12_000))] ^= 1 << int(rng.integers(8))
        else:
            copy[int(rng.integers(len(copy)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(copy)
        with peak_bytes() as peak:
            try:
                everything(path)
                outcomes["read"] += 1
            except UserError as error:
                outcomes["error"] += 1
                messages.append(str(error))
        assert peak() < 20_000_000
    assert outcomes["error"] >= 50, outcomes
    assert all(path.name in message and "\n" not in message for message in messages)


def test_a_record_that_would_unpack_to_much_is_refused_before_memory_is_taken(
    tmp_path, make_record, put_shard, peak_bytes
):
    """A hundred megabytes of text packs into some kilobytes."""
    path = put_shard(tmp_path, [make_record(height=40, width=50)]).path
    table = pq.read_table(path)
    place = table.schema.get_field_index("licence")
    table = table.set_column(place, table.schema.field(place), pa.array(["x" * 100_000_000]))
    kinds = {leaf: "none" if is_blob(leaf) else "zstd" for leaf in leaf_paths()}
    pq.write_table(table, path, compression=kinds, use_dictionary=False, write_statistics=False)
    del table
    assert path.stat().st_size < 1_000_000
    with peak_bytes() as peak, pytest.raises(UserError, match=r"record: damaged \(100\d+ bytes of record\)"):
        open_shards(path)[0]
    assert peak() < 20_000_000
    assert pa.total_allocated_bytes() < 20_000_000
