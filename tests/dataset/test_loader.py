"""The loader gives what is stored, the same for the same key, in any process, and goes on where it stopped."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mattingmfif import FocalStackDataset, open_shards
from mattingmfif.dataset.crops import SensorDraw, sharpest_of
from mattingmfif.dataset.loader import FIELDS
from mattingmfif.dataset.manifest import write_manifest
from mattingmfif.errors import UserError
from mattingmfif.optics.sensor import Sensor
from mattingmfif.pixels.colour import decode_srgb, srgb_to_linear

CROP = (64, 80)


@pytest.fixture(scope="module", params=[8, 16])
def folder(request, tmp_path_factory, make_record, put_shard):
    out = tmp_path_factory.mktemp("loader")
    size = {"height": 300, "width": 290, "bits": request.param}
    records = [
        make_record(seed=0, **size),
        make_record(seed=1, distances_m=(0.8, 1.5, np.inf), focus_m=(0.8, 1.2, 1.5, 40.0), **size),
        make_record(seed=2, distances_m=(0.7, 2.0), focus_m=(0.7, 1.0, 2.0), bits=request.param, height=70, width=300),
    ]
    put_shard(out, records[:2], "train-00000-of-00002.parquet")
    put_shard(out, records[2:], "train-00001-of-00002.parquet", codec="png" if request.param == 8 else "tiff")
    return out


def stacks_of(folder, **options):
    return FocalStackDataset(folder, **{"crop": CROP, "output": "numpy", "seed": 3, **options})


def test_frames_are_dropped_as_often_as_asked(folder):
    def dropped(share):
        stacks = stacks_of(folder, frames=(1, 7), drop_share=share, fields=("sharpest_frame",), crops_per_sample=40)
        stored = [sample.n_frames for sample in open_shards(folder)]
        return np.mean([int(stacks[i]["present"].sum()) < stored[i // 40] for i in range(len(stacks))])

    assert dropped(0.0) == 0
    # evenly from 1 to all of 2, 4 and 3 frames: fewer than all in 1/2, 3/4 and 2/3 of the items
    assert abs(dropped(1.0) - 23 / 36) < 0.15
    assert abs(dropped(0.5) - 23 / 72) < 0.15


def test_an_item_is_the_stored_window_in_every_field(folder):
    stacks = stacks_of(folder, fields=FIELDS, crops_per_sample=2)
    assert len(stacks) == 6
    for index in range(6):
        item = stacks[index]
        sample = open_shards(folder)[index // 2]
        y, x, height, width = item["window"]
        assert (height, width) == CROP
        crop = sample.crop(int(y), int(x), int(height), int(width))
        kept = item["frame_number"][item["present"]]
        assert item["sample_id"] == sample.sample_id
        assert 2 <= len(kept) <= sample.n_frames
        assert sorted(kept) == list(kept)
        assert item["frames"].shape == (7, *CROP, 3)
        np.testing.assert_array_equal(item["frames"][: len(kept)], crop.frames[kept])
        assert item["frames"].dtype == item["target"].dtype == crop.target.dtype
        assert not item["frames"][len(kept) :].any()
        np.testing.assert_array_equal(item["target"], crop.target)
        np.testing.assert_allclose(item["depth_m"], crop.depth_m, rtol=1e-6)
        for place, frame in enumerate(kept):
            np.testing.assert_allclose(item["blur_radius_px"][place], crop.blur_radius_px(frame), atol=1e-4)
        np.testing.assert_array_equal(item["boundary"], crop.boundary)
        np.testing.assert_allclose(item["trust"], crop.trust, atol=1e-7)
        np.testing.assert_allclose(item["frame_trust"][: len(kept)], crop.frame_trust[kept], atol=1e-7)
        np.testing.assert_allclose(item["alphas"][: len(crop.alphas)], crop.alphas, atol=1e-7)
        assert not item["alphas"][len(crop.alphas) :].any()
        np.testing.assert_allclose(
            item["focus_distance_m"][: len(kept)], np.array(sample.focus_distance_m)[kept], rtol=1e-6
        )


def test_the_sharpest_frame_is_that_of_the_frames_the_item_has(folder):
    gone = 0
    for epoch in range(6):
        stacks = stacks_of(folder, fields=("sharpest_frame", "blur_radius_px"), frames=(1, 3))
        stacks.set_epoch(epoch)
        for index in range(len(stacks)):
            item = stacks[index]
            radii = np.abs(item["blur_radius_px"][item["present"]])
            expected = np.where(radii.min(axis=0) <= 0.5, radii.argmin(axis=0), 255)
            clear = np.abs(radii.min(axis=0) - 0.5) > 1e-3
            np.testing.assert_array_equal(item["sharpest_frame"][clear], expected[clear])
            gone += int((expected == 255).sum())
    assert gone > 0


def test_a_frame_next_to_the_lost_one_takes_its_place_only_within_half_a_pixel():
    stored = np.array([[0, 1, 255]], np.uint8)
    radii = np.array([[[0.2, 0.4, 9.0]], [[0.6, 0.1, 9.0]]], np.float32)  # of frames 2 and 0
    found = sharpest_of(stored, np.array([2, 0]), radii)
    np.testing.assert_array_equal(found, [[1, 1, 255]])
    np.testing.assert_array_equal(sharpest_of(stored, np.array([2]), radii[1:]), [[255, 0, 255]])


def test_an_item_is_a_function_of_seed_epoch_and_index(folder):
    first, second = stacks_of(folder, crops_per_sample=3), stacks_of(folder, crops_per_sample=3)
    for index in reversed(range(len(first))):
        assert same(first[index], second[index])
    again = pickle.loads(pickle.dumps(first))
    assert same(again[4], first[4])
    assert same(first[2, 4], first[2, 4])
    windows = {(epoch, *first[epoch, index]["window"]) for epoch in range(3) for index in range(3)}
    assert len({window[1:] for window in windows}) > 6
    assert not same(first[0, 4], first[1, 4])
    assert not same(first[4], stacks_of(folder, crops_per_sample=3, seed=4)[4])
    first.set_epoch(2)
    assert same(first[4], second[2, 4])
    assert same(first[-1], first[len(first) - 1])
    with pytest.raises(IndexError):
        first[len(first)]


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_state_resumes_after_the_item_given_last(folder):
    def run(stacks, count):
        found = []
        while len(found) < count:
            for item in stacks:
                found.append(item)
                if len(found) == count:
                    break
        return found

    whole = run(stacks_of(folder, crops_per_sample=2), 15)
    for cut in (1, 5, 6, 7, 14):
        before = stacks_of(folder, crops_per_sample=2)
        run(before, cut)
        state = before.state_dict()
        after = stacks_of(folder, crops_per_sample=2)
        after.load_state_dict(state)
        for one, other in zip(whole[cut:], run(after, 15 - cut), strict=True):
            assert same(one, other)
    orders = [[item["index"] for item in whole[start : start + 6]] for start in (0, 6)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(6))
    assert orders[0] != orders[1]
    with pytest.raises(UserError, match="has seed 9"):
        stacks_of(folder, crops_per_sample=2).load_state_dict({**state, "seed": 9})


def test_noise_and_drift_follow_the_sensor_law_and_leave_the_target(tmp_path, make_record, put_shard):
    record = make_record(height=300, width=300, bits=16, distances_m=(2.0,), focus_m=(2.0, 3.0))
    flat = np.full_like(record.all_in_focus, 40000)
    record = pickle.loads(pickle.dumps(record))
    object.__setattr__(record, "all_in_focus", flat)
    object.__setattr__(record, "frames", [flat, flat])
    put_shard(tmp_path, [record])
    draw = SensorDraw(iso=(800.0, 800.0), exposure_drift_ev=0.3)
    stacks = FocalStackDataset(tmp_path, crop=256, sensor=draw, output="numpy", frames=2)
    item = stacks[0]
    np.testing.assert_array_equal(item["target"], flat[:256, :256])
    light = float(decode_srgb(flat[:1, :1])[0, 0, 0])
    assert float(item["iso"]) == pytest.approx(800)
    assert len(set(item["exposure_ev"])) == 2
    for frame, ev in zip(item["frames"], item["exposure_ev"], strict=True):
        assert -0.3 <= ev <= 0.3
        seen = srgb_to_linear(frame / 65535)
        assert seen.mean() == pytest.approx(light * 2**ev, rel=2e-3)
        assert seen.std() == pytest.approx(float(Sensor(iso=800).noise_sigma(light * 2**ev)), rel=0.02)
    assert same(item, FocalStackDataset(tmp_path, crop=256, sensor=draw, output="numpy", frames=2)[0])
    plain = FocalStackDataset(tmp_path, crop=256, output="numpy", frames=2)[0]
    np.testing.assert_array_equal(plain["window"], item["window"])


def test_values_are_codes_or_srgb_or_linear(folder):
    codes, srgb, linear = (stacks_of(folder, values=values)[1] for values in ("codes", "srgb", "linear"))
    peak = np.iinfo(codes["target"].dtype).max
    np.testing.assert_allclose(srgb["target"], codes["target"] / peak, atol=1e-6)
    np.testing.assert_allclose(linear["target"], srgb_to_linear(srgb["target"]), atol=1e-5)
    assert srgb["frames"].dtype == linear["frames"].dtype == np.float32


def test_crops_around_the_boundary_hold_some_of_it(folder):
    near = stacks_of(folder, boundary_share=1.0, crop=32, fields=("boundary", "sharpest_frame"), crops_per_sample=20)
    for index in range(len(near)):
        item = near[index]
        assert item["boundary"].any() or (item["sharpest_frame"] == 255).any()


def test_samples_that_do_not_fit_are_left_out_and_counted(folder):
    assert stacks_of(folder, crop=100).left_out == 1
    assert len(stacks_of(folder, crop=100, frames=(4, 7))) == 1
    assert stacks_of(folder, crop=None, frames=(3, 3))[1]["target"].shape[:2] == (70, 300)
    assert stacks_of(folder, frames=3, pad_frames=False)[1]["frames"].shape[0] == 3
    with pytest.raises(UserError, match="none of 3 samples has 5 frames"):
        stacks_of(folder, frames=(5, 7))
    with pytest.raises(UserError, match="at least 4000 x 4000 px"):
        stacks_of(folder, crop=4000)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crop": 0}, "crop: 0"),
        ({"frames": (3, 2)}, r"frames: \(3, 2\)"),
        ({"frames": 8}, "frames: 8"),
        ({"fields": ("frame",)}, "fields: 'frame'; allowed: frames"),
        ({"values": "raw"}, "values: 'raw'"),
        ({"output": "tf"}, "output: 'tf'"),
        ({"boundary_share": 2}, "boundary_share: 2"),
        ({"split": "val"}, "no shard of split 'val'"),
    ],
)
def test_impossible_options_are_one_line(folder, options, words):
    with pytest.raises(UserError, match=words):
        stacks_of(folder, **options)


def test_an_impossible_sensor_is_one_line():
    for bad in ({"iso": (400, 100)}, {"iso": (0, 100)}, {"iso": -1}, {"exposure_drift_ev": 9}):
        with pytest.raises(UserError, match="allowed"):
            SensorDraw(**bad)


def test_the_manifest_saves_opening_shards_and_a_stale_one_is_not_believed(tmp_path, make_record, put_shard):
    put_shard(tmp_path, [make_record(seed=0), make_record(seed=1)], "train-00000-of-00002.parquet")
    write_manifest(tmp_path, open_shards(tmp_path).files)
    stacks = stacks_of(tmp_path)
    assert (len(stacks), stacks.catalogue._files.opened) == (2, 0)
    put_shard(tmp_path, [make_record(seed=2)], "train-00001-of-00002.parquet")
    assert len(stacks_of(tmp_path)) == 3
    put_shard(tmp_path, [make_record(seed=0)], "train-00000-of-00002.parquet")
    write_manifest(tmp_path, open_shards(tmp_path).files)
    put_shard(tmp_path, [], "train-00000-of-00002.parquet")
    with pytest.raises(UserError, match="lists more samples than it holds"):
        stacks_of(tmp_path)[0]
