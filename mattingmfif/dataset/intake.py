"""A source photograph as the dataset uses it: opened, gated, reduced, cleaned of grain, with the user's own inputs.

Scan and render go through the same function, so that what was judged is what is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.plan import Reject
from mattingmfif.dataset.recipe import Recipe
from mattingmfif.errors import Refused, UserError
from mattingmfif.matting.depth_model import predicted_depth
from mattingmfif.matting.layers import Cutouts, estimate_layers
from mattingmfif.matting.segment import find_subjects
from mattingmfif.matting.sidecars import read_user_input
from mattingmfif.matting.subjects import Subjects, UserInput
from mattingmfif.photo.depth import depth_from_numbers, read_depth, read_depth_within
from mattingmfif.photo.duplicates import perceptual_hash, view_hashes
from mattingmfif.photo.gates import BACKGROUND, SharpnessReport, check_parts, check_sharpness, check_size, clean_grain
from mattingmfif.photo.images import file_sha256, open_photo
from mattingmfif.photo.overrides import Override
from mattingmfif.photo.sources import Licence
from mattingmfif.pixels.colour import Float32, linear_to_srgb, srgb_to_linear
from mattingmfif.scene.in_place import DepthMap, order_by_depth
from mattingmfif.scene.settings import DepthSettings

#: a photograph of which less has structure looks the same in and out of focus
LEAST_STRUCTURE_SHARE = 0.001


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A photograph at the recipe's size, float32 `[H,W,3]` linear light, with the user's depth map and mattes."""

    path: str
    sha256: str
    linear: Float32
    source_shape: tuple[int, int]  # before it was reduced
    scores: dict[str, float]
    sharpness: SharpnessReport
    depth: DepthMap | None
    depth_model: dict[str, str]  # name, SHA-256 and licence of the network that the depth comes from, if any
    inputs: Inputs

    @cached_property
    def srgb(self) -> Float32:
        """The photograph in encoded sRGB, 0..1."""
        return linear_to_srgb(self.linear)

    def subjects(self, recipe: Recipe) -> Subjects:
        """The subjects in it. Raises Refused where there is none, or the user's input cannot be used.

        Where depth edges make the layers, nothing is looked for unless a person says what the subjects are; composites
        look all the same, because they need cut-outs.
        """
        if (
            recipe.depth.edges == "layers"
            and self.depth is not None
            and not self.user_input_given
            and "composite" not in recipe.scene.kind.possible
        ):
            raise Refused("no-subject", "the depth map makes the layers (depth.edges)", stage="segment")
        # cut out and then left out of the scene, a subject would be a hole in the target
        most = min(recipe.matting.max_subjects, recipe.scene.subjects_max)
        matting, weights = replace(recipe.matting, max_subjects=most), self.inputs.rembg_weights
        if weights is not None:
            matting = replace(matting, rembg_model=f"{matting.rembg_model}={weights}")
        return find_subjects(self.srgb, matting, self.user)

    def layers(self, subjects: Subjects, recipe: Recipe) -> Cutouts:
        """The photograph taken apart; the depth map, where there is one, says who is nearest. Raises Refused."""
        order = order_by_depth(subjects.masks, self.depth) if self.depth is not None else None
        plate_linear = self.user.plate_linear
        return estimate_layers(
            self.linear, subjects, recipe.matting, order, photo_srgb=self.srgb, plate_linear=plate_linear
        )

    @cached_property
    def user(self) -> UserInput:
        """What the user's files say about it. Raises Refused for a file that cannot be used."""
        height, width = self.linear.shape[:2]
        return read_user_input(self.inputs.src, self.path, self.source_shape, (height, width), self.inputs.mattes)

    @property
    def user_input_given(self) -> bool:
        """Whether a person said where the subjects are."""
        return self.user.says_something


