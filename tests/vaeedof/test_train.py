"""Training: it learns, goes on to the same bits after any stop, and says in one line what it cannot do."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="VAEEDOF needs torch (extra `train`)")
pytest.importorskip("safetensors", reason="VAEEDOF needs safetensors (extra `train`)")

from mattingmfif.errors import UserError  # noqa: E402
from mattingmfif.vaeedof.baselines import average, laplacian_pyramid  # noqa: E402
from mattingmfif.vaeedof.checkpoint import load_model, load_tensors, save_model, save_tensors  # noqa: E402
from mattingmfif.vaeedof.device import choose_device  # noqa: E402
from mattingmfif.vaeedof.losses import fusion_losses  # noqa: E402
from mattingmfif.vaeedof.metrics import psnr  # noqa: E402
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
from mattingmfif.vaeedof.stacks import MemoryStacks, Places, Stack, degraded, draw_example, to_codes, to_picture  # noqa: E402
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


def _stacks(count: int = 3, size: int = 64) -> MemoryStacks:
    """Noise pictures, sharp left of a line in one frame and right of it in the other, softened elsewhere."""
    rng, found = np.random.default_rng(0), []
    for k in range(count):
        target = cv2.resize(rng.integers(0, 256, (size // 2, size // 2, 3)).astype(np.uint8), (size, size))
        soft = cv2.GaussianBlur(target, (0, 0), 2.5)
        edge = size // 3 + 5 * k
        left = np.arange(size)[None, :] < edge
        sharpest = np.where(np.broadcast_to(left, (size, size)), 0, 1).astype(np.uint8)
        sharpest[: size // 8] = 255
        frames = np.stack([np.where(left[..., None], target, soft), np.where(left[..., None], soft, target)])
        frames[:, : size // 8] = soft[: size // 8]
        boundary = np.broadcast_to(np.abs(np.arange(size) - edge) < 4, (size, size))
        radius = np.where(sharpest[None] == np.arange(2)[:, None, None], 0.0, 5.0).astype(np.float32)
        found.append(
            Stack(
                frames=frames,
                target=target,
                boundary=boundary,
                sharpest_frame=sharpest,
                trust=np.ones((size, size), np.float32),
                blur_radius_px=radius,
            )
        )
    return MemoryStacks(found)


def _train(out: Path, recipe: TrainRecipe, **options: object) -> Path:
    stacks = _stacks()
    said: list[str] = []
    return train_from_recipe(
        recipe, "memory", out, source=stacks, validation_source=stacks, device="cpu", report=said.append, **options
    )  # type: ignore[arg-type]


def test_all_three_stages_run_and_leave_what_they_promise(tmp_path: Path) -> None:
    path = _train(tmp_path, _recipe(4))
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
        assert {"all", "boundary", "gap", "pyramid_all"} <= next(csv.DictReader(stream)).keys()
    assert (tmp_path / "step-000004.png").is_file()


@pytest.mark.parametrize("stage", ["teacher", "distil", "fusion"])
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path: Path, stage: str) -> None:
    recipe = _recipe(6, noise_sigma=0.01, shift_px=0.3)
    for name in ("straight", "stopped"):
        for before in ("teacher", "distil", "fusion"):
            if before == stage:
                break
            _train(tmp_path / name, recipe, stage=before)
    whole = _train(tmp_path / "straight", recipe, stage=stage)
    for stop in (2, 5):
        assert _train(tmp_path / "stopped", recipe, stage=stage, stop_after=stop).name == f"{stage}.state.safetensors"
    resumed = _train(tmp_path / "stopped", recipe, stage=stage)
    first, second = (load_tensors(path)[0] for path in (whole, resumed))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        _recipe(2), stages=Stages(distil=StageSettings(steps=0), fusion=_recipe(2).stages.fusion)
    )
    a, b = (load_tensors(_train(tmp_path / str(s), recipe, stage="fusion", seed=s))[0] for s in (0, 1))
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_the_network_learns_to_fuse(tmp_path: Path) -> None:
    fusion = StageSettings(steps=150, batch=4, crop_px=32, learning_rate=4e-3, warmup_steps=10, ema_decay=0.9)
    recipe = dataclasses.replace(
        _recipe(0), stages=Stages(teacher=StageSettings(steps=0), distil=StageSettings(steps=0), fusion=fusion)
    )
    model, _ = load_model(_train(tmp_path, recipe, stage="fusion"))
    stack = _stacks(1).stacks[0]
    with torch.no_grad():
        fused = to_codes(model(torch.from_numpy(to_picture(stack.frames))[None])[0].numpy(), np.uint8)
    assert psnr(fused, stack.target) > psnr(average(stack.frames), stack.target) + 2
    sharp = ~stack.gap & ~stack.boundary
    assert psnr(fused, stack.target, sharp) > psnr(laplacian_pyramid(stack.frames), stack.target, sharp) - 6


def test_a_draw_depends_on_its_key_alone_and_is_what_it_says() -> None:
    places, settings = (
        Places(_stacks()),
        DataSettings(frames_most=3, drop_probability=0.5, noise_sigma=0.02, shift_px=0.5),
    )
    draws = [draw_example(places, settings, (4.0, 4.0, 0.25), 32, (0, 2, 7, k)) for k in (0, 1, 0)]
    assert np.array_equal(draws[0].pictures, draws[2].pictures)
    assert not np.array_equal(draws[0].pictures, draws[1].pictures)
    for draw in draws:
        assert draw.pictures.shape == (3, 3, 32, 32)
        assert draw.present.tolist() == [True, True, False]
        assert not draw.pictures[2].any()
        assert set(np.unique(draw.weight)) <= {1.0, 5.0, 9.0}


def test_dropping_a_frame_makes_its_pixels_gap() -> None:
    settings = DataSettings(
        frames_least=1,
        frames_most=2,
        drop_probability=1.0,
        single_probability=0,
        whole_probability=0,
        flip=False,
        boundary_probability=0,
    )
    places = Places(_stacks(1))
    for key in range(20):
        draw = draw_example(places, settings, (0.0, 1.0, 1.0), 64, (key,))
        if draw.present.sum() == 1:
            shares = (draw.weight[8:] == 2).mean()
            assert 0.2 < shares < 0.8  # one side of the edge
            return
    pytest.fail("no draw dropped a frame")


def test_a_single_sharp_frame_is_drawn_with_itself_as_target() -> None:
    settings = DataSettings(frames_most=2, single_probability=1.0)
    draw = draw_example(Places(_stacks()), settings, (4.0, 4.0, 1.0), 32, (1,))
    assert draw.present.tolist() == [True, False]
    assert np.array_equal(draw.pictures[0], draw.target)
    assert (draw.weight == 1).all()


def test_a_frame_that_is_sharp_everywhere_is_drawn_among_the_others() -> None:
    settings = DataSettings(frames_most=2, single_probability=0.0, whole_probability=1.0, drop_probability=0.0)
    draw = draw_example(Places(_stacks()), settings, (4.0, 4.0, 1.0), 32, (1,))
    assert draw.present.all()
    assert np.array_equal(draw.pictures[0], draw.target)
    assert not np.array_equal(draw.pictures[1], draw.target)
    assert (draw.weight == 1).all()


def test_frames_are_disturbed_as_often_as_asked() -> None:
    def share(probability: float) -> float:
        options = {"single_probability": 1.0, "noise_sigma": 0.02, "disturb_probability": probability}
        places = Places(_stacks())
        draws = [draw_example(places, DataSettings(**options), (0.0, 0.0, 1.0), 32, (k,)) for k in range(40)]
        return float(np.mean([not np.array_equal(draw.pictures[0], draw.target) for draw in draws]))

    assert share(0.0) == 0
    assert 0.2 < share(0.5) < 0.8
    assert share(1.0) == 1


def test_degraded_frames_are_the_target_where_they_are_sharp() -> None:
    stack = _stacks(1).stacks[0]
    hard, soft = degraded(stack, "hard-mask"), degraded(stack, "gaussian-srgb")
    for i in range(2):
        sharp = np.abs(stack.blur_radius_px[i]) <= 0.5
        assert np.array_equal(hard.frames[i][sharp], stack.target[sharp])
        assert not np.array_equal(hard.frames[i][~sharp], stack.target[~sharp])
        far = cv2.erode(sharp.astype(np.uint8), np.ones((31, 31))) > 0
        assert np.abs(soft.frames[i][far].astype(int) - stack.target[far]).max(initial=0) <= 1
    assert degraded(stack, "physical") is stack


def test_the_loss_counts_weighted_places_more() -> None:
    target, s = torch.zeros(1, 3, 8, 8), LossSettings()
    fused = target.clone()
    fused[..., :4] = 0.5
    here, there = torch.ones(1, 8, 8), torch.ones(1, 8, 8)
    here[..., :4], there[..., 4:] = 9, 9
    assert fusion_losses(fused, target, here, s)["loss"] > 1.5 * fusion_losses(fused, target, there, s)["loss"]
    assert fusion_losses(target, target, here, s)["squared"] == 0


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


def test_impossible_trainings_are_one_line_each(tmp_path: Path) -> None:
    recipe = _recipe(2)
    with pytest.raises(UserError, match="needs a teacher"):
        _train(tmp_path / "a", recipe, stage="distil")
    with pytest.raises(UserError, match="starts from the distilled"):
        _train(tmp_path / "b", recipe, stage="fusion")
    with pytest.raises(UserError, match="not known"):
        _train(tmp_path / "c", recipe, stage="everything")
    with pytest.raises(UserError, match="no shard"):
        train_from_recipe(recipe, tmp_path / "nothing", tmp_path / "d")
    _train(tmp_path / "e", recipe, stage="teacher", stop_after=1)
    with pytest.raises(UserError, match="another recipe, seed"):
        _train(tmp_path / "e", _recipe(3), stage="teacher", seed=1)
    big = dataclasses.replace(recipe.stages.teacher, crop_px=128)
    with pytest.raises(UserError, match="smaller than crop_px"):
        _train(tmp_path / "f", dataclasses.replace(recipe, stages=Stages(teacher=big)), stage="teacher")


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
