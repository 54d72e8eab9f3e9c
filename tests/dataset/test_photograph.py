"""Stored layers are photographed again to the stored frames, windows as the whole; new cameras obey optics."""

from __future__ import annotations

import contextlib
import gc
import weakref
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mattingmfif import FocalStackDataset, open_shards
from mattingmfif.dataset.alignment import aligned_mask
from mattingmfif.dataset.camera import lens_of
from mattingmfif.dataset.card import write_card
from mattingmfif.dataset.check import check_folder
from mattingmfif.dataset.layer_store import lowered, store_layers
from mattingmfif.dataset.photograph import photograph
from mattingmfif.dataset.retake import Retake
from mattingmfif.dataset.sample import (
    CameraRecord,
    LayerRecord,
    SampleRecord,
    SourceRecord,
    decode_depth,
    encode_depth,
)
from mattingmfif.dataset.sample_check import SampleCheck
from mattingmfif.errors import UserError
from mattingmfif.optics import (
    Aperture,
    Layer,
    Scene,
    ThinLens,
    composite,
    composite_trust,
    expose_stack,
    matte_share,
    mean_light,
    render,
    scene_depth_m,
)
from mattingmfif.pixels.colour import decode_srgb, encode_srgb

LIMIT_PX = 12.0
FOCUS_M = (0.8, 1.3, 6.0)


def scene_of(margin, bits, with_known):
    """Two soft discs in front of a ground that recedes, quantised to what is stored."""
    height, width = 210 + 2 * margin, 330 + 2 * margin
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    layers = []
    for k, distance in enumerate((0.8, 1.3)):
        texture = cv2.GaussianBlur(rng.random((height, width, 3), np.float32), (0, 0), 1.2)
        colour = decode_srgb(encode_srgb(np.clip((texture - 0.5) * 3 + 0.35, 0, 1), bits))
        far = np.hypot(y - height * (0.45 + 0.1 * k), x - width * (0.35 + 0.3 * k))
        codes = np.rint(np.clip((62 - far) / 9, 0, 1) * 65535).astype(np.uint16)
        layers.append(Layer(colour, codes.astype(np.float32) / np.float32(65535), distance))
    texture = cv2.GaussianBlur(rng.random((height, width, 3), np.float32), (0, 0), 1.0)
    colour = decode_srgb(encode_srgb(np.clip((texture - 0.5) * 3 + 0.2, 0, 1), bits))
    ground = np.float32(1) / (np.float32(0.15) + np.float32(0.55) * np.clip(y - 60, 0, None) / height)
    known = None
    if with_known:
        known = 1 - np.maximum(layers[0].alpha, layers[1].alpha)
        known = np.rint(known * 255).astype(np.float32) / np.float32(255)
    layers.append(Layer(colour, np.ones((height, width), np.float32), ground, known=known))
    return Scene(layers)


def rough_scene():
    """Reliefs in front of one another: distance maps of which every part has other slopes."""
    height, width = 210, 330
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    layers = []
    for k in range(3):
        texture = cv2.GaussianBlur(rng.random((height, width, 3), np.float32), (0, 0), 2.5)
        colour = decode_srgb(encode_srgb(np.clip((texture - 0.5) * 4 + 0.3, 0, 1)))
        hills = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 9 + 9 * k)
        inverse = (1.1, 0.75, 0.3)[k] + 0.2 * hills / np.abs(hills).max()
        alpha = np.ones((height, width), np.float32)
        if k < 2:
            codes = np.rint(np.clip((60 - np.hypot(y - 90 - 40 * k, x - 100 - 90 * k)) / 6, 0, 1) * 65535)
            alpha = codes.astype(np.float32) / np.float32(65535)
        layers.append(Layer(colour, alpha, (1 / inverse).astype(np.float32)))
    return Scene(layers)


