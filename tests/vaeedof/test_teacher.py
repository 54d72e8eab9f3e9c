"""Teachers: a diffusers AutoencoderKL folder gives what diffusers gives, and every damaged folder one clear line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="VAEEDOF needs torch (extra `train`)")
pytest.importorskip("safetensors", reason="VAEEDOF needs safetensors (extra `train`)")

from safetensors.torch import save_file  # noqa: E402

from mattingmfif.errors import UserError  # noqa: E402
from mattingmfif.vaeedof.checkpoint import load_model, load_tensors  # noqa: E402
from mattingmfif.vaeedof.distil import DistilLesson  # noqa: E402
from mattingmfif.vaeedof.settings import (  # noqa: E402
    DataSettings,
    ModelSettings,
    Stages,
    StageSettings,
    TeacherSettings,
    TrainRecipe,
)
from mattingmfif.vaeedof.teacher import AutoencoderKL, load_autoencoder_kl, load_teacher  # noqa: E402
from mattingmfif.vaeedof.train import train_from_recipe  # noqa: E402

CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.30.0",
    "act_fn": "silu",
    "block_out_channels": [8, 8, 16, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "out_channels": 3,
    "sample_size": 32,
    "scaling_factor": 0.18215,
    "shift_factor": 0.1,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}

# Golden: diffusers 0.42.1 AutoencoderKL with the weights of `_weights`, float32, at latent (1, 2), pixel (7, 9)
GOLDEN_LATENT = [-0.055112, 0.115955, -0.110229, 0.096623]
GOLDEN_DECODED = [1.585731, 3.275469, -1.660821]


def _weights() -> dict[str, torch.Tensor]:
    """Weights by formula, the same everywhere: element j of parameter k is 0.3 sin(0.37 j + k), norms near 1."""
    names = sorted(AutoencoderKL(CONFIG).state_dict().items())
    found = {}
    for k, (name, like) in enumerate(names):
        wave = 0.3 * torch.sin(0.37 * torch.arange(like.numel(), dtype=torch.float64) + k).reshape(like.shape).float()
        found[name] = 1 + wave if "norm" in name and name.endswith("weight") else wave
    return found


def _picture() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    return torch.stack([torch.sin(0.3 * x + c) * torch.cos(0.2 * y - c) for c in range(3)])[None]


def _folder(path: Path, weights: dict[str, torch.Tensor] | None = None, **changes: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    save_file(_weights() if weights is None else weights, str(path / "diffusion_pytorch_model.safetensors"))
    return path


def test_a_folder_gives_what_diffusers_gives(tmp_path: Path) -> None:
    teacher = load_autoencoder_kl(_folder(tmp_path / "kl"))
    with torch.no_grad():
        latent, features = teacher.teach(_picture())
        decoded = teacher.decode(latent)
    assert latent.shape == (1, 4, 4, 5)
    assert features.shape == (1, 16, 4, 5)
    assert latent[0, :, 1, 2].tolist() == pytest.approx(GOLDEN_LATENT, abs=1e-4)
    assert decoded[0, :, 7, 9].tolist() == pytest.approx(GOLDEN_DECODED, abs=1e-4)


def test_old_names_of_attention_and_1x1_weights_are_understood(tmp_path: Path) -> None:
    new = load_autoencoder_kl(_folder(tmp_path / "new"))
    words = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    renamed = {}
    for name, tensor in _weights().items():
        for today, before in words.items():
            if today in name:
                name, tensor = name.replace(today, before), tensor[..., None, None] if tensor.ndim == 2 else tensor
        renamed[name] = tensor
    old = load_autoencoder_kl(_folder(tmp_path / "old", renamed))
    with torch.no_grad():
        assert torch.equal(new.teach(_picture())[0], old.teach(_picture())[0])


def test_keys_that_old_folders_lack_mean_what_diffusers_takes_for_them(tmp_path: Path) -> None:
    wide = {"block_out_channels": [32, 32, 32, 32], "norm_num_groups": 32, "shift_factor": None}
    weights = {
        name: 0.01 * torch.ones_like(value) for name, value in AutoencoderKL({**CONFIG, **wide}).state_dict().items()
    }
    whole = load_autoencoder_kl(_folder(tmp_path / "whole", weights, **wide))
    folder = _folder(tmp_path / "old", weights, **wide)
    config = json.loads((folder / "config.json").read_text())
    for key in ("norm_num_groups", "scaling_factor", "shift_factor", "layers_per_block", "latent_channels", "act_fn"):
        del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    old = load_autoencoder_kl(folder)
    assert old.scaling_factor == 0.18215
    with torch.no_grad():
        assert torch.equal(old.teach(_picture())[0], whole.teach(_picture())[0])


def test_a_lesson_takes_its_teacher_to_the_device_where_it_computes(tmp_path: Path) -> None:
    few = StageSettings(steps=1, batch=1, crop_px=32)
    model = ModelSettings(stem_px=4, widths=(8, 12), blocks=(1, 1), latent_channels=4, fusion_width=16, score_width=8)
    recipe = TrainRecipe(name="moved", model=model, teacher=UNUSED, stages=Stages(teacher=few, distil=few, fusion=few))
    lesson = DistilLesson(recipe, load_teacher(_folder(tmp_path / "kl"))).to("meta")
    target = torch.empty(1, 3, 32, 32, device="meta")
    assert lesson({"target": target, "pictures": target[:, None]}, 0)["loss"].device.type == "meta"


def test_half_precision_weights_are_read(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "half", {k: v.half() for k, v in _weights().items()})
    latent = load_teacher(folder).teach(_picture())[0]
    assert latent.dtype == torch.float32
    assert not latent.requires_grad


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scaling_factor": None}, "does not describe"),
        ({"scaling_factor": 0}, "does not describe"),
        ({"shift_factor": float("nan")}, "does not describe"),
        ({"norm_num_groups": 0}, "does not describe"),
        ({"block_out_channels": [8, 8, 16, -16]}, "does not describe"),
        ({"_class_name": "AutoencoderTiny"}, "only AutoencoderKL"),
        ({"block_out_channels": [8, 8, 16]}, "stride 4"),
        ({"act_fn": "relu"}, "not known"),
        ({"down_block_types": ["AttnDownBlock2D"] * 4}, "not known"),
        ({"latent_channels": 8}, "another architecture"),
        ({"layers_per_block": 2}, "another architecture"),
        ({"norm_num_groups": 3}, "does not describe"),
    ],
)
def test_a_foreign_folder_is_one_clear_line(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        load_autoencoder_kl(_folder(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_missing_and_truncated_files_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config.json cannot be read"):
        load_teacher(tmp_path)
    folder = _folder(tmp_path / "pipeline" / "vae")
    with pytest.raises(UserError, match=r"a whole pipeline; its auto-encoder is .*vae$"):
        load_teacher(tmp_path / "pipeline")
    folder = _folder(tmp_path / "cut")
    weights = folder / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    for length in (0, 7, 200, len(whole) - 1):
        weights.write_bytes(whole[:length])
        with pytest.raises(UserError, match="not a whole safetensors file"):
            load_autoencoder_kl(folder)
    weights.unlink()
    with pytest.raises(UserError, match="no weights"):
        load_autoencoder_kl(folder)


UNUSED = TeacherSettings(widths=(8, 8), blocks=(1, 1))


@pytest.mark.parametrize("latent_channels", [4, 6], ids=["same-channels", "through-a-head"])
def test_a_folder_teaches_a_student_which_goes_on_to_the_same_bits(
    small_dataset: Path, tmp_path: Path, latent_channels: int
) -> None:
    folder = _folder(tmp_path / "kl")
    model = ModelSettings(
        stem_px=4, widths=(8, 12), blocks=(1, 1), latent_channels=latent_channels, fusion_width=16, score_width=8
    )
    few = StageSettings(steps=4, batch=2, crop_px=32, warmup_steps=1, learning_rate=3e-3)
    stages = Stages(teacher=few, distil=few, fusion=few)
    recipe = TrainRecipe(name="taught", model=model, teacher=UNUSED, stages=stages)

    def run(out: str, **options: Any) -> Path:
        return train_from_recipe(
            recipe, small_dataset, tmp_path / out, teacher=folder, device="cpu", report=lambda _: None, **options
        )  # fmt: skip

    run("stopped", stage="distil", stop_after=2)
    first, second = (load_tensors(run(out, stage="distil"))[0] for out in ("stopped", "straight"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(UserError, match="leave out --teacher"):
        run("none", stage="teacher")
    # another teacher by the same name is no way to go on
    run("other", stage="distil", stop_after=2)
    weights = _weights()
    folder = _folder(
        tmp_path / "elsewhere" / "kl", {**weights, "encoder.conv_in.bias": weights["encoder.conv_in.bias"] + 1}
    )
    with pytest.raises(UserError, match="another teacher_sha256"):
        run("other", stage="distil")
    # the whole course with a folder leaves out the teacher's own stage, and says whose pupil it is without its path
    path = run("whole")
    assert not (tmp_path / "whole" / "teacher.safetensors").exists()
    about = load_model(path)[1]
    assert about["teacher"] == "kl"
    assert str(tmp_path) not in json.dumps(about)


def test_a_student_comes_nearer_to_the_latents_of_its_teacher(small_dataset: Path, tmp_path: Path) -> None:
    folder = _folder(tmp_path / "kl")
    model = ModelSettings(stem_px=4, widths=(16, 24), blocks=(1, 1), latent_channels=4, fusion_width=16, score_width=8)
    still = DataSettings(flip=False, swap_colours=False)
    course = StageSettings(steps=120, batch=2, crop_px=32, warmup_steps=5, learning_rate=5e-3, ema_decay=0.9)
    recipe = TrainRecipe(name="taught", model=model, teacher=UNUSED, stages=Stages(distil=course), data=still)
    quiet: Any = {"device": "cpu", "report": lambda _: None}
    train_from_recipe(recipe, small_dataset, tmp_path, stage="distil", teacher=folder, **quiet)
    with (tmp_path / "distil.csv").open() as stream:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]
    assert rows[-1]["latent"] < 0.9 * rows[0]["latent"]
    assert rows[-1]["pixel"] < rows[0]["pixel"]
