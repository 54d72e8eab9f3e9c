"""Depth from a network on disk: a real ONNX file on one thread, of a kind that is said, recorded, never downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from mattingmfif.cli.group import cli
from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.errors import UserError
from mattingmfif.matting import depth_model
from mattingmfif.matting.depth_model import check_depth_model, network_size, numbers_of_depth, predicted_depth
from mattingmfif.scene.settings import DepthSettings

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="the extra depth (onnxruntime) is not installed"
)
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
FREE = (1, 3, "height", "width")


def written(tmp_path, content, name="depth.onnx"):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize(
    ("shape_in", "shape_out", "options"),
    [
        (FREE, (1, "height", "width"), {}),
        ((1, 3, 70, 98), (1, 70, 98), {}),
        ((1, 3, 70, 98), (1, 1, 70, 98), {"keepdims": True}),
        ((1, 1, 3, 70, 98), (1, 1, 70, 98), {"axis": 2}),
        ((1, 70, 98, 3), (1, 70, 98), {"axis": 3}),
        (FREE, (1, "height", "width"), {"half": True}),
        (FREE, (1, "height", "width"), {"names": ("image", "confidence", "predicted_depth")}),
    ],
    ids=["free", "fixed", "one-plane", "views", "channels-last", "half", "several-outputs"],
)
def test_the_network_sees_colours_as_it_was_trained_and_its_numbers_come_back(
    tmp_path, onnx_mean, shape_in, shape_out, options
):
    path = written(tmp_path, onnx_mean(shape_in, shape_out, **options))
    photo = np.empty((40, 56, 3), np.float32)
    photo[:, :28], photo[:, 28:] = (0.9, 0.5, 0.1), (0.2, 0.4, 0.6)
    found = predicted_depth(photo, path, check_depth_model(path))
    expected = [float(((np.array(colour) - MEAN) / DEVIATION).mean()) for colour in (photo[0, 0], photo[0, -1])]
    assert found.dtype == np.float32
    size = network_size(40, 56, None, None) if "height" in shape_in else (70, 98)
    assert found.shape == size
    tolerance = 5e-3 if options.get("half") else 1e-5
    np.testing.assert_allclose(found[:, : size[1] // 2 - 12], expected[0], atol=tolerance)
    np.testing.assert_allclose(found[:, size[1] // 2 + 12 :], expected[1], atol=tolerance)


@pytest.mark.parametrize(("height", "width"), [(2160, 3840), (3000, 4000), (512, 512), (900, 600), (200, 3000)])
def test_a_free_network_gets_whole_patches_in_the_photos_shape(height, width):
    size = network_size(height, width, None, None)
    assert all(side % 14 == 0 for side in size)
    assert min(size) == 518
    assert max(size) <= 4 * 518 + 14
    if max(height, width) < 4 * min(height, width):
        assert size[1] / size[0] == pytest.approx(width / height, rel=0.02)


def test_a_file_that_gives_no_depth_is_one_clear_line(tmp_path, onnx_mean, monkeypatch):
    wrong = {
        "onnxruntime can load": b"not a model",
        "none of them is called depth": onnx_mean(FREE, (1, "h", "w"), names=("image", "a", "b")),
        "not one number for each pixel": onnx_mean(FREE, (3, "h", "w"), axis=0),
        "not a picture of 3 channels": onnx_mean((1, 3, 20), (1, 20)),
        "fails on a picture": onnx_mean((1, 4, 70, 98), (1, 70, 98)),
    }
    for number, (words, content) in enumerate(wrong.items()):
        with pytest.raises(UserError, match=words) as caught:
            check_depth_model(written(tmp_path, content, f"{number}.onnx"))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no file"):
        check_depth_model(tmp_path / "none.onnx")
    path = written(tmp_path, onnx_mean(FREE, (1, "h", "w")))
    with pytest.raises(UserError, match="not the file that was planned"):
        predicted_depth(np.zeros((20, 20, 3), np.float32), path, "0" * 64)
    monkeypatch.setattr(depth_model, "is_installed", lambda name: False)
    with pytest.raises(UserError, match=r"mattingmfif\[depth\]"):
        check_depth_model(path)


def test_what_the_numbers_mean_is_said_and_never_guessed():
    with pytest.raises(UserError, match=r"model_kind.*disparity.*metres"):
        DepthSettings(model="a.onnx")
    with pytest.raises(UserError, match="metres, disparity"):
        DepthSettings(model="a.onnx", model_kind="depth")
    with pytest.raises(UserError, match=r"needs depth\.model"):
        DepthSettings(model_kind="metres")
    assert "model" not in load_recipe("quick").to_plain()["depth"]  # published recipes keep their identity


def test_the_answer_does_not_change_from_one_session_to_the_next(tmp_path, onnx_mean):
    photo = np.random.default_rng(0).random((60, 90, 3), np.float32)
    content = onnx_mean(FREE, (1, "h", "w"))
    one, two = (numbers_of_depth(photo, written(tmp_path, content, name)) for name in ("a.onnx", "b.onnx"))
    assert one.tobytes() == two.tobytes()


def test_blur_photographs_by_estimated_depth(tmp_path, onnx_mean):
    model = written(tmp_path, onnx_mean(FREE, (1, "h", "w")))
    photo = np.full((120, 160, 3), 150, np.uint8)
    photo[::4] = 170
    cv2.circle(photo, (80, 60), 30, (255, 255, 255), -1)
    cv2.imwrite(str(tmp_path / "in.png"), photo)
    words = ["blur", str(tmp_path / "in.png"), "--focus-at", "80,60", "--f-number", "0.5"]
    words += ["-o", str(tmp_path / "out.png")]

    def run(*more):
        return CliRunner().invoke(cli, [*words, *map(str, more)])

    done = run("--depth-model", model, "--depth-model-kind", "disparity", "--depth-far", "6m")
    assert done.exit_code == 0, done.output
    out = cv2.imread(str(tmp_path / "out.png"))
    assert "focus 1 m" in done.output  # the brightest is the nearest
    assert (out[50:70, 70:90] == 255).all()
    assert np.ptp(out[:, 5].astype(int)) < 10 < np.ptp(photo[:, 5].astype(int))
    assert "go together" in run("--depth-model", model).output
    assert "give one of --depth" in run().output


def test_a_build_joins_estimated_depth_with_mattes_and_records_both_models(
    tmp_path, onnx_mean, tiny_recipe, mattingmfif
):
    if importlib.util.find_spec("rembg") is None:
        pytest.skip("the extra rembg is not installed: a build with both networks cannot be made")
    from mattingmfif import open_shards

    photos, home = tmp_path / "photos", tmp_path / "home"
    photos.mkdir()
    home.mkdir()
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(130, 180, (200, 256, 3)).astype(np.float32), (0, 0), 0.6)
    cv2.circle(picture, (128, 100), 45, (230, 225, 245), -1)
    picture += rng.normal(0, 3, picture.shape)
    cv2.imwrite(str(photos / "disc.png"), np.clip(picture, 0, 255).astype(np.uint8))
    written(home, onnx_mean((1, 3, 320, 320), (1, 1, 320, 320), names=("input.1", "out"), keepdims=True), "u2net.onnx")
    model = written(tmp_path, onnx_mean(FREE, (1, "h", "w")), "brightness.onnx")
    out, lens = tmp_path / "out", ("--recipe", tiny_recipe, "--jobs", 1)
    words = ("--src", photos, "--out", out, *lens, "--segmenter", "rembg", "--depth-model", model)
    words += ("--rembg-model", f"u2net={home / 'u2net.onnx'}")
    env = {"U2NET_HOME": str(tmp_path)}  # where nothing lies
    done = mattingmfif("build", *words, env=env)
    assert done.returncode == 2
    assert "model_kind: missing" in done.stderr
    words += ("--depth-model-kind", "disparity", "--depth-model-licence", "Apache-2.0")
    done = mattingmfif("build", *words, env=env)
    assert done.returncode == 0, done.stderr
    sample = open_shards(out)[0]
    digest = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in (("subjects", home / "u2net.onnx"), ("depth", model))
    }
    assert sample.camera.draws["models"] == {
        "subjects": {"model": "u2net", "model_sha256": digest["subjects"], "model_licence": "Apache-2.0"},
        "depth": {"model": "brightness.onnx", "model_sha256": digest["depth"], "model_licence": "Apache-2.0"},
    }
    subject, plate = sample.layers
    assert (subject.kind, plate.kind) == ("subject", "depth-map")
    # the bright disc has the largest disparities: its median lies near depth.near_m, the dark ground farther away
    assert subject.near_m == subject.far_m < 1.6
    assert plate.near_m >= subject.near_m
    assert str(tmp_path) not in (out / "plan.json").read_text() + (out / "recipe.lock.toml").read_text()
    card = (out / "README.md").read_text()
    assert "u2net (subjects of 1 samples; licence Apache-2.0" in card
    assert digest["depth"] in card
    places = ("--depth-model", model, "--rembg-model", f"u2net={home / 'u2net.onnx'}")
    again = mattingmfif("verify", out, "--rerender", 1, "--src", photos, *places, env=env)
    assert again.returncode == 0, again.stdout
    for changed, key in ((model, "depth.model_sha256"), (home / "u2net.onnx", "matting.rembg_sha256")):
        whole = changed.read_bytes()
        changed.write_bytes(whole + b"\x4a\x02hi")  # a field of metadata more: the same numbers, another file
        done = mattingmfif("build", *words, env=env)
        assert done.returncode == 2
        assert key in done.stderr
        changed.write_bytes(whole)
    manifest = json.loads((out / "plan.json").read_text())
    assert manifest["recipe"]["depth"]["model_kind"] == "disparity"
