"""The ablation trains what it says: the same course with one part away, and one table over all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="VAEEDOF needs torch (extra `train`)")
pytest.importorskip("safetensors", reason="VAEEDOF needs safetensors (extra `train`)")

from mattingmfif.errors import UserError  # noqa: E402
from mattingmfif.vaeedof.ablation import VARIANTS, ablate, variant  # noqa: E402
from mattingmfif.vaeedof.checkpoint import load_model  # noqa: E402
from mattingmfif.vaeedof.settings import ModelSettings, Stages, StageSettings, TeacherSettings, TrainRecipe  # noqa: E402

FEW = StageSettings(steps=2, batch=1, crop_px=32, warmup_steps=1)
RECIPE = TrainRecipe(
    name="tiny",
    model=ModelSettings(stem_px=4, widths=(8, 8), blocks=(1, 1), latent_channels=4, fusion_width=8, score_width=8),
    teacher=TeacherSettings(widths=(8, 8), blocks=(1, 1)),
    stages=Stages(teacher=FEW, distil=FEW, fusion=FEW),
)


def test_a_variant_differs_by_its_part_alone() -> None:
    whole = variant(RECIPE, "whole", 5)
    assert (whole.model, whole.stages.fusion.steps, whole.stages.distil) == (RECIPE.model, 5, FEW)
    for name, part in (("latent", "use_latent"), ("skips", "use_skips"), ("pixel-path", "use_pixel_path")):
        less = variant(RECIPE, f"without-{name}", 5)
        assert less.model == dataclasses.replace(RECIPE.model, **{part: False})
        assert less.stages == whole.stages
    assert variant(RECIPE, "without-distillation", 5).stages.distil.steps == 0


def test_all_variants_are_trained_and_stand_in_one_table(small_dataset: Path, tmp_path: Path) -> None:
    found = ablate(RECIPE, small_dataset, tmp_path, steps=1, device="cpu", limit=1, report=lambda _: None)
    assert set(VARIANTS) < {row.fuser for row in found.rows}
    for name in VARIANTS:
        model, about = load_model(tmp_path / name / "fusion.safetensors")
        assert about["steps"] == 1
        assert model.settings == variant(RECIPE, name, 1).model
        assert (tmp_path / name / "distil.safetensors").exists() is (name != "without-distillation")
    stories = {(json.loads((tmp_path / name / "train.json").read_text()))["data"] for name in VARIANTS}
    assert len(stories) == 1
    other = dataclasses.replace(RECIPE, model=dataclasses.replace(RECIPE.model, latent_channels=8))
    with pytest.raises(UserError, match="another architecture"):
        ablate(other, small_dataset, tmp_path / "b", steps=1, distilled=tmp_path / "before" / "distil.safetensors")
