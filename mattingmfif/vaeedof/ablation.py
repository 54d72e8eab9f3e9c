"""What each part of VAEEDOF is worth: the recipe trained whole and with one part taken away, judged in one table.

    ablate("vaeedof-cpu", "shards/", "ablation/", steps=300)

All start from one distilled auto-encoder (but the one without distillation), see the same draws and take the same
number of steps. Few steps show which part learns fast, not where a long training would end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mattingmfif.errors import UserError
from mattingmfif.vaeedof.checkpoint import load_model, save_model
from mattingmfif.vaeedof.evaluate import Evaluation, evaluate_folder
from mattingmfif.vaeedof.settings import TrainRecipe
from mattingmfif.vaeedof.train import train_from_recipe

WHOLE, NO_DISTILLATION = "whole", "without-distillation"
PARTS = {"without-latent": "use_latent", "without-skips": "use_skips", "without-pixel-path": "use_pixel_path"}
VARIANTS = (WHOLE, *PARTS, NO_DISTILLATION)
Report = Callable[[str], None]


def variant(recipe: TrainRecipe, name: str, steps: int) -> TrainRecipe:
    """The recipe's fusion stage alone, `steps` long, for one of VARIANTS."""
    fusion = dataclasses.replace(recipe.stages.fusion, steps=steps)
    distil = dataclasses.replace(
        recipe.stages.distil, steps=0 if name == NO_DISTILLATION else recipe.stages.distil.steps
    )
    switch: dict[str, Any] = {PARTS[name]: False} if name in PARTS else {}
    model = dataclasses.replace(recipe.model, **switch)
    stages = dataclasses.replace(recipe.stages, distil=distil, fusion=fusion)
    return dataclasses.replace(recipe, name=f"{recipe.name}-{name}", model=model, stages=stages)


def ablate(
    recipe: TrainRecipe,
    dataset: str | Path,
    out: str | Path,
    *,
    steps: int,
    distilled: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    limit: int | None = None,
    report: Report = print,
) -> Evaluation:
    """Train every variant for `steps` steps and judge them on the dataset's test split; the same call goes on.

    distilled: an auto-encoder that `train --stage distil` wrote by this recipe; None: teacher and distillation come
    first. Writes a folder a variant and the table into `out`. UserError for a distilled network of another
    architecture.
    """
    out = Path(out)
    if distilled is None:
        for stage in ("teacher", "distil"):
            train_from_recipe(recipe, dataset, out / "before", stage=stage, seed=seed, device=device, report=report)
        distilled = out / "before" / "distil.safetensors"
    student, about = load_model(distilled)
    if student.settings != recipe.model:
        raise UserError(f"{distilled}: another architecture than the recipe's")
    checkpoints = []
    for name in VARIANTS:
        chosen = variant(recipe, name, steps)
        if name != NO_DISTILLATION:
            # taking a part away leaves the shapes of all weights as they are
            save_model(out / name / "distil.safetensors", student, chosen.model, "vaeedof", about, half=False)
        report(f"{name}: {steps} steps of {chosen.stages.fusion.batch} crops")
        run = out / name
        checkpoints.append(
            train_from_recipe(chosen, dataset, run, stage="fusion", seed=seed, device=device, report=report)
        )
    return evaluate_folder(dataset, out / "judged", checkpoint=checkpoints, device=device, limit=limit, report=report)