@dataclass(frozen=True, kw_only=True)
class ScanTask:
    """One photograph to scan."""

    path: str
    recipe: Recipe
    inputs: Inputs
    licence: Licence | None
    default_licence: str | None
    override: Override | None = None


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """What a scan found of a photograph that can be used."""

    path: str
    sha256: str
    licence: Licence
    height: int
    width: int
    perceptual_hash: str
    subjects: int
    why_no_subject: str
    has_depth: bool
    sidecars: tuple[tuple[str, str], ...]
    scores: dict[str, float]
    overruled: bool = False
    view_hashes: bytes = b""  # of its crops and mirror images


def prepare_photo(path: str, recipe: Recipe, inputs: Inputs, expected_sha256: str | None = None) -> Prepared:
    """The photograph at `inputs.src / path`, ready for matting. Raises Refused where it cannot be used."""
    photo = open_photo(inputs.src, path, used_long_side_px=recipe.output.long_side_px)
    if expected_sha256 is not None and photo.sha256 != expected_sha256:
        raise Refused("source-changed", "the file is not the one that was planned", stage="render")
    check_size(photo.linear.shape[0], photo.linear.shape[1], recipe.gate)
    linear = photo.reduced(recipe.output.long_side_px)
    sharpness = check_sharpness(linear_to_srgb(linear), recipe.gate)
    if sharpness.evidence_share < LEAST_STRUCTURE_SHARE and recipe.gate.max_soft_share < 1:
        detail = f"{sharpness.evidence_share:.2%} of it has structure; {LEAST_STRUCTURE_SHARE:.2%} is the least"
        raise Refused("featureless", detail)
    clean_srgb, sigma_codes = clean_grain(linear_to_srgb(linear), recipe.gate)
    if sigma_codes >= recipe.gate.denoise_from_codes:
        linear = srgb_to_linear(clean_srgb)
    source_shape = (photo.linear.shape[0], photo.linear.shape[1])
    scores = {"soft_share": round(float(sharpness.score), 4), "grain_codes": round(float(sigma_codes), 3)}
    depth, depth_model = _depth_of(path, linear, recipe.depth, inputs, scores)
    return Prepared(
        path=path,
        sha256=photo.sha256,
        linear=np.ascontiguousarray(linear, np.float32),
        source_shape=source_shape,
        sharpness=sharpness,
        scores=scores,
        depth=depth,
        depth_model=depth_model,
        inputs=inputs,
    )


def _depth_of(
    path: str, linear: Float32, settings: DepthSettings, inputs: Inputs, scores: dict[str, float]
) -> tuple[DepthMap | None, dict[str, str]]:
    """The photograph's depth map, measured before estimated, and what is recorded of a network that estimated it.

    Depth that a camera put into the photograph's own file, and that cannot be used, costs nothing but a line among the
    `scores`: nobody asked for it.
    """
    near_m, far_m, shape = settings.near_m, settings.far_m, (linear.shape[0], linear.shape[1])
    file = inputs.depth_file(path)
    model: dict[str, str] = {}
    within = None
    if file is None:
        try:
            within = read_depth_within(Path(inputs.src) / path, near_m, far_m, shape)
        except Refused:
            scores["own_depth_unusable"] = 1.0
    if file is not None:
        depth = read_depth(file, settings.kind, near_m, far_m, shape)
    elif within is not None:
        depth = within
    elif settings.model:
        weights = inputs.depth_model or Path(settings.model)
        numbers = predicted_depth(linear_to_srgb(linear), weights, settings.model_sha256)
        depth = depth_from_numbers(numbers, settings.model_kind, near_m, far_m, shape, stretched=True)
        licence = settings.model_licence
        model = {"model": settings.model, "model_sha256": settings.model_sha256, "model_licence": licence}
    else:
        return None, model
    return DepthMap(distance_m=depth.distance_m, trusted=depth.trusted.astype(np.float32)), model


def lenient(recipe: Recipe) -> Recipe:
    """The recipe without its gates of taste: for a photograph that a person keeps against them."""
    gate = replace(recipe.gate, max_soft_share=1.0, max_soft_part_share=1.0, max_grain_codes=255.0)
    matting = replace(
        recipe.matting,
        max_transparent_share=1.0,
        max_residual_codes=255.0,
        max_band_px=4000.0,
        max_plate_ghost=1.0,
        max_unexplained=1.0,
        max_clipped_share=1.0,
        min_contour_score=0.5 * recipe.matting.min_contour_score,
    )
    return replace(recipe, gate=gate, matting=matting)


