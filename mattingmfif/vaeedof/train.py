"""Training by a recipe: teacher, distillation, fusion; each stage can be stopped and goes on to the same bits.

    train_from_recipe("vaeedof-cpu", "dataset/", "run/")

In `out`: `train.json` (recipe, seed, data), per stage `<stage>.state.safetensors` (to go on with), `<stage>.csv`
(losses) and `<stage>.safetensors` (the averaged weights), for fusion also `validation.csv` and pictures. The same
recipe, data, seed, torch and number of threads give the same weights on a CPU, stopped and resumed or not;
on CUDA nearly.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mattingmfif.errors import UserError
from mattingmfif.vaeedof.checkpoint import load_model, save_model, write_aside
from mattingmfif.vaeedof.cost import model_cost
from mattingmfif.vaeedof.device import autocast, choose_device
from mattingmfif.vaeedof.distil import DistilLesson, FusionLesson, TeacherLesson, batch_of
from mattingmfif.vaeedof.examples import Examples, batches
from mattingmfif.vaeedof.model import VAEEDOF
from mattingmfif.vaeedof.progress import CsvLog, check_state, load_state, save_state
from mattingmfif.vaeedof.settings import MAX_FRAMES, STAGES, DataSettings, StageSettings, TrainRecipe
from mattingmfif.vaeedof.teacher import load_teacher, teacher_sha256
from mattingmfif.vaeedof.validate import Validation

LOG_EVERY, SAVE_EVERY, VALIDATE_EVERY = 20, 250, 250
COST_FRAME = 2160, 3840  # height and width for which a training says what its network will cost
Report = Callable[[str], None]


def learning_rate(s: StageSettings, step: int) -> float:
    """Linear warm-up, then half a cosine to 0 at the last step."""
    warm = min(1.0, (step + 1) / max(1, s.warmup_steps))
    return s.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / max(1, s.steps)))


def average_into(ema: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move ema to d ema + (1 - d) model, d growing with the step to `decay`: early weights are soon forgotten."""
    d = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, value in zip(ema.parameters(), model.parameters(), strict=True):
            mean.lerp_(value, 1 - d)


