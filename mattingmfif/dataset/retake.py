"""New photographs of stored layers for training: another lens and another focus plan for every item.

    FocalStackDataset("out", retake=Retake(f_number=(1.4, 8), focus_plan=("tile", "gap"), quality="fast"))

A lens that would blur by more than the scene was made for is stopped down, as when the dataset was built.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from mattingmfif.dataset.camera import lens_of
from mattingmfif.dataset.photograph import largest_radius_px
from mattingmfif.dataset.reader import Sample
from mattingmfif.dataset.sample import MAX_FRAMES, MIN_FRAMES
from mattingmfif.errors import UserError
from mattingmfif.optics.focus import PLAN_KINDS, plan_focus
from mattingmfif.optics.lens import ThinLens

Range = float | tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Retake:
    """What of the camera is drawn anew for each item; None keeps what is stored.

    `f_number` and `focal_length_mm` are numbers or pairs between which they are drawn evenly in logarithm;
    `focus_plan` is one of tile, layers, random and gap, or several to choose from, of at most `frames_most` frames.
    `quality` "fast" or "exact" (None: the recipe's) also serves without another draw, to read the stored stack faster.
    """

    f_number: Range | None = None
    focal_length_mm: Range | None = None
    focus_plan: str | tuple[str, ...] | None = None
    frames_most: int = MAX_FRAMES
    quality: str | None = None

    def __post_init__(self) -> None:
        """Refuse draws that no camera has."""
        for name in ("f_number", "focal_length_mm"):
            value = getattr(self, name)
            low, high = _ends(value) if value is not None else (1.0, 1.0)
            if not 0 < low <= high < math.inf:
                raise UserError(f"retake.{name}: {value!r}; allowed: a number above 0, or a pair, the smaller first")
        for plan in self.plans:
            if plan not in PLAN_KINDS:
                raise UserError(f"retake.focus_plan: {plan!r}; allowed: {', '.join(PLAN_KINDS)}")
        if not MIN_FRAMES <= self.frames_most <= MAX_FRAMES:
            raise UserError(f"retake.frames_most: {self.frames_most}; allowed: {MIN_FRAMES} to {MAX_FRAMES}")
        if self.quality not in (None, "fast", "exact"):
            raise UserError(f"retake.quality: {self.quality!r}; allowed: fast, exact")

    @property
    def plans(self) -> tuple[str, ...]:
        """The focus plans to choose from, none where the stored distances are kept."""
        if self.focus_plan is None:
            return ()
        return (self.focus_plan,) if isinstance(self.focus_plan, str) else self.focus_plan

    def drawn(self, sample: Sample, rng: np.random.Generator) -> tuple[ThinLens, list[float]]:
        """Lens and focus distances (metres, nearest first) of one item."""
        lens, focus = lens_of(sample.camera), sample.focus_distance_m
        stored = lens
        if self.f_number is not None:
            lens = replace(lens, f_number=_log_drawn(self.f_number, rng))
        if self.focal_length_mm is not None:
            lens = replace(lens, focal_length_mm=_log_drawn(self.focal_length_mm, rng))
        if self.plans:
            plan = self.plans[int(rng.integers(len(self.plans)))]
            frames = int(rng.integers(MIN_FRAMES, self.frames_most + 1))
            spans = [(layer.near_m, layer.far_m) for layer in sample.layers]
            focus = plan_focus(plan, spans, lens, sample.camera.image_width_px, frames, rng)
        if sample.layer_store is None:
            raise UserError(f"{sample.sample_id}: its layers are not stored; build with --store layers")
        if lens is not stored or focus is not sample.focus_distance_m:
            limit_px = float(sample.layer_store["largest_radius_px"])
            reach_px = largest_radius_px(sample, lens, focus)
            if reach_px > limit_px:  # the radius goes with 1 / f-number
                lens = replace(lens, f_number=lens.f_number * reach_px / limit_px)
        return lens, focus


def _ends(value: Range) -> tuple[float, float]:
    low, high = (value, value) if isinstance(value, int | float) else value
    return float(low), float(high)


def _log_drawn(value: Range, rng: np.random.Generator) -> float:
    low, high = _ends(value)
    return math.exp(rng.uniform(math.log(low), math.log(high)))
