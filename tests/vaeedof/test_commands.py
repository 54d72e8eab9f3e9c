"""The commands train, fuse, evaluate, ablate run from words alone; bad words are one line and an exit code."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

torch = pytest.importorskip("torch", reason="VAEEDOF needs torch (extra `train`)")
pytest.importorskip("safetensors", reason="VAEEDOF needs safetensors (extra `train`)")

from mattingmfif.cli import main  # noqa: E402

RECIPE = """
schema = 1
name = "tiny"
[model]
stem_px = 4
widths = [8, 8]
blocks = [1, 1]
latent_channels = 4
fusion_width = 8
score_width = 8
[teacher]
widths = [8, 8]
blocks = [1, 1]
[stages.teacher]
steps = 1
batch = 1
crop_px = 32
[stages.distil]
steps = 1
batch = 1
crop_px = 32
[stages.fusion]
steps = 2
batch = 1
crop_px = 32
"""


def _run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["mattingmfif", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two frames of a photograph, one sharp on the left and one on the right."""
    folder = tmp_path_factory.mktemp("frames")
    photo = np.ascontiguousarray(data.astronaut()[:120, 150:310])
    soft, left = cv2.GaussianBlur(photo, (0, 0), 3), np.arange(160)[None, :, None] < 80
    paths = [folder / "a.png", folder / "b.png"]
    for path, image in zip(paths, (np.where(left, photo, soft), np.where(left, soft, photo)), strict=True):
        assert cv2.imwrite(str(path), image[..., ::-1])
    return paths


def test_from_shards_to_weights_to_a_fused_file_and_a_table(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    small_dataset: Path,
    frames: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    words = ["train", small_dataset, "--out", tmp_path / "run", "--recipe", tmp_path / "tiny.toml"]
    assert _run(monkeypatch, *words, "--degrade", "gaussian-srgb", "--device", "cpu") == 0
    said = capsys.readouterr()
    weights = tmp_path / "run" / "fusion.safetensors"
    assert said.out.strip() == str(weights)
    assert "per output megapixel" in said.err
    assert "fusion: step 2 of 2" in said.err
    # a training with other data belongs elsewhere
    assert _run(monkeypatch, *words, "--stage", "fusion", "--degrade", "hard-mask") == 2
    assert "another recipe" in capsys.readouterr().err

    fused, order = tmp_path / "fused.png", tmp_path / "order.png"
    options = ["-o", fused, "--checkpoint", weights, "--weights", tmp_path / "maps", "--depth-order", order]
    assert _run(monkeypatch, "fuse", *frames, *options, "--tile", 64) == 0
    assert "2 frames of 160 x 120 px fused on cpu" in capsys.readouterr().err
    assert cv2.imread(str(fused)).shape == (120, 160, 3)
    assert len(list((tmp_path / "maps").iterdir())) == 2
    assert order.is_file()

    report = tmp_path / "report"
    assert _run(monkeypatch, "evaluate", small_dataset, "--out", report, "--checkpoint", weights, "--limit", 1) == 0
    assert "| oracle |" in (report / "table.md").read_text()
    assert _run(monkeypatch, "evaluate", frames[0].parent, "--out", report, "--checkpoint", weights) == 0
    assert "Q_G" in (report / "table.md").read_text()


def test_a_torch_that_cannot_be_imported_is_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], frames: list[Path]
) -> None:
    class Blocked:
        """Stands before all finders, as tools do that block an import."""

        @classmethod
        def find_spec(cls, name: str, path: object = None, target: object = None) -> None:
            if name == "torch":
                raise ModuleNotFoundError("No module named 'torch'")

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "meta_path", [Blocked, *sys.meta_path])
    for words in (["fuse", *frames, "-o", "f.png"], ["train", "s", "--out", "o"], ["evaluate", "s", "--out", "o"]):
        assert _run(monkeypatch, *words) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        assert "pip install 'mattingmfif[train]'" in said[0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["fuse", "absent.png", "-o", "f.png"], "absent.png: no such file"),
        (["fuse", "FRAME", "FRAME", "-o", "f.png", "--checkpoint", "absent.safetensors"], "no such file"),
        (["fuse", "FRAME", "FRAME", "-o", "f.png", "--checkpoint", "FRAME"], "not a whole safetensors file"),
        (["fuse", "FRAME", "FRAME", "-o", "f.png", "--checkpoint", "SHARDS"], "a folder; give the .safetensors file"),
        (["fuse", "FRAME", "FRAME", "-o", "f.png", "--device", "tpu"], "--device tpu"),
        (["fuse", "FRAME", "FRAME", "-o", "f.png", "--align", "magic"], "magic"),
        (["train", "absent", "--out", "run"], "absent"),
        (["train", "SHARDS", "--out", "run", "--recipe", "nothing"], "no training recipe 'nothing'"),
        (["train", "SHARDS", "--out", "run", "--teacher", "SHARDS"], "config.json cannot be read"),
        (["evaluate", "absent", "--out", "report"], "absent"),
        (["ablate", "SHARDS", "--out", "ab", "--distilled", "FRAME"], "not a whole safetensors file"),
    ],
)
def test_bad_words_are_one_line_and_exit_code_two(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    small_dataset: Path,
    frames: list[Path],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    stand_ins = {"FRAME": str(frames[0]), "SHARDS": str(small_dataset)}
    assert _run(monkeypatch, *[stand_ins.get(word, word) for word in words]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert "Traceback" not in said
    assert not (tmp_path / "f.png").exists()
