"""One sample: its photographs taken apart, arranged, and photographed again through the lens.

Everything here is a function of (recipe, seed, content of the sources): no file but the sources is read, no clock, no
global, no worker number.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mattingmfif import __version__
from mattingmfif.dataset.alignment import aligned_mask, alignment
from mattingmfif.dataset.inputs import Inputs
from mattingmfif.dataset.intake import Prepared, lenient, prepare_photo
from mattingmfif.dataset.layer_store import store_layers
from mattingmfif.dataset.plan import Plan, PlannedSample
from mattingmfif.dataset.sample import (
    NO_FRAME,
    SHARP_RADIUS_PX,
    CameraRecord,
    LayerRecord,
    LayerStore,
    SampleRecord,
    SourceRecord,
    decode_depth,
    encode_depth,
)
from mattingmfif.errors import Refused
from mattingmfif.matting.layers import Cutouts
from mattingmfif.optics import (
    Sensor,
    ThinLens,
    composite,
    composite_trust,
    develop,
    expose,
    expose_stack,
    matte_share,
    mean_light,
)
from mattingmfif.optics import depth_m as scene_depth_m
from mattingmfif.photo.images import file_sha256
from mattingmfif.scene.composite import Piece, composite_shot, solidity_px
from mattingmfif.scene.draw import stage_rng
from mattingmfif.scene.in_place import in_place_shot
from mattingmfif.scene.shot import Shot

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """A source photograph taken apart: cut-outs are None where no subject was usable (the reason is kept)."""

    prepared: Prepared
    cutouts: Cutouts | None
    why_not: str
    subject_model: dict[str, str] = field(default_factory=dict)  # that found the subjects, if one did

    @property
    def models(self) -> dict[str, dict[str, str]]:
        """Name, SHA-256 and licence of the networks that had a part in it, by what they did."""
        used = {"subjects": self.subject_model, "depth": self.prepared.depth_model}
        return {part: model for part, model in used.items() if model}


def take_apart(plan: Plan, source_index: int, inputs: Inputs) -> Ingredients:
    """The photograph of a planned source at the recipe's size, and its cut-outs.

    Raises Refused when the file is gone, changed since the plan, or its own mattes cannot be used.
    """
    source = plan.sources[source_index]
    for name, digest in source.sidecars:
        now = dict(inputs.sidecars(source.path)).get(name)
        if now is None or file_sha256(now) != digest:
            raise Refused("source-changed", f"{name} is not the one that was planned", stage="render")
    recipe = lenient(plan.recipe) if source.overruled else plan.recipe
    prepared = prepare_photo(source.path, recipe, inputs, expected_sha256=source.sha256)
    if not source.subjects:
        return Ingredients(prepared=prepared, cutouts=None, why_not=source.why_no_subject)
    try:
        subjects = prepared.subjects(recipe)
        cutouts = prepared.layers(subjects, recipe)
    except Refused as refused:
        if prepared.user_input_given:
            raise  # a person asked for this matte: it is not dropped in silence
        return Ingredients(prepared=prepared, cutouts=None, why_not=str(refused))
    prepared.__dict__.pop("srgb", None)  # a hundred megabytes at 4K that nobody asks for again
    return Ingredients(prepared=prepared, cutouts=cutouts, why_not="", subject_model=subjects.model)


def make_shot(plan: Plan, sample: PlannedSample, inputs: Inputs) -> Shot:
    """The scene, lens and focus distances of a planned sample. Raises Refused, naming the photo's fault."""
    streams = partial(stage_rng, plan.seed, sample.key)
    settings = plan.recipe.shot_settings
    first = take_apart(plan, sample.sources[0], inputs)
    if sample.kind == "in-place":
        shot = in_place_shot(first.prepared.linear, first.cutouts, first.prepared.depth, settings, streams)
        return _with_models(shot, first.models)
    pieces = []
    models: dict[str, dict[str, str]] = {}
    for place, index in enumerate(sample.sources[1:], start=1):
        other = take_apart(plan, index, inputs)
        if other.cutouts is not None and other.cutouts.cutouts:
            models |= {part: model for part, model in other.models.items() if part == "subjects"}
            best = max(other.cutouts.cutouts, key=lambda cutout: solidity_px(np.asarray(cutout.alpha)))
            pieces.append(
                Piece(colour_linear=best.colour_linear, alpha=best.alpha, source=place, scores=dict(best.scores))
            )
    return _with_models(composite_shot(first.prepared.linear, pieces, settings, streams), models)


def _with_models(shot: Shot, models: dict[str, dict[str, str]]) -> Shot:
    return replace(shot, draws={**shot.draws, "models": models}) if models else shot


def make_sample(plan: Plan, sample: PlannedSample, inputs: Inputs) -> SampleRecord:
    """A planned sample, photographed. Raises Refused for a photograph that cannot make one."""
    return photograph(plan, sample, make_shot(plan, sample, inputs))