def run_stage(
    stage: str,
    lesson: nn.Module,
    recipe: TrainRecipe,
    examples: Examples,
    out: Path,
    *,
    seed: int,
    device: torch.device,
    identity: dict[str, Any],
    stop_after: int | None = None,
    workers: int = 0,
    validation: Validation | None = None,
    report: Report = print,
) -> nn.Module | None:
    """Train `lesson` to the stage's last step; the averaged lesson, or None if stopped after `stop_after` steps."""
    s: StageSettings = getattr(recipe.stages, stage)
    lesson.to(device).train()
    average = copy.deepcopy(lesson).eval().requires_grad_(False)
    learnt = [p for p in lesson.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=s.learning_rate, weight_decay=s.weight_decay, betas=(0.9, 0.99))
    parts = {"lesson": lesson, "average": average}
    state, first = out / f"{stage}.state.safetensors", 0
    if state.is_file():
        first = load_state(state, identity, parts, optimiser)
        report(f"{stage}: going on after step {first}")
    last = s.steps if stop_after is None else min(s.steps, stop_after)
    log = CsvLog(out / f"{stage}.csv", first)
    curve = CsvLog(out / "validation.csv", first) if validation else None
    began, terms = (time.monotonic(), time.process_time()), {}

    def watch(done: int) -> None:
        if validation and curve:
            found = validation.measure(_student(average), device, recipe.precision, out / f"step-{done:06d}.png")
            curve.write({"step": done, **found})
            known = ", ".join(f"{k} {v:.2f}" for k, v in found.items() if not math.isnan(v))
            report(f"{stage}: step {done}, PSNR {known}")

    if validation and validation.split != "val":
        report(f"{stage}: no samples of split 'val' that fit; watched on samples of split '{validation.split}'")
    if first == 0:
        watch(0)
    fed = batches(examples, s.batch, first, last, workers)
    for step, drawn in zip(range(first, last), fed, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(s, step)
        batch = batch_of(drawn, device)
        with autocast(device, recipe.precision):
            terms = lesson(batch, seed * 1_000_003 + step)
        optimiser.zero_grad(set_to_none=True)
        terms["loss"].backward()
        norm = nn.utils.clip_grad_norm_(learnt, s.clip_norm)
        if not bool(torch.isfinite(norm)):
            raise UserError(f"{stage}: the loss is not a number at step {step}; lower stages.{stage}.learning_rate")
        optimiser.step()
        average_into(average, lesson, s.ema_decay, step)
        done = step + 1
        if done % LOG_EVERY == 0 or done == last:
            row = _row(done, optimiser.param_groups[0]["lr"], terms, began)
            log.write(row)
            if done % (10 * LOG_EVERY) == 0 or done == last:
                spent = f"{row['seconds']:.0f} s, {row['cpu_seconds']:.0f} CPU-s"
                report(f"{stage}: step {done} of {s.steps}, loss {row['loss']:.5f}, {spent}")
        if done % VALIDATE_EVERY == 0 or done == s.steps:
            watch(done)
        if done % SAVE_EVERY == 0 or done == last:
            save_state(state, done, identity, parts, optimiser)
    return average if last == s.steps else None


def _student(lesson: nn.Module) -> VAEEDOF:
    student = lesson.student
    assert isinstance(student, VAEEDOF)
    return student


def _row(step: int, rate: float, terms: dict[str, Tensor], began: tuple[float, float]) -> dict[str, Any]:
    values = {k: float(v.detach()) for k, v in terms.items()}
    spent = {"seconds": time.monotonic() - began[0], "cpu_seconds": time.process_time() - began[1]}
    return {"step": step, "learning_rate": rate, **values, **spent}


def _stage_data(recipe: TrainRecipe, stage: str) -> DataSettings:
    if stage == "fusion":
        return recipe.data
    # an auto-encoder sees one target and one frame a stack, anywhere, undisturbed
    return DataSettings(frames_least=1, frames_most=1, drop_probability=1.0, single_probability=0.0,
                        whole_probability=0.0, boundary_probability=0.0, flip=recipe.data.flip,
                        swap_colours=recipe.data.swap_colours)  # fmt: skip


def train_from_recipe(
    recipe: TrainRecipe,
    dataset: str | Path,
    out: str | Path,
    *,
    stage: str = "all",
    teacher: str | Path | None = None,
    degrade: str | None = None,
    seed: int = 0,
    device: str = "auto",
    stop_after: int | None = None,
    workers: int | None = None,
    report: Report = print,
) -> Path:
    """Train a VAEEDOF on a dataset's `train` split and return the path of its weights (or of the last stage's).

    stage: `teacher`, `distil`, `fusion`, or `all` that has steps. teacher: a diffusers AutoencoderKL folder or a
    teacher checkpoint, instead of training one. `degrade` replaces the recipe's `data.degrade`. `stop_after` ends each
    stage early; the same call without it goes on. `workers` processes read examples ahead (None: 8 for CUDA, none for
    the CPU); they change nothing but the speed. UserError for a dataset without samples that fit, a folder of another
    training, a stage whose predecessor is missing.
    """
    if stage not in (*STAGES, "all"):
        raise UserError(f"--stage {stage}: not known; use {', '.join((*STAGES, 'all'))}")
    if stage == "teacher" and teacher is not None:
        raise UserError(
            "--stage teacher trains a teacher of its own; leave out --teacher, or begin with --stage distil"
        )
    chosen, out = choose_device(device), Path(out)
    if degrade is not None:
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, degrade=degrade))
    workers = (8 if chosen.type == "cuda" else 0) if workers is None else workers
    stages = [name for name in STAGES if stage in (name, "all") and getattr(recipe.stages, name).steps]
    if teacher is not None and stage == "all":
        stages = [name for name in stages if name != "teacher"]
    named: dict[str, Any] = {} if teacher is None else {"teacher_sha256": teacher_sha256(teacher)}
    named["teacher"] = None if teacher is None else Path(teacher).name
    report(model_cost(recipe.model, *COST_FRAME, MAX_FRAMES).text())
    path = out
    for name in stages:
        s: StageSettings = getattr(recipe.stages, name)
        lesson = _lesson(name, recipe, out, teacher, seed)
        examples = Examples(
            dataset, _stage_data(recipe, name), recipe.losses, crop_px=s.crop_px,
            seed=seed * len(STAGES) + STAGES.index(name),
        )  # fmt: skip
        if examples.clean.left_out:
            report(f"{name}: {examples.clean.left_out} samples are left out: too small, or too few frames")
        identity = {"recipe": recipe.to_plain(), "seed": seed, "data": examples.identity(), **named}
        story = {**identity, "samples": len(examples.clean.numbers), "torch": torch.__version__}
        check_state(out / f"{name}.state.safetensors", identity)  # before its story is written over
        write_aside(out / "train.json", json.dumps(story, indent=1, sort_keys=True).encode())
        average = run_stage(
            name, lesson, recipe, examples, out, seed=seed, device=chosen, identity=identity, stop_after=stop_after,
            workers=workers, validation=Validation(dataset, s.crop_px) if name == "fusion" else None, report=report,
        )  # fmt: skip
        path = out / f"{name}.safetensors"
        if average is None:
            report(f"{name}: stopped; the same command goes on")
            return out / f"{name}.state.safetensors"
        _keep(average, name, recipe, path, {"stage": name, "steps": s.steps, **story})
    return path


def _lesson(stage: str, recipe: TrainRecipe, out: Path, teacher: str | Path | None, seed: int) -> nn.Module:
    """The lesson of a stage with its first weights, which depend on the seed and on the stage before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed * len(STAGES) + STAGES.index(stage))
        if stage == "teacher":
            return TeacherLesson(recipe)
        if stage == "distil":
            own = out / "teacher.safetensors"
            if teacher is None and not own.is_file():
                raise UserError(f"{out}: distillation needs a teacher: --stage teacher first, or --teacher FOLDER")
            return DistilLesson(recipe, load_teacher(teacher or own))
        lesson = FusionLesson(recipe)
    before = out / "distil.safetensors"
    if before.is_file():
        student = load_model(before)[0]
        if student.settings != recipe.model:
            raise UserError(f"{before}: another architecture than the recipe's; choose another --out")
        lesson.student.encoder.load_state_dict(student.encoder.state_dict())
        lesson.student.decoder.load_state_dict(student.decoder.state_dict())
    elif recipe.stages.distil.steps:
        raise UserError(
            f"{out}: fusion starts from the distilled auto-encoder: --stage distil first, or steps = 0 there"
        )
    return lesson


def _keep(average: nn.Module, stage: str, recipe: TrainRecipe, path: Path, about: dict[str, Any]) -> None:
    if isinstance(average, TeacherLesson):
        save_model(path, average.teacher, recipe.teacher_model(), "teacher", about, half=False)
    else:
        save_model(path, _student(average), recipe.model, "vaeedof", about, half=False)
