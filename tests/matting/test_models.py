import importlib.util
import socket
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from mattingmfif.cli.group import cli
from mattingmfif.errors import Refused, UserError
from mattingmfif.matting import MattingSettings, choose_segmenter, find_subjects, models
from mattingmfif.matting.classical import iou

needs_rembg = pytest.mark.skipif(
    importlib.util.find_spec("rembg") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="rembg and onnxruntime are not installed",
)


@pytest.fixture(scope="session")
def brightness_model(onnx_mean):
    """A real model for rembg: its answer is the mean of the three channels."""
    return onnx_mean((1, 3, 320, 320), (1, 1, 320, 320), names=("input.1", "out"), keepdims=True)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    monkeypatch.delenv("REMBG_HOME", raising=False)
    return tmp_path


def _photo():
    photo = np.full((120, 160, 3), 0.15, np.float32)
    y, x = np.mgrid[:120, :160]
    disc = np.hypot(y - 60, x - 80) < 30
    photo[disc] = [0.9, 0.8, 0.7]
    return photo, disc


@needs_rembg
def test_a_real_model_on_disk_cuts_out_a_subject_without_the_network(home, no_network, brightness_model):
    (home / "u2net.onnx").write_bytes(brightness_model)
    photo, disc = _photo()
    subjects = find_subjects(photo, MattingSettings(segmenter="rembg", rembg_model="u2net"))
    assert subjects.segmenter == "rembg"
    assert iou(np.asarray(subjects.masks[0]), disc) > 0.9
    assert subjects.model["model"] == "u2net"
    assert subjects.model["model_licence"] == "Apache-2.0"
    assert len(subjects.model["model_sha256"]) == 64
    assert choose_segmenter(MattingSettings(), any_given=False)[0] == "rembg"


@needs_rembg
@pytest.mark.parametrize("place", ["u2netp.onnx", "u2netp/u2netp.onnx", "models/u2netp/u2netp.onnx"])
def test_weights_are_found_where_rembg_keeps_them(monkeypatch, tmp_path, brightness_model, no_network, place):
    monkeypatch.delenv("U2NET_HOME", raising=False)
    monkeypatch.setenv("REMBG_HOME", str(tmp_path))
    assert models.available_model() is None
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_bytes(brightness_model)
    model = models.available_model()
    assert (model.name, model.path) == ("u2netp", tmp_path / place)
    assert choose_segmenter(MattingSettings(), any_given=False)[0] == "rembg"


@needs_rembg
def test_a_model_may_lie_anywhere(home, tmp_path_factory, no_network, brightness_model):
    file = tmp_path_factory.mktemp("elsewhere") / "weights.onnx"
    file.write_bytes(brightness_model)
    model = models.available_model(f"u2netp={file}")
    photo, disc = _photo()
    probability = models.predict(model, photo)
    assert probability.shape == disc.shape
    assert iou(probability > 0.5, disc) > 0.9


@needs_rembg
def test_subjects_are_the_parts_of_the_mask_within_the_allowed_sizes(home, no_network, brightness_model):
    (home / "u2net.onnx").write_bytes(brightness_model)
    photo = np.full((120, 200, 3), 0.1, np.float32)
    for x in (30, 100, 170):
        cv2.circle(photo, (x, 60), 20, (0.9, 0.9, 0.9), -1)
    photo[5, 5] = 1
    subjects = find_subjects(photo, MattingSettings(segmenter="rembg", rembg_model="u2net", max_subjects=2))
    assert len(subjects.masks) == 2
    with pytest.raises(Refused) as caught:
        find_subjects(np.full((90, 90, 3), 0.5, np.float32), MattingSettings(segmenter="rembg", rembg_model="u2net"))
    assert caught.value.reason == "no-subject"