def check_focus_of_parts(prepared: Prepared, subjects: Subjects, recipe: Recipe) -> dict[str, float]:
    """Soft shares of subjects and background by name; raises `Refused` where one of them is out of focus."""
    masks = [np.asarray(mask) > 0.5 for mask in subjects.masks]
    parts = {f"subject_{number}": mask for number, mask in enumerate(masks)}
    parts[BACKGROUND] = ~np.logical_or.reduce(masks)
    return check_parts(prepared.sharpness, parts, recipe.gate)


def scan_photo(task: ScanTask) -> Scanned | Reject:
    """Everything the plan needs to know of one photograph, or why it is refused. Never raises for the photo's fault."""
    try:
        with task.inputs.at_hand([task.path]) as inputs:
            return examine(replace(task, inputs=inputs))[0]
    except Refused as refused:
        return Reject(path=task.path, sha256=None, stage=refused.stage, reason=refused.reason, detail=refused.detail)


def examine(task: ScanTask) -> tuple[Scanned | Reject, Prepared | None, Subjects | None]:
    """What `scan_photo` says of a photograph, the photograph, and the subjects in it, as far as it got."""
    digest = None
    prepared: Prepared | None = None
    found: Subjects | None = None
    override = task.override
    recipe = lenient(task.recipe) if override is not None and override.verdict == "keep" else task.recipe
    try:
        file = Path(task.inputs.src) / task.path
        digest = file_sha256(file) if file.is_file() else None
        if override is not None and override.verdict == "refuse":
            raise Refused("overruled", override.note or "no note is given")
        prepared = prepare_photo(task.path, recipe, task.inputs)
        digest = prepared.sha256
        subjects, why = 0, ""
        scores = dict(prepared.scores)
        try:
            found = prepared.subjects(recipe)
            subjects = len(found.masks)
            if found.left_out:
                why = f"{found.left_out} of the subjects given are left out: the recipe takes {subjects} at most"
            for number, subject in enumerate(found.scores):
                scores |= {f"subject_{number}_{name}": round(float(value), 4) for name, value in subject.items()}
        except Refused as refused:
            if prepared.user_input_given:
                raise
            why = str(refused)
        if found is not None:
            for name, share in check_focus_of_parts(prepared, found, recipe).items():
                scores[f"{name}_soft_share"] = round(share, 4)
        if not subjects and prepared.depth is None and task.recipe.scene.without_subject == "refuse":
            raise Refused("no-usable-subject", why, stage="matting")
        licence = task.licence or Licence(licence=task.default_licence or "unknown")
        scanned = Scanned(
            path=task.path,
            sha256=prepared.sha256,
            licence=licence,
            height=prepared.linear.shape[0],
            width=prepared.linear.shape[1],
            perceptual_hash=perceptual_hash(prepared.srgb),
            view_hashes=view_hashes(prepared.srgb),
            subjects=subjects,
            why_no_subject=why,
            has_depth=prepared.depth is not None,
            sidecars=tuple((name, file_sha256(path)) for name, path in task.inputs.sidecars(task.path)),
            scores=scores,
            overruled=recipe is not task.recipe,
        )
        return scanned, prepared, found
    except Refused as refused:
        reject = Reject(
            path=task.path, sha256=digest, stage=refused.stage, reason=refused.reason, detail=refused.detail
        )
    except UserError:
        raise  # what was asked for cannot be done, with any photograph
    except (MemoryError, OSError, ValueError, ArithmeticError, LookupError, TypeError, RuntimeError) as error:
        # a photograph must never end the scan; the row says what to report
        detail = f"{type(error).__name__}: {error}"
        reject = Reject(path=task.path, sha256=digest, stage="scan", reason="internal-error", detail=detail)
    return reject, prepared, found
