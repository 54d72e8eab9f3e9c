"""One photograph as a person should see it before a build: verdict, every score beside its threshold, and pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mattingmfif.dataset.intake import Prepared, Scanned, ScanTask, examine, lenient
from mattingmfif.dataset.pictures import (
    Picture,
    depth_pictures,
    layer_pictures,
    matte_pictures,
    softness_picture,
    thumbnail_of,
)
from mattingmfif.dataset.plan import Reject
from mattingmfif.dataset.recipe import Recipe
from mattingmfif.errors import Refused
from mattingmfif.matting.layers import Cutouts, estimate_layers
from mattingmfif.matting.subjects import Subjects
from mattingmfif.photo.gates import BACKGROUND
from mattingmfif.photo.overrides import Override


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a gate looks at: passes while `value` is at most (`upper`) or at least (not `upper`) the threshold."""

    name: str
    value: float
    threshold: float
    upper: bool = True

    @property
    def passed(self) -> bool:
        """Whether the gate lets it through."""
        return self.value <= self.threshold if self.upper else self.value >= self.threshold

    @property
    def distance(self) -> float:
        """How far from the threshold, in units of the threshold: 0 on it."""
        return abs(self.value - self.threshold) / max(abs(self.threshold), 1e-6)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on a photograph: kept or refused, why, by how much, and what it looks like."""

    path: str
    kept: bool
    reason: str  # a code, empty for one that is kept without remark
    detail: str
    override: Override | None
    subjects: int
    scores: tuple[Score, ...]
    pictures: tuple[Picture, ...]

    @property
    def closeness(self) -> float:
        """Distance of the nearest score from its threshold; infinite without scores."""
        return min((score.distance for score in self.scores), default=float("inf"))


@dataclass(frozen=True, kw_only=True)
class JudgeTask:
    """A photograph to judge; `layers` asks for the pictures of every step up to the frames."""

    scan: ScanTask
    layers: bool = False


def judge(task: JudgeTask) -> Judgement:
    """The judgement on one photograph: the verdict is that of the scan, the pictures are made whatever it says."""
    scan = task.scan
    verdict, prepared, subjects = examine(scan)
    if prepared is None or (subjects is None and isinstance(verdict, Reject)):
        # the gates of taste stopped it: look past them, for the picture
        _, prepared, subjects = examine(replace(scan, recipe=lenient(scan.recipe), override=None))
    kept = isinstance(verdict, Scanned)
    reason, detail = ("", verdict.why_no_subject) if isinstance(verdict, Scanned) else (verdict.reason, verdict.detail)
    cutouts: Cutouts | None = None
    if prepared is not None and subjects is not None:
        overruled = isinstance(verdict, Scanned) and verdict.overruled
        cutouts, trouble = _taken_apart(prepared, subjects, lenient(scan.recipe) if overruled else scan.recipe)
        if trouble is not None and not reason:
            reason, detail = trouble.reason, trouble.detail
            if prepared.user_input_given:  # a person asked for this matte: the build does not drop it in silence
                kept = False
            elif prepared.depth is not None:
                detail = f"{detail}; its depth map makes the scene"
            elif scan.recipe.scene.without_subject == "refuse":
                kept, reason = False, "no-usable-subject"
            else:
                detail = f"{detail}; it becomes a ground without subjects"
    pictures: list[Picture] = []
    if prepared is not None:
        pictures += [thumbnail_of(prepared), *depth_pictures(prepared)]
        pictures += [
            *matte_pictures(prepared, cutouts),
            softness_picture(prepared),
        ]
        if task.layers:
            pictures += layer_pictures(prepared, subjects, cutouts, scan.recipe)
    return Judgement(
        path=scan.path,
        kept=kept,
        reason=reason,
        detail=detail,
        override=scan.override,
        subjects=len(cutouts.cutouts) if cutouts is not None else 0,
        scores=tuple(_scores(prepared, subjects, cutouts, scan.recipe)) if prepared is not None else (),
        pictures=tuple(pictures),
    )


def _taken_apart(prepared: Prepared, subjects: Subjects, recipe: Recipe) -> tuple[Cutouts | None, Refused | None]:
    """The layers, judged by no gate of taste, and what the recipe's gates say."""
    try:
        return prepared.layers(subjects, recipe), None
    except Refused as refused:
        try:
            return (
                estimate_layers(prepared.linear, subjects, lenient(recipe).matting, photo_srgb=prepared.srgb),
                refused,
            )
        except Refused:
            return None, refused


def _scores(prepared: Prepared, subjects: Subjects | None, cutouts: Cutouts | None, recipe: Recipe) -> list[Score]:
    gate, matting = recipe.gate, recipe.matting
    scores = [
        Score(name="soft share", value=prepared.sharpness.score, threshold=gate.max_soft_share),
        Score(name="mildly soft share", value=prepared.sharpness.mild_score, threshold=prepared.sharpness.mild_limit),
        Score(name="grain, codes", value=prepared.scores["grain_codes"], threshold=gate.max_grain_codes),
    ]
    if subjects is not None:
        masks = [np.asarray(mask) > 0.5 for mask in subjects.masks]
        parts = {f"soft share of subject {k}": mask for k, mask in enumerate(masks)}
        background = f"soft share of the {BACKGROUND}"
        parts[background] = ~np.logical_or.reduce(masks)
        for name, mask in parts.items():
            share = prepared.sharpness.soft_share_within(mask, prepared.sharpness.soft_width_px, name != background)
            if np.isfinite(share):
                scores.append(Score(name=name, value=share, threshold=gate.max_soft_part_share))
    if subjects is None or cutouts is None or subjects.segmenter == "given":
        return scores  # the user's own mattes are not judged
    limits = (
        ("contour", "outline on edges", matting.min_contour_score, False),
        ("separation", "sides apart", matting.min_separation, False),
        ("agreement", "masks agree", 0.5, False),
        ("matte_contour", "outline of the matte on edges", matting.min_contour_score, False),
        ("transparent", "half transparent share", matting.max_transparent_share, True),
        ("band_px", "width of the outline, px", matting.max_band_px, True),
        ("unexplained", "neither side nor mixture", matting.max_unexplained, True),
        ("clipped", "cut off at white", matting.max_clipped_share, True),
        ("plate_ghost", "ghost in the plate", matting.max_plate_ghost, True),
    )
    for key, name, threshold, upper in limits:
        values = [cutout.scores[key] for cutout in cutouts.cutouts if key in cutout.scores]
        if values and threshold > 0:
            worst = max(values) if upper else min(values)
            scores.append(Score(name=name, value=worst, threshold=threshold, upper=upper))
    scores.append(Score(name="residual, codes", value=cutouts.residual["mean"], threshold=matting.max_residual_codes))
    return scores