def record_of(margin=0, bits=8, quality="exact", with_known=True, seed=0, cats_eye=0.0, rough=False, **faults):
    scene = rough_scene() if rough else scene_of(margin, bits, with_known)
    f_number = 1.2 if rough else 5.6  # slopes of up to half a pixel of radius a pixel
    lens = ThinLens(50.0, f_number, 36.0, Aperture(blades=7, roundness=0.5, cats_eye=cats_eye), **faults)
    inner = np.s_[margin : scene.shape[0] - margin, margin : scene.shape[1] - margin]
    exposures = list(expose_stack(scene, lens, FOCUS_M, quality, image_width_px=330.0))
    depth_m = np.ascontiguousarray(scene_depth_m(scene)[inner])
    stored_m = decode_depth(*encode_depth(depth_m))
    radii = np.abs(np.stack([lens.blur_radius_px(stored_m, s, 330) for s in FOCUS_M]))
    sharpest = np.where(radii.min(axis=0) <= 0.5, radii.argmin(axis=0), 255).astype(np.uint8)
    boundary = np.logical_or.reduce([aligned_mask(e.boundary, e.magnification)[inner] for e in exposures])
    trust_codes = [np.floor(np.clip(e.trust[inner], 0, 1) * 255 + 0.25).astype(np.uint8) for e in exposures]
    ranges = [(float(np.min(layer.distance_m)), float(np.max(layer.distance_m))) for layer in scene.ordered]
    kinds = ("subject", "depth-map" if rough else "ground")
    return SampleRecord(
        sample_id=f"layered-{seed}",
        split="train",
        sources=[SourceRecord(path="photo.jpg", sha256="0" * 64, licence="CC0-1.0")],
        licence="CC0-1.0",
        camera=CameraRecord(
            focal_length_mm=50.0,
            f_number=f_number,
            sensor_width_mm=36.0,
            image_width_px=330,
            aperture=asdict(lens.aperture),
            lens_options=faults,
        ),
        layers=[LayerRecord(kind=kinds[near < far], source=0, near_m=near, far_m=far) for near, far in ranges],
        focus_plan="layers",
        focus_distance_m=list(FOCUS_M),
        all_in_focus=encode_srgb(np.ascontiguousarray(composite(scene)[inner]), bits),
        frames=[encode_srgb(np.ascontiguousarray(e.colour_linear[inner]), bits) for e in exposures],
        depth_m=depth_m,
        alphas=[np.rint(layer.alpha[inner] * 65535).astype(np.uint16) for layer in scene.ordered[:-1]],
        sharpest_frame=sharpest,
        boundary=boundary.astype(np.uint8) * 255,
        trust=np.floor(composite_trust(scene)[inner] * 255 + 0.25).astype(np.uint8),
        frame_trust=trust_codes,
        recipe_hash="r" * 64,
        plan_id="p" * 64,
        toolkit_version="0.1.0",
        layer_store=store_layers(
            scene.ordered,
            bits=bits,
            margin_px=margin,
            quality=quality,
            largest_radius_px=LIMIT_PX,
            mean_light=mean_light(scene),
            matte_share=matte_share(scene),
        ),
    )


CASES = {
    "exact, margin": {"margin": 16, "with_known": False},
    "fast, 16 bits": {"bits": 16, "quality": "fast"},
    "exact, png": {"codec": "png"},
    "exact, cat's eye": {"cats_eye": 0.8},
    "exact, depth maps": {"rough": True, "with_known": False},
    "fast, depth maps, cat's eye": {"rough": True, "quality": "fast", "cats_eye": 0.8},
    "exact, bent field": {"rough": True, "with_known": False, "field_curvature_dioptres": 0.15},
    "fast, bent field, breathing": {"quality": "fast", "field_curvature_dioptres": 0.1, "breathing": 1.0},
}


@pytest.fixture(scope="module", params=CASES)
def stored(request, tmp_path_factory, put_shard):
    """The record, and the folder in which its layers are stored."""
    options = dict(CASES[request.param])
    codec = options.pop("codec", "tiff")
    record = record_of(**options)
    folder = tmp_path_factory.mktemp("layers")
    put_shard(folder, [record], codec=codec, store="layers")
    return record, folder


def code_step(record):
    """One code value of 8 bits; distance maps are rounded, so 16-bit codes agree to that as well."""
    return 1 if record.bits == 8 else 257


def test_the_stored_draw_gives_the_stored_frames_whole_and_in_windows(stored):
    record, folder = stored
    sample = open_shards(folder)[0]
    assert sample.image("frame_0") is None
    assert sample.image("all_in_focus") is None
    assert sample.size == record.depth_m.shape
    frames = np.stack(record.frames).astype(np.int32)
    assert np.abs(sample.frames - frames).max() <= code_step(record)
    np.testing.assert_array_equal(sample.target, record.all_in_focus)
    rng = np.random.default_rng(1)
    differing = 0.0
    for _ in range(6):
        y, x = int(rng.integers(210 - 70)), int(rng.integers(330 - 90))
        crop = sample.crop(y, x, 70, 90)
        part = np.s_[y : y + 70, x : x + 90]
        differing += float(np.mean(crop.frames != sample.frames[:, *part])) / 6
        assert np.abs(crop.frames - frames[:, *part]).max() <= code_step(record)
        np.testing.assert_array_equal(crop.target, record.all_in_focus[part])
    assert differing < 3e-4 * (1 if record.bits == 8 else 257)  # what decides over a window is the whole's


