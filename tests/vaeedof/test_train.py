"""Training: it learns, goes on to the same bits after any stop, and says in one line what it cannot do."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from skimage import data

torch = pytest.importorskip("torch", reason="VAEEDOF needs torch (extra `train`)")
pytest.importorskip("safetensors", reason="VAEEDOF needs safetensors (extra `train`)")

from mattingmfif.dataset.loader import FocalStackDataset  # noqa: E402
from mattingmfif.dataset.reader import open_shards  # noqa: E402
from mattingmfif.errors import UserError  # noqa: E402
from mattingmfif.vaeedof import examples as examples_module  # noqa: E402
from mattingmfif.vaeedof.baselines import average, laplacian_pyramid  # noqa: E402
from mattingmfif.vaeedof.checkpoint import load_model, load_tensors, save_model, save_tensors  # noqa: E402
from mattingmfif.vaeedof.device import choose_device  # noqa: E402
from mattingmfif.vaeedof.examples import Examples, batches  # noqa: E402
from mattingmfif.vaeedof.losses import fusion_losses, similarity  # noqa: E402
from mattingmfif.vaeedof.metrics import psnr, ssim_map  # noqa: E402
from mattingmfif.vaeedof.model import VAEEDOF  # noqa: E402
from mattingmfif.vaeedof.settings import (  # noqa: E402
    DataSettings,
    LossSettings,
    ModelSettings,
    Stages,
    StageSettings,
    TeacherSettings,
    TrainRecipe,
    load_train_recipe,
    published_train_recipes,
    recipe_from_plain,
)
from mattingmfif.vaeedof.stacks import degraded, to_codes, to_picture, whole_stack  # noqa: E402
from mattingmfif.vaeedof.train import learning_rate, train_from_recipe  # noqa: E402

TINY = ModelSettings(stem_px=4, widths=(12, 16), blocks=(1, 1), latent_channels=4, fusion_width=16, score_width=12)


def _recipe(steps: int, **data: object) -> TrainRecipe:
    stage = StageSettings(steps=steps, batch=2, crop_px=32, warmup_steps=2, learning_rate=2e-3)
    return TrainRecipe(
        name="tiny",
        model=TINY,
        teacher=TeacherSettings(widths=(16, 16), blocks=(1, 1)),
        stages=Stages(teacher=stage, distil=stage, fusion=stage),
        data=DataSettings(frames_most=3, **data),  # type: ignore[arg-type]
    )


@pytest.fixture
def train(small_dataset: Path) -> Callable[..., Path]:
    """Trains on three small samples with two frames each; there is no split `val`."""

    def run(out: Path, recipe: TrainRecipe, **options: Any) -> Path:
        return train_from_recipe(recipe, small_dataset, out, **{"device": "cpu", "report": lambda _: None, **options})

    return run


def _examples(dataset: Path, crop_px: int = 32, losses: LossSettings | None = None, **data: Any) -> Examples:
    quiet = {"flip": False, "swap_colours": False, "single_probability": 0.0, "whole_probability": 0.0}
    return Examples(dataset, DataSettings(**{**quiet, **data}), losses or LossSettings(), crop_px=crop_px, seed=3)


def test_all_three_stages_run_and_leave_what_they_promise(train: Callable[..., Path], tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "validation.csv").write_text("step,all\n0,1.0\n")  # of a run that was killed before its first save
    path = train(tmp_path, _recipe(4), report=said.append)
    assert "fusion: no samples of split 'val' that fit; watched on samples of split 'train'" in said
    assert not any("nan" in line for line in said)
    assert path == tmp_path / "fusion.safetensors"
    model, about = load_model(path)
    assert model.settings == TINY
    assert about["stage"] == "fusion"
    assert about["recipe"]["name"] == "tiny"
    story = json.loads((tmp_path / "train.json").read_text())
    assert story["seed"] == 0
    assert len(story["data"]) == 64
    with (tmp_path / "fusion.csv").open() as stream:
        assert next(csv.DictReader(stream))["step"] == "4"
    with (tmp_path / "validation.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["0", "4"]  # the untrained network is judged too
    assert {"all", "boundary", "gap", "pyramid_all"} <= rows[0].keys()
    assert "nan" not in (tmp_path / "validation.csv").read_text()
    assert (tmp_path / "step-000004.png").is_file()


@pytest.mark.parametrize("stage", ["teacher", "distil", "fusion"])
def test_a_stopped_training_goes_on_to_the_same_bits(train: Callable[..., Path], tmp_path: Path, stage: str) -> None:
    recipe = _recipe(6, iso_least=100, iso_most=800, exposure_drift_ev=0.1, shift_px=0.3)
    for name in ("straight", "stopped"):
        for before in ("teacher", "distil", "fusion"):
            if before == stage:
                break
            train(tmp_path / name, recipe, stage=before)
    whole = train(tmp_path / "straight", recipe, stage=stage)
    for stop in (2, 5):
        assert train(tmp_path / "stopped", recipe, stage=stage, stop_after=stop).name == f"{stage}.state.safetensors"
    resumed = train(tmp_path / "stopped", recipe, stage=stage)
    first, second = (load_tensors(path)[0] for path in (whole, resumed))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_gives_other_weights(train: Callable[..., Path], tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        _recipe(2), stages=Stages(distil=StageSettings(steps=0), fusion=_recipe(2).stages.fusion)
    )
    a, b = (load_tensors(train(tmp_path / str(s), recipe, stage="fusion", seed=s))[0] for s in (0, 1))
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_the_network_learns_to_fuse(train: Callable[..., Path], small_dataset: Path, tmp_path: Path) -> None:
    fusion = StageSettings(steps=150, batch=4, crop_px=32, learning_rate=4e-3, warmup_steps=10, ema_decay=0.9)
    recipe = dataclasses.replace(
        _recipe(0), stages=Stages(teacher=StageSettings(steps=0), distil=StageSettings(steps=0), fusion=fusion)
    )
    model, _ = load_model(train(tmp_path, recipe, stage="fusion"))
    stack = whole_stack(open_shards(small_dataset, "test")[0].crop(0, 0, 96, 128))
    with torch.no_grad():
        fused = to_codes(model(torch.from_numpy(to_picture(stack.frames))[None])[0].numpy(), np.uint8)
    assert psnr(fused, stack.target) > psnr(average(stack.frames), stack.target) + 2
    sharp = ~stack.gap & ~stack.boundary
    assert psnr(fused, stack.target, sharp) > psnr(laplacian_pyramid(stack.frames), stack.target, sharp) - 6


def test_an_example_depends_on_seed_and_number_alone_and_is_what_it_says(small_dataset: Path) -> None:
    data: dict[str, Any] = {"frames_most": 3, "iso_least": 100, "iso_most": 800, "shift_px": 0.5, "flip": True}
    examples = _examples(small_dataset, **data)
    draws = [examples[number] for number in (0, 7, 0)]
    again = _examples(small_dataset, **data)[7]
    for one, other, same in ((draws[0], draws[2], True), (draws[1], again, True), (draws[0], draws[1], False)):
        assert np.array_equal(one.pictures, other.pictures) is same
        assert np.array_equal(one.weight, other.weight) is same
    for draw in draws:
        assert draw.pictures.shape == (3, 3, 32, 32)
        assert draw.target.shape == (3, 32, 32)
        assert draw.present.tolist() in ([True, True, False], [True, True, True])
        assert not draw.pictures[~draw.present].any()
        assert set(np.unique(draw.weight)) <= {1.0, 5.0, 9.0}


def test_examples_are_crops_of_the_public_loader(small_dataset: Path) -> None:
    examples = _examples(small_dataset, boundary_probability=1.0)
    stacks = FocalStackDataset(
        small_dataset, crop=32, frames=(2, 7), split="train", seed=3, shuffle_frames=True, drop_share=0.3,
        boundary_share=1.0, pad_frames=False, output="numpy",
    )  # fmt: skip
    for number in range(5):  # into the second epoch of three samples
        epoch, position = divmod(number, 3)
        item, draw = stacks[epoch, int(stacks.order(epoch)[position])], examples[number]
        assert np.array_equal(draw.pictures[: len(item["frames"])], to_picture(item["frames"]))
        assert np.array_equal(draw.target, to_picture(item["target"]))


def test_boundary_and_gap_weigh_what_the_recipe_says_and_invented_pixels_less(small_dataset: Path) -> None:
    losses = LossSettings(boundary_weight=2.0, gap_weight=10.0)
    examples = _examples(small_dataset, 64, losses, frames_least=1, drop_probability=1.0)
    counts = {int(draw.present.sum()): draw.weight for draw in (examples[number] for number in range(12))}
    assert set(counts) == {1, 2}
    assert counts[2].max() == 3  # both frames: no gap
    assert {11.0, 13.0} & set(np.unique(counts[1]).tolist())  # one frame: what it is not sharp on is gap


def test_a_single_sharp_frame_is_drawn_with_itself_as_target(small_dataset: Path) -> None:
    draw = _examples(small_dataset, single_probability=1.0, iso_least=800, iso_most=800, shift_px=0.5)[1]
    assert draw.present.sum() == 1
    assert np.array_equal(draw.pictures[0], draw.target)
    assert (draw.weight == 1).all()


def test_a_frame_that_is_sharp_everywhere_is_drawn_among_the_others(small_dataset: Path) -> None:
    draw = _examples(small_dataset, whole_probability=1.0, drop_probability=0.0)[1]
    assert draw.present.sum() == 2
    assert np.array_equal(draw.pictures[0], draw.target)
    assert not np.array_equal(draw.pictures[1], draw.target)
    assert (draw.weight == 1).all()


def test_a_sharp_frame_stands_among_frames_of_the_model_that_is_learnt_from(small_dataset: Path) -> None:
    options = {"whole_probability": 1.0, "single_probability": 0.0, "drop_probability": 0.0}
    physical = _examples(small_dataset, **options)[0]
    for degrade in ("hard-mask", "gaussian-srgb"):
        draw = _examples(small_dataset, **options, degrade=degrade)[0]
        assert np.array_equal(draw.pictures[0], draw.target)
        assert np.array_equal(draw.target, physical.target)
        assert not np.array_equal(draw.pictures[1], physical.pictures[1])


@pytest.mark.parametrize("kind", ["iso", "exposure_drift_ev", "shift_px"])
@pytest.mark.parametrize("degrade", ["physical", "hard-mask"])
def test_frames_are_disturbed_as_often_as_asked_and_the_target_never(
    small_dataset: Path, kind: str, degrade: str
) -> None:
    options: dict[str, Any] = {"iso_least": 400, "iso_most": 400} if kind == "iso" else {kind: 0.4}
    options |= {"degrade": degrade, "drop_probability": 0.0}
    plain = _examples(small_dataset, **{**options, "disturb_probability": 0.0})

    def share(probability: float) -> float:
        examples, changed = _examples(small_dataset, **options, disturb_probability=probability), []
        for number in range(30):
            draw, calm = examples[number], plain[number]
            assert np.array_equal(draw.target, calm.target)
            changed.append(not np.array_equal(draw.pictures, calm.pictures))
        return float(np.mean(changed))

    assert share(0.0) == 0
    assert 0.2 < share(0.5) < 0.8
    assert share(1.0) == 1


def test_turns_and_colours_keep_frames_and_target_together(small_dataset: Path) -> None:
    plain = _examples(small_dataset, drop_probability=0.0)
    turned = _examples(small_dataset, drop_probability=0.0, flip=True, swap_colours=True)
    seen = set()
    for number in range(12):
        before, after = plain[number], turned[number]
        ways = [
            (turn, mirror, order)
            for turn in range(4)
            for mirror in (1, -1)
            for order in itertools.permutations(range(3))
            if np.array_equal(np.rot90(before.target, turn, (1, 2))[list(order), :, ::mirror], after.target)
        ]
        assert len(ways) == 1
        turn, mirror, order = ways[0]
        seen.add(ways[0])
        assert np.array_equal(np.rot90(before.pictures, turn, (2, 3))[:, list(order), :, ::mirror], after.pictures)
        assert np.array_equal(np.rot90(before.weight, turn)[:, ::mirror], after.weight)
    assert len(seen) > 6


def test_processes_that_read_ahead_change_nothing(
    train: Callable[..., Path], small_dataset: Path, tmp_path: Path
) -> None:
    examples = _examples(small_dataset)
    alone, helped = (list(batches(examples, 2, 1, 4, workers)) for workers in (0, 1))
    assert len(alone) == len(helped) == 3
    for one, other in zip(itertools.chain(*alone), itertools.chain(*helped), strict=True):
        assert np.array_equal(one.pictures, other.pictures)
        assert np.array_equal(one.weight, other.weight)


def test_degraded_frames_are_the_target_where_they_are_sharp() -> None:
    target = cv2.resize(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8), (64, 64))
    left = np.broadcast_to(np.arange(64) < 24, (64, 64))
    radius = np.where(np.stack([left, ~left]), 0.0, 5.0).astype(np.float32)
    hard, soft = (degraded(target, radius, kind) for kind in ("hard-mask", "gaussian-srgb"))
    for i in range(2):
        sharp = radius[i] <= 0.5
        assert np.array_equal(hard[i][sharp], target[sharp])
        assert not np.array_equal(hard[i][~sharp], target[~sharp])
        far = cv2.erode(sharp.astype(np.uint8), np.ones((31, 31))) > 0
        assert np.abs(soft[i][far].astype(int) - target[far]).max(initial=0) <= 1


def test_the_loss_counts_weighted_places_more() -> None:
    target, s = torch.zeros(1, 3, 8, 8), LossSettings()
    fused = target.clone()
    fused[..., :4] = 0.5
    here, there = torch.ones(1, 8, 8), torch.ones(1, 8, 8)
    here[..., :4], there[..., 4:] = 9, 9
    assert fusion_losses(fused, target, here, s)["loss"] > 1.5 * fusion_losses(fused, target, there, s)["loss"]
    assert fusion_losses(target, target, here, s)["squared"] == 0


def test_the_similarity_of_the_loss_follows_ssim() -> None:
    photo = np.repeat(data.camera()[100:196, 200:296, None], 3, 2)
    pictures = [cv2.GaussianBlur(photo, (0, 0), sigma) if sigma else photo for sigma in (0, 1, 2, 4)]
    ours = [float(similarity(*(torch.from_numpy(to_picture(p))[None] for p in (photo, q))).mean()) for q in pictures]
    assert ours[0] == pytest.approx(1, abs=1e-5)
    for value, picture in zip(ours, pictures, strict=True):
        assert value == pytest.approx(float(ssim_map(picture, photo).mean()), abs=0.02)


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    s = StageSettings(steps=100, warmup_steps=10, learning_rate=1e-3)
    rates = [learning_rate(s, k) for k in range(100)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) < 1e-3
    assert rates[9] > rates[4]
    assert rates[-1] < 1e-6


@pytest.mark.parametrize("name", published_train_recipes())
def test_published_recipes_load_and_survive_json(name: str) -> None:
    recipe = load_train_recipe(name)
    assert recipe.name == name
    assert recipe_from_plain(json.loads(json.dumps(recipe.to_plain()))) == recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "x"', "schema = 1"),
        ('schema = 1\nname = "x"\n[model]\nstem = 2', "did you mean model.stem_px"),
        ('schema = 1\nname = "x"\n[model]\nstem_px = 3', "allowed: 2, 4"),
        ('schema = 1\nname = "x"\n[model]\nwidths = [8]', "needs 3"),
        ('schema = 1\nname = "x"\n[data]\nframes_most = 9', "allowed: 2 to 7"),
        ('schema = 1\nname = "x"\n[data]\ndegrade = "nice"', "allowed: physical"),
        ('schema = 1\nname = "x"\n[stages.fusion]\ncrop_px = 100', "multiple of 8"),
        ('schema = 1\nname = "x"\n[losses]\nlatent = "much"', "must be a number"),
        ("schema = 1\nname = 3", "must be a word"),
        ("schema = 1", "name: missing"),
        ("schema = ", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_named_by_key(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(UserError, match=words):
        load_train_recipe(str(tmp_path / "r.toml"))


def test_impossible_trainings_are_one_line_each(train: Callable[..., Path], tmp_path: Path) -> None:
    recipe = _recipe(2)
    with pytest.raises(UserError, match="needs a teacher"):
        train(tmp_path / "a", recipe, stage="distil")
    with pytest.raises(UserError, match="starts from the distilled"):
        train(tmp_path / "b", recipe, stage="fusion")
    with pytest.raises(UserError, match="not known"):
        train(tmp_path / "c", recipe, stage="everything")
    with pytest.raises(UserError, match="no shard"):
        train_from_recipe(recipe, tmp_path / "nothing", tmp_path / "d")
    train(tmp_path / "e", recipe, stage="teacher", stop_after=1)
    story = (tmp_path / "e" / "train.json").read_bytes()
    with pytest.raises(UserError, match="another recipe, seed"):
        train(tmp_path / "e", _recipe(3), stage="teacher", seed=1)
    assert (tmp_path / "e" / "train.json").read_bytes() == story
    big = dataclasses.replace(recipe.stages.teacher, crop_px=128)
    with pytest.raises(UserError, match="at least 128 x 128 px"):
        train(tmp_path / "f", dataclasses.replace(recipe, stages=Stages(teacher=big)), stage="teacher")


def test_a_device_that_is_not_there_is_one_line() -> None:
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(UserError, match="no CUDA device"):
            choose_device("cuda")
    with pytest.raises(UserError, match="not known"):
        choose_device("tpu")


def test_weights_that_are_not_ours_are_one_line_each(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    save_model(good, VAEEDOF(TINY), TINY, "vaeedof", {"stage": "fusion"}, half=True)
    tensors, metadata = load_tensors(good)
    load_model(good)
    whole = good.read_bytes()
    cases: dict[str, str] = {}
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / f"cut{length}.safetensors").write_bytes(whole[:length])
        cases[f"cut{length}"] = "not a whole safetensors file"
    (tmp_path / "text.safetensors").write_text("weights")
    cases["text"] = "not a whole safetensors file"
    save_tensors(tmp_path / "foreign.safetensors", tensors, {"format": "pt"})
    cases["foreign"] = "not of VAEEDOF"
    save_tensors(tmp_path / "kind.safetensors", tensors, {**metadata, "kind": "teacher"})
    cases["kind"] = "expected kind 'vaeedof'"
    save_tensors(tmp_path / "header.safetensors", tensors, {**metadata, "model": "{"})
    cases["header"] = "does not describe"
    fewer = dict(list(tensors.items())[1:])
    save_tensors(tmp_path / "fewer.safetensors", fewer, metadata)
    cases["fewer"] = "another architecture"
    wider = json.dumps({**json.loads(metadata["model"]), "widths": [16, 16]})
    save_tensors(tmp_path / "wider.safetensors", tensors, {**metadata, "model": wider})
    cases["wider"] = "another architecture"
    poisoned = {name: tensor.clone() for name, tensor in tensors.items()}
    poisoned["fusion.token"][0] = float("nan")
    save_tensors(tmp_path / "nan.safetensors", poisoned, metadata)
    cases["nan"] = "not numbers"
    cases["absent"] = "no such file"
    for name, words in cases.items():
        with pytest.raises(UserError, match=words) as caught:
            load_model(tmp_path / f"{name}.safetensors")
        assert "\n" not in str(caught.value)
        assert f"{name}.safetensors" in str(caught.value)


def test_workers_begin_deaf_to_ctrl_c_which_the_training_hears(
    small_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, before = [], signal.getsignal(signal.SIGINT)

    class Loader:
        """Stands in for the loader that starts processes; they inherit what is ignored."""

        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def __iter__(self) -> Any:
            found.append(signal.getsignal(signal.SIGINT))
            return iter(())

    monkeypatch.setattr(examples_module, "DataLoader", Loader)
    for workers in (0, 2):
        examples_module.batches(_examples(small_dataset), 1, 0, 1, workers)
    assert found == [before, signal.SIG_IGN]
    assert signal.getsignal(signal.SIGINT) == before
