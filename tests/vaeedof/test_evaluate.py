"""Evaluation: regions and figures are what they say, on shards, on folders with truth and without."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from skimage import data

torch = pytest.importorskip("torch", reason="VAEEDOF needs torch (extra `train`)")
pytest.importorskip("safetensors", reason="VAEEDOF needs safetensors (extra `train`)")

from mattingmfif.dataset.reader import open_shards  # noqa: E402
from mattingmfif.errors import UserError  # noqa: E402
from mattingmfif.vaeedof import metrics_learned  # noqa: E402
from mattingmfif.vaeedof.baselines import laplacian_pyramid, selection_oracle  # noqa: E402
from mattingmfif.vaeedof.checkpoint import save_model  # noqa: E402
from mattingmfif.vaeedof.evaluate import checkpoint_names, evaluate_folder, regions  # noqa: E402
from mattingmfif.vaeedof.examples import Examples  # noqa: E402
from mattingmfif.vaeedof.metrics import FUSION_METRICS, psnr  # noqa: E402
from mattingmfif.vaeedof.metrics_learned import find_lpips  # noqa: E402
from mattingmfif.vaeedof.model import VAEEDOF  # noqa: E402
from mattingmfif.vaeedof.settings import DataSettings, LossSettings, ModelSettings, Stages, StageSettings, TrainRecipe  # noqa: E402
from mattingmfif.vaeedof.stacks import whole_stack  # noqa: E402
from mattingmfif.vaeedof.standings import Row, markdown_table, means, wins_table  # noqa: E402
from mattingmfif.vaeedof.train import train_from_recipe  # noqa: E402

TINY = ModelSettings(
    stem_px=4, widths=(8, 8), blocks=(1, 1), latent_channels=4, fusion_width=8, score_width=8, fusion_heads=2
)
SILENT = {"device": "cpu", "report": lambda _: None}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(path, VAEEDOF(TINY), TINY, "vaeedof", {"stage": "fusion"}, half=False)
    return path


def test_shards_are_judged_by_region_beside_all_fusers(small_dataset: Path, tmp_path: Path, weights: Path) -> None:
    found = evaluate_folder(small_dataset, tmp_path, checkpoint=weights, **SILENT)
    fusers = {row.fuser for row in found.rows}
    assert fusers == {"vaeedof", "laplacian-pyramid", "gff", "max-laplacian", "average", "oracle"}
    sample = open_shards(small_dataset, "test")[1]
    wanted = {
        "all": np.ones(sample.boundary.shape, bool),
        "boundary": sample.boundary,
        "gap": sample.sharpest_frame == 255,
        "trusted": np.ones(sample.boundary.shape, bool),
    }
    images = {
        "laplacian-pyramid": laplacian_pyramid(sample.frames),
        "oracle": selection_oracle(sample.frames, sample.target),
    }
    for fuser, image in images.items():
        for region, where in wanted.items():
            value = next(
                row.value
                for row in found.rows
                if (row.stack, row.fuser, row.region, row.metric) == (sample.sample_id, fuser, region, "PSNR")
            )
            assert value == pytest.approx(psnr(image, sample.target, where))
    with (tmp_path / "figures.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(found.rows)
    assert "| vaeedof |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / f"{sample.sample_id}.png").is_file()


def test_a_region_that_a_stack_lacks_is_left_out(small_dataset: Path) -> None:
    samples = open_shards(small_dataset, "test")
    assert "gap" not in regions(whole_stack(samples[0]))
    assert "gap" in regions(whole_stack(samples[1]))


def test_files_without_truth_get_the_fusion_metrics(tmp_path: Path, weights: Path) -> None:
    photo = np.ascontiguousarray(data.astronaut()[:96, 150:270])
    for scene in ("one", "two"):
        for k, sigma in enumerate((1.0, 2.0)):
            path = tmp_path / "stacks" / scene / f"{scene}_{'AB'[k]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.GaussianBlur(photo, (0, 0), sigma)[..., ::-1])
    found = evaluate_folder(tmp_path / "stacks", tmp_path / "out", checkpoint=weights, **SILENT)
    assert {row.metric for row in found.rows} == set(FUSION_METRICS)
    assert {row.stack for row in found.rows} == {"one", "two"}
    cv2.imwrite(str(tmp_path / "stacks" / "one" / "gt.png"), photo[..., ::-1])
    found = evaluate_folder(tmp_path / "stacks", tmp_path / "out", checkpoint=weights, align="translation", **SILENT)
    assert {row.stack for row in found.rows if row.metric == "PSNR"} == {"one"}
    assert "oracle" in {row.fuser for row in found.rows}


def test_a_stack_that_cannot_be_judged_is_left_out_and_said(tmp_path: Path, weights: Path) -> None:
    photo = np.ascontiguousarray(data.astronaut()[:64, 150:220])
    for scene, size in (("broken", 64), ("good", 64), ("tiny", 20)):
        for name in ("a.png", "b.png"):
            path = tmp_path / "stacks" / scene / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), photo[:size, :size])
    (tmp_path / "stacks" / "broken" / "b.png").write_bytes(b"rubbish")
    said: list[str] = []
    options = {"checkpoint": weights, "device": "cpu", "report": said.append}
    found = evaluate_folder(tmp_path / "stacks", tmp_path / "out", **options)
    assert {row.stack for row in found.rows} == {"good"}
    assert any(line.startswith("broken: left out: ") and "b.png" in line for line in said)
    assert "tiny: fusion metrics left out: they need 48 px a side" in said
    assert (tmp_path / "out" / "figures.csv").is_file()
    (tmp_path / "stacks" / "good" / "a.png").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="none of 3 stacks could be judged"):
        evaluate_folder(tmp_path / "stacks", tmp_path / "out", **options)
    (tmp_path / "only").mkdir()
    (tmp_path / "stacks" / "tiny").rename(tmp_path / "only" / "tiny")
    (tmp_path / "blocked" / "tiny.png").mkdir(parents=True)
    with pytest.raises(UserError, match=r"tiny.png: cannot be written") as caught:
        evaluate_folder(tmp_path / "only", tmp_path / "blocked", **options)
    assert caught.value.exit_code == 3


def test_means_leave_out_what_is_missing_and_bound_perfection() -> None:
    rows = [
        Row(stack="a", fuser="x", region="gap", metric="PSNR", value=float("inf")),
        Row(stack="b", fuser="x", region="gap", metric="PSNR", value=float("nan")),
        Row(stack="c", fuser="x", region="gap", metric="PSNR", value=40.0),
    ]
    assert means(rows) == {("PSNR", "gap"): {"x": 70.0}}
    assert markdown_table(rows).splitlines()[-1] == "| x | 70.00 |"


def test_wins_count_the_stacks_on_which_a_network_is_ahead() -> None:
    figures = {"a": (30.0, 29.0, 28.0), "b": (30.0, 30.0, 31.0), "c": (30.0, None, 29.0)}
    fusers = ("net", "gff", "average")
    rows = [
        Row(stack=stack, fuser=fuser, region="gap", metric="PSNR", value=value)
        for stack, values in figures.items()
        for fuser, value in zip(fusers, values, strict=True)
        if value is not None
    ]
    lines = wins_table(rows, ["net"]).splitlines()
    assert lines[0] == "| stacks on which a network is ahead | PSNR gap |"
    assert "| net before gff | 1 of 2 |" in lines  # a tie is no win, a stack without the figure does not count
    assert "| net before average | 2 of 3 |" in lines
    assert wins_table([Row(stack="a", fuser="net", region="all", metric="EN", value=1.0)], ["net"]) == ""


def test_training_and_judging_join_on_shards(small_dataset: Path, tmp_path: Path) -> None:
    none, few = StageSettings(steps=0), StageSettings(steps=2, batch=1, crop_px=64)
    recipe = TrainRecipe(name="tiny", model=TINY, stages=Stages(teacher=none, distil=none, fusion=few))
    for degrade in ("physical", "hard-mask"):
        path = train_from_recipe(recipe, small_dataset, tmp_path / degrade, stage="fusion", degrade=degrade, **SILENT)
        evaluate_folder(small_dataset, tmp_path / "out", checkpoint=path, limit=1, degrade=degrade, **SILENT)
    assert json.loads((tmp_path / "hard-mask" / "train.json").read_text())["recipe"]["data"]["degrade"] == "hard-mask"
    story = json.loads((tmp_path / "physical" / "train.json").read_text())
    assert story["samples"] == 3
    same, other = (
        Examples(small_dataset, DataSettings(), LossSettings(), crop_px=32, seed=0, split=split)
        for split in ("train", "test")
    )
    assert story["data"] == same.identity() != other.identity()


def test_what_cannot_be_judged_is_one_line(tmp_path: Path, weights: Path, small_dataset: Path) -> None:
    for folder, words in ((tmp_path / "absent", "no such folder"), (tmp_path, "no stack found")):
        with pytest.raises(UserError, match=words):
            evaluate_folder(folder, tmp_path / "out", checkpoint=weights, **SILENT)
    with pytest.raises(UserError, match="split 'val'"):
        evaluate_folder(small_dataset, tmp_path / "out", checkpoint=weights, split="val", **SILENT)
    with pytest.raises(UserError, match="--align"):
        evaluate_folder(small_dataset, tmp_path / "out", checkpoint=weights, align="x", **SILENT)


def test_several_networks_stand_in_one_table(small_dataset: Path, tmp_path: Path, weights: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(weights.read_bytes())
    said: list[str] = []
    options = {"checkpoint": [weights, other], "limit": 1, "align": "translation", "device": "cpu"}
    found = evaluate_folder(small_dataset, tmp_path / "out", **options, report=said.append)
    assert any(line.startswith("--align translation is for folders of files") for line in said)
    values = {row.fuser: row.value for row in found.rows if (row.metric, row.region) == ("PSNR", "all")}
    assert {"tiny", "other", "gff"} <= values.keys()
    assert values["tiny"] == values["other"]
    assert checkpoint_names(["a/fusion.safetensors", "b/fusion.safetensors"]) == ["a", "b"]
    assert checkpoint_names(["a/x", "a/y", "b/x"]) == ["a/x", "a/y", "b/x"]
    assert checkpoint_names([]) == ["vaeedof"]


def test_lpips_is_left_out_with_a_reason_and_used_where_its_weights_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(metrics_learned, "find_spec", lambda name: None)
    assert "package lpips is not installed" in str(find_lpips())
    monkeypatch.setattr(metrics_learned, "find_spec", lambda name: object())
    assert metrics_learned.ALEXNET in str(find_lpips())
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / metrics_learned.ALEXNET).write_bytes(b"")

    class Difference(torch.nn.Module):
        """Stands in for the package's network: pictures come as `[1,3,H,W]` in -1..1."""

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            assert a.shape == (1, 3, 8, 9)
            return (a - b).abs().mean()

    package = SimpleNamespace(LPIPS=lambda net, verbose: Difference())
    monkeypatch.setattr(metrics_learned, "import_module", lambda name: package)
    found = find_lpips()
    assert not isinstance(found, str)
    dark, light = np.zeros((8, 9, 3), np.uint8), np.full((8, 9, 3), 255, np.uint8)
    assert found(dark, light) == pytest.approx(2)
    assert found(dark.astype(np.uint16), light.astype(np.uint16) * 257) == pytest.approx(2)