def test_the_maps_of_the_stored_draw_are_the_stored_maps(stored):
    record, folder = stored
    sample = open_shards(folder)[0].crop(40, 50, 120, 130)
    photos = photograph(sample)
    np.testing.assert_array_equal(photos.sharpest_frame, sample.sharpest_frame)
    np.testing.assert_array_equal(photos.boundary, sample.boundary)
    np.testing.assert_allclose(photos.frame_trust, sample.frame_trust, atol=1.3 / 255)
    for place in range(3):
        np.testing.assert_array_equal(photos.blur_radius_px[place], sample.blur_radius_px(place))
    assert (record.frame_trust[0].min() < 255) == (record.layer_store.margin_px == 0)


def test_verify_finds_stored_layers_sound_and_a_wrong_one_not(stored, tmp_path, put_shard):
    record, folder = stored
    file = open_shards(folder).files[0]
    assert list(SampleCheck(file, 0, None).run()) == []
    wrong = replace(record.layer_store, images=dict(record.layer_store.images))
    wrong.images["layer_colour_0"] = wrong.images["layer_colour_2"]
    del wrong.images["layer_distance_2"]
    put_shard(tmp_path, [replace(record, layer_store=wrong)], store="layers")
    found = list(SampleCheck(open_shards(tmp_path).files[0], 0, None).run())
    assert [detail for check, detail in found if check == "record"] == [
        "layer_distance_2 is missing for its focus distance or layer"
    ]


def deleted_shards():
    """Shards without a name that this process holds open: their disk space is taken."""
    names = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            names.append(str(entry.readlink()))
    return [name for name in names if name.endswith(".parquet (deleted)")]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux lists deleted files that are open")
def test_verify_of_a_remote_folder_holds_no_shard_that_it_has_looked_at(tmp_path, put_shard):
    (tmp_path / "plan.json").write_text("{}")
    record = record_of(quality="fast")
    for number in range(3):
        put_shard(tmp_path, [record], name=f"train-{number:05d}-of-00003.parquet", store="layers")
    held = []
    report = check_folder(tmp_path.as_uri(), on_sample=lambda done, total: held.append(deleted_shards()))
    assert report.samples == 3
    assert [*held, deleted_shards()] == [[]] * 4


def test_a_shard_that_is_let_go_is_closed_though_it_was_photographed(tmp_path, put_shard):
    put_shard(tmp_path, [record_of(quality="fast")], store="layers")
    sample = open_shards(tmp_path)[0]
    assert sample.crop(40, 50, 32, 32).frames.shape == (3, 32, 32, 3)
    file = weakref.ref(sample.file)
    del sample
    gc.collect()
    assert file() is None


def test_a_new_camera_gives_what_the_renderer_makes_of_the_scene(tmp_path, put_shard):
    record = record_of(quality="fast", with_known=False)
    put_shard(tmp_path, [record], store="layers")
    crop = open_shards(tmp_path)[0].crop(30, 60, 150, 160)
    lens = replace(lens_of(crop.camera), f_number=8.0, focal_length_mm=45.0)
    photos = photograph(crop, lens=lens, focus_distance_m=[1.0, 2.0])
    scene = scene_of(0, 8, with_known=False)
    for place, focus in enumerate((1.0, 2.0)):
        whole = encode_srgb(render(scene, lens, focus, "fast"))
        difference = np.abs(photos.frames[place].astype(int) - whole[30:180, 60:220])
        assert difference.max() <= 1
        np.testing.assert_allclose(
            photos.blur_radius_px[place], lens.blur_radius_px(crop.depth_m, focus, 330), atol=1e-5
        )
    assert photos.focus_distance_m == (1.0, 2.0)
    with pytest.raises(UserError, match=r"blur by up to .* px; the scene was made for 12\.0 px"):
        photograph(crop, lens=replace(lens, f_number=0.7))
    with pytest.raises(UserError, match="none given"):
        photograph(crop, focus_distance_m=[])


def test_frames_that_are_stored_cannot_be_taken_anew(tmp_path, put_shard, make_record):
    put_shard(tmp_path, [make_record()])
    with pytest.raises(UserError, match="build with --store layers"):
        photograph(open_shards(tmp_path)[0])
    stacks = FocalStackDataset(tmp_path, crop=40, retake=Retake(f_number=4.0), output="numpy")
    with pytest.raises(UserError, match="build with --store layers"):
        stacks[0]