def photograph(plan: Plan, sample: PlannedSample, shot: Shot) -> SampleRecord:
    """The stack of a shot with its target and maps, as stored."""
    margin = shot.margin_px

    def inside(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.ascontiguousarray(array[margin:-margin, margin:-margin] if margin else array)

    frames, frame_trust, magnifications = [], [], []
    boundary: npt.NDArray[np.bool_] | None = None
    exposures = expose_stack(
        shot.scene,
        shot.lens,
        shot.focus_distance_m,
        quality=plan.recipe.lens.quality,
        image_width_px=shot.image_width_px,
    )
    for number, exposure in enumerate(exposures):
        noise = stage_rng(plan.seed, sample.key, f"noise-{number}")
        frames.append(codes_of(inside(exposure.colour_linear), shot.sensor, noise))
        frame_trust.append(trust_codes(inside(exposure.trust)))
        magnifications.append(exposure.magnification)
        edges = inside(aligned_mask(exposure.boundary, exposure.magnification))
        boundary = edges if boundary is None else boundary | edges
    assert boundary is not None
    target = codes_of(inside(composite(shot.scene)), replace(shot.sensor, iso=0.0), None)
    depth_m = inside(scene_depth_m(shot.scene))
    sources = [
        SourceRecord(path=item.path, sha256=item.sha256, licence=item.licence, author=item.author, url=item.url)
        for item in (plan.sources[index] for index in sample.sources)
    ]
    camera = CameraRecord(
        focal_length_mm=shot.lens.focal_length_mm,
        f_number=shot.lens.f_number,
        sensor_width_mm=shot.lens.sensor_width_mm,
        image_width_px=round(shot.image_width_px),
        aperture=asdict(shot.lens.aperture),
        lens_options=lens_options(shot.lens),
        sensor=sensor_options(shot.sensor),
        draws={
            "kind": sample.kind,
            "margin_px": margin,
            "quality": plan.recipe.lens.quality,
            **shot.draws,
            **alignment(magnifications, target.shape[:2]),
        },
    )
    return SampleRecord(
        sample_id=sample.sample_id,
        split=sample.split,
        sources=sources,
        licence=joint_licence(sources),
        camera=camera,
        layers=[
            LayerRecord(
                kind=fact.kind, source=fact.source, near_m=fact.nearest_m, far_m=fact.farthest_m, scores=fact.scores
            )
            for fact in shot.layers
        ],
        focus_plan=shot.focus_plan,
        focus_distance_m=list(shot.focus_distance_m),
        all_in_focus=target,
        frames=frames,
        depth_m=depth_m,
        alphas=[inside(codes) for codes in shot.alphas],
        sharpest_frame=sharpest_frame(depth_m, shot),
        boundary=boundary.astype(np.uint8) * np.uint8(255),
        trust=trust_codes(inside(composite_trust(shot.scene))),
        frame_trust=frame_trust,
        recipe_hash=plan.recipe.recipe_hash,
        plan_id=plan.plan_id,
        toolkit_version=__version__,
        layer_store=_layer_store(plan, shot) if plan.store == "layers" else None,
    )


def _layer_store(plan: Plan, shot: Shot) -> LayerStore:
    lens = plan.recipe.lens
    return store_layers(
        shot.scene.ordered,
        highlights=shot.draws.get("highlights"),
        bits=plan.recipe.output.bits,
        margin_px=shot.margin_px,
        quality=lens.quality,
        largest_radius_px=lens.largest_blur_radius_share * shot.image_width_px,
        mean_light=mean_light(shot.scene),
        matte_share=matte_share(shot.scene),
    )


def sharpest_frame(depth_m: Float32, shot: Shot) -> npt.NDArray[np.uint8]:
    """Index of the frame with the least |blur radius| at each pixel's depth (ties: the lowest), 255 above 0.5 px.

    Taken from the depth as it is stored, so that a reader who derives it finds the same.
    """
    stored_m = decode_depth(*encode_depth(depth_m))
    radii = np.stack(
        [np.abs(shot.lens.blur_radius_px(stored_m, focus_m, shot.image_width_px)) for focus_m in shot.focus_distance_m]
    )
    best = np.argmin(radii, axis=0)
    least = np.take_along_axis(radii, best[None], axis=0)[0]
    return np.asarray(np.where(least > SHARP_RADIUS_PX, NO_FRAME, best), np.uint8)


def trust_codes(trust: Float32) -> npt.NDArray[np.uint8]:
    """8-bit trust; rounded down, so that 255 says that nothing invented is in the pixel (to one part in a thousand)."""
    return np.asarray(np.floor(np.clip(trust, 0.0, 1.0) * 255 + 0.25), np.uint8)


def lens_options(lens: ThinLens) -> dict[str, Any]:
    """What departs from an ideal thin lens, by field name."""
    plain = {"focal_length_mm", "f_number", "sensor_width_mm", "aperture"}
    return {
        item.name: getattr(lens, item.name)
        for item in fields(lens)
        if item.name not in plain and getattr(lens, item.name) != item.default
    }


def sensor_options(sensor: Sensor) -> dict[str, Any]:
    """What departs from a noiseless, correctly exposed sensor, by field name; all of the noise where there is any."""
    noise = {"full_well_electrons", "read_noise_electrons"}
    return {
        item.name: getattr(sensor, item.name)
        for item in fields(sensor)
        if item.name != "bits"
        and (not sensor.is_noiseless if item.name in noise else getattr(sensor, item.name) != item.default)
    }


def codes_of(light_linear: Float32, sensor: Sensor, noise: np.random.Generator | None) -> npt.NDArray[Any]:
    """The stored sRGB codes of linear light `[H,W,3]`: exposed, with the sensor's noise if any, and developed."""
    if not sensor_options(sensor):
        return develop(light_linear, sensor)
    return develop(expose(light_linear, sensor, noise), sensor)


def joint_licence(sources: list[SourceRecord]) -> str:
    """The licence of a sample: that of its sources, all of them named where they differ."""
    return " AND ".join(sorted({source.licence for source in sources}))