@needs_rembg
def test_a_file_that_is_no_model_is_one_clear_line(home):
    (home / "u2net.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match="onnxruntime can load"):
        find_subjects(_photo()[0], MattingSettings(segmenter="rembg", rembg_model="u2net"))


@pytest.mark.parametrize("name", ["bria-rmbg", "withoutbg", "u2net_custom"])
def test_only_local_models_under_a_free_licence_are_allowed(home, name):
    with pytest.raises(UserError, match="allowed"):
        models.available_model(name)


def test_missing_weights_are_never_fetched_unless_asked(home, no_network):
    assert models.available_model() is None
    assert models.available_model("u2net") is None
    with pytest.raises(UserError, match="U2NET_HOME"):
        find_subjects(_photo()[0], MattingSettings(segmenter="rembg", rembg_model="u2net"))
    with pytest.raises(UserError, match="no file"):
        models.available_model(f"u2net={home / 'none.onnx'}")


@needs_rembg
def test_a_download_happens_only_when_it_is_allowed_by_name(home, monkeypatch, brightness_model):
    file = home / "fetched.onnx"
    file.write_bytes(brightness_model)

    class Session:
        @classmethod
        def download_models(cls):
            return str(file)

    monkeypatch.setattr(models, "_session_class", lambda name: Session)
    assert models.available_model("u2net") is None
    assert models.available_model("u2net", allow_download=True).path == file


@needs_rembg
def test_the_command_line_fetches_weights_only_with_allow_download(
    home, monkeypatch, no_network, tmp_path, brightness_model
):
    fetched = []

    class Session:
        @classmethod
        def download_models(cls):
            fetched.append("u2netp")
            (home / "u2netp.onnx").write_bytes(brightness_model)
            return str(home / "u2netp.onnx")

    monkeypatch.setattr(models, "_session_class", lambda name: Session)
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "dull.png"), np.full((40, 60, 3), 99, np.uint8))

    def run(command, *words):
        where = [str(photos)] if command == "scan" else ["--src", str(photos), "--out", str(tmp_path / "out")]
        return CliRunner().invoke(cli, [command, *where, *words], standalone_mode=False)

    for command in ("build", "plan", "scan"):
        run(command, "--rembg-model", "u2netp", *(["--dry-run"] if command != "scan" else []))
        assert not fetched
        refused = run(command, "--allow-download").exception
        assert isinstance(refused, UserError)
        assert "--rembg-model" in str(refused)
        refused = run(command, "--allow-download", "--rembg-model", "bria-rmbg").exception
        assert isinstance(refused, UserError)
        assert "allowed" in str(refused)
    assert not fetched
    for command in ("build", "plan", "scan"):
        run(command, "--allow-download", "--rembg-model", "u2netp", *(["--dry-run"] if command != "scan" else []))
        assert fetched.pop() == "u2netp"
        (home / "u2netp.onnx").unlink()


@needs_rembg
def test_a_download_that_fails_is_one_clear_line(home, no_network, monkeypatch):
    class Session:
        @classmethod
        def download_models(cls):
            raise ConnectionError("no route to host")

    monkeypatch.setattr(models, "_session_class", lambda name: Session)
    with pytest.raises(UserError, match="u2net could not be fetched: no route"):
        models.fetch_weights(MattingSettings(rembg_model="u2net"))
    with pytest.raises(UserError, match="uses no model"):
        models.fetch_weights(MattingSettings(rembg_model="u2net", segmenter="classical"))


def test_without_rembg_the_package_says_so_and_works(home, monkeypatch, brightness_model):
    (home / "u2net.onnx").write_bytes(brightness_model)
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    assert models.available_model("u2net") is None
    assert choose_segmenter(MattingSettings(), any_given=False)[0] == "classical"


HIDE = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in ("rembg", "onnxruntime", "OpenEXR", "pillow_heif", "torch"):
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""


def test_where_no_extra_is_installed_a_build_runs_and_what_needs_one_says_so(
    small_photos, tiny_recipe, mattingmfif, tmp_path, brightness_model
):
    """In processes, workers among them, that cannot find the libraries."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDE)
    (tmp_path / "u2net.onnx").write_bytes(brightness_model)
    env = {"PYTHONPATH": str(tmp_path / "site"), "U2NET_HOME": str(tmp_path)}
    out = tmp_path / "out"
    words = ("build", "--src", small_photos, "--out", out, "--recipe", tiny_recipe, "--jobs", 1, "--limit", 1)
    done = mattingmfif(*words, env=env)
    assert done.returncode == 0, done.stderr
    assert 'segmenter = "classical"' in (out / "recipe.lock.toml").read_text()
    assert mattingmfif("verify", out, env=env).returncode == 0
    for option, sentence in (
        (("--segmenter", "rembg"), "rembg is not installed"),
        (("--depth-model", tmp_path / "u2net.onnx", "--depth-model-kind", "metres"), "onnxruntime is not installed"),
        (("--allow-download", "--rembg-model", "u2net"), "rembg is not installed"),
    ):
        done = mattingmfif(*words, *option, env=env)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


@needs_rembg
def test_weights_that_are_none_end_the_scan_with_one_line(home, small_photos, tiny_recipe, mattingmfif, tmp_path):
    (home / "u2net.onnx").write_bytes(b"not a model")
    words = ("--src", small_photos, "--recipe", tiny_recipe, "--jobs", 1, "--segmenter", "rembg")
    done = mattingmfif("build", "--out", tmp_path / "out", *words)
    assert done.returncode == 2
    assert "is not a model that onnxruntime can load" in done.stderr.splitlines()[-1]


def test_libraries_that_are_blocked_or_broken_are_as_good_as_absent(monkeypatch, home):
    (home / "u2net.onnx").write_bytes(b"something")

    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("rembg", "onnxruntime"):
                raise ImportError(f"{name} is blocked")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "meta_path", [Blocked(), *sys.meta_path])
        for name in [name for name in sys.modules if name.partition(".")[0] in ("rembg", "onnxruntime")]:
            patch.delitem(sys.modules, name)
        assert choose_segmenter(MattingSettings(), any_given=False)[0] == "classical"
        with pytest.raises(UserError, match="rembg is not installed"):
            find_subjects(_photo()[0], MattingSettings(segmenter="rembg"))
        # found, and then not to be imported
        patch.setattr(models, "rembg_is_installed", lambda: True)
        with pytest.raises(UserError, match=r"cannot be imported.*classical"):
            find_subjects(_photo()[0], MattingSettings(segmenter="rembg", rembg_model="u2net"))