def test_the_loader_gives_stored_and_new_stacks_of_layers(stored):
    record, folder = stored
    fields = ("frames", "target", "sharpest_frame", "boundary", "frame_trust", "blur_radius_px")
    options = {"crop": (70, 90), "fields": fields, "output": "numpy", "crops_per_sample": 3}
    for item in FocalStackDataset(folder, frames=(1, 3), **options):
        y, x, height, width = item["window"]
        part = np.s_[y : y + height, x : x + width]
        for place, number in enumerate(item["frame_number"][item["present"]]):
            difference = np.abs(item["frames"][place].astype(int) - record.frames[number][part])
            assert difference.max() <= code_step(record)
        np.testing.assert_array_equal(item["target"], record.all_in_focus[part])
    retake = Retake(f_number=(5.6, 11.0), focus_plan=("tile", "random"), frames_most=4, quality="fast")
    new = FocalStackDataset(folder, frames=(2, 4), retake=retake, **options)
    drawn = set()
    for index in range(3):
        item = new[index]
        assert 5.6 <= item["f_number"] <= 20
        present = item["present"]
        assert 2 <= present.sum() <= 4
        radii = np.abs(item["blur_radius_px"][present])
        assert radii.max() <= LIMIT_PX * 1.01
        expected = np.where(radii.min(axis=0) <= 0.5, radii.argmin(axis=0), 255)
        np.testing.assert_array_equal(item["sharpest_frame"], expected)
        drawn.add(float(item["f_number"]))
        again = new[index]
        assert all(np.array_equal(item[name], again[name]) for name in item)
    assert len(drawn) == 3


def test_an_impossible_retake_is_one_line():
    for bad in (
        {"f_number": 0},
        {"focal_length_mm": (50, 35)},
        {"focus_plan": "all"},
        {"frames_most": 9},
        {"quality": "best"},
    ):
        with pytest.raises(UserError, match="retake"):
            Retake(**bad)


def test_raised_highlights_are_stored_as_the_codes_they_were_raised_from():
    from mattingmfif.optics import expand_highlights

    for bits in (8, 16):
        codes = np.random.default_rng(0).integers(0, 2**bits, (40, 50, 3)).astype(f"u{bits // 8}")
        codes[0] = 2**bits - 1
        raised = expand_highlights(decode_srgb(codes), 6.0, 0.8)
        assert raised.max() == pytest.approx(6.0)
        np.testing.assert_array_equal(encode_srgb(lowered(raised, {"most": 6.0, "threshold": 0.8}, bits), bits), codes)


def test_datasets_shows_what_layers_are_stored_and_none_for_frames(stored, tmp_path, monkeypatch):
    record, folder = stored
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="datasets (extra `test`) is not installed")
    files = str(next((folder / "data").iterdir()))
    row = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))[0]
    assert row["frame_0"] is row["all_in_focus"] is row["layer_colour_3"] is None
    if record.bits == 8:
        np.testing.assert_array_equal(np.asarray(row["layer_colour_2"]), record.layer_store.images["layer_colour_2"])
    else:
        assert row["layer_colour_2"]["bytes"]  # Pillow would give 8 bits
    assert row["layer_store"]["margin_px"] == record.layer_store.margin_px


def test_the_card_and_croissant_of_stored_layers_are_sound(stored):
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant (extra `test`) is not installed")
    record, folder = stored
    text = write_card(folder).read_text(encoding="utf-8")
    assert "`layer_colour_0 … layer_colour_6`" in text
    assert "This dataset stores layers" in text
    dataset = mlcroissant.Dataset(jsonld=folder / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    (row,) = list(dataset.records("train"))
    assert row["train/sample_id"].decode() == record.sample_id


def test_build_stores_layers_and_a_folder_keeps_its_store(small_photos, tiny_recipe, mattingmfif, tmp_path):
    words = ["--src", small_photos, "--out", tmp_path / "s", "--recipe", tiny_recipe, "--limit", 1, "--jobs", 1]
    done = mattingmfif("build", *words, "--store", "layers")
    assert done.returncode == 0, done.stderr
    done = mattingmfif("verify", tmp_path / "s", "--rerender", 1, "--src", small_photos)
    assert done.stdout.endswith("1 made again: sound\n"), done.stdout
    assert open_shards(tmp_path / "s")[0].frames.shape[0] >= 2
    done = mattingmfif("build", *words)
    assert (done.returncode, "--store: planned 'layers', now 'frames'" in done.stderr) == (2, True), done.stderr
