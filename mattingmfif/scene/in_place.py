"""In-place scenes: a photograph's own subjects over its own plate, each at a distance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.errors import Refused
from mattingmfif.matting.layers import Cutout, Cutouts
from mattingmfif.optics import Layer, ThinLens
from mattingmfif.pixels.fill import push_pull
from mattingmfif.scene.depth_layers import cut_at_depth_edges
from mattingmfif.scene.distances import (
    dioptres,
    draw_lens,
    ground_distance_m,
    largest_blur_radius_px,
    metres,
    px_per_dioptre,
    spread_distances,
    stopped_down,
)
from mattingmfif.scene.settings import ShotSettings
from mattingmfif.scene.shot import LayerFacts, Shot, quantised_alpha, quantised_colour, take_aim

Float32 = npt.NDArray[np.float32]
Streams = Callable[[str], np.random.Generator]

#: alpha from which a pixel counts as the subject itself, for contact rows and depth medians
SOLID_ALPHA = 0.95
#: a scene in which no frame blurs anything by more than this has nothing to fuse
LEAST_BLUR_PX = 0.5


@dataclass(frozen=True, kw_only=True)
class DepthMap:
    """A user's depth map at the photo's size: metres, and where it is known rather than filled."""

    distance_m: Float32
    trusted: Float32


def subject_depth_m(alpha: Float32, depth: DepthMap) -> float:
    """Median distance in metres inside the eroded matte: never across the band, where depth maps bleed."""
    solid = (alpha > SOLID_ALPHA).astype(np.uint8)
    reach = max(1, max(alpha.shape) // 400)
    inner = cv2.erode(solid, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    for region in (inner, solid > 0, alpha > 0.5):
        values = depth.distance_m[region & (depth.trusted > 0)]
        if values.size:
            return float(np.median(values))
    raise Refused("depth-unusable", "the depth map is unknown all over a subject", stage="scene")


def order_by_depth(masks: Sequence[npt.NDArray[Any]], depth: DepthMap) -> list[int]:
    """Indices of the subjects, nearest first, by the depth map."""
    distances = [subject_depth_m(np.asarray(mask, np.float32), depth) for mask in masks]
    return [int(index) for index in np.argsort(distances, kind="stable")]


def contact_row(alpha: Float32) -> int:
    """The row at which a subject touches what it stands on: the lowest with a fair share of its solid width."""
    widths = (alpha > 0.5).sum(axis=1)
    rows = np.flatnonzero(widths > 0.05 * max(1, int(widths.max(initial=0))))
    return int(rows[-1]) if rows.size else alpha.shape[0] - 1


def in_place_shot(
    photo_linear: Float32, cutouts: Cutouts | None, depth: DepthMap | None, settings: ShotSettings, streams: Streams
) -> Shot:
    """The shot of a photograph `[H,W,3]` with its own cut-outs (None: no usable subject) and plate.

    Raises Refused where the recipe allows no scene for it.
    """
    height, width = photo_linear.shape[:2]
    image_width_px = float(max(height, width))
    lens = draw_lens(settings.lens, settings.aperture, streams)
    limit_px = settings.lens.largest_blur_radius_share * image_width_px
    if cutouts is None and depth is None and settings.scene.without_subject == "refuse":
        raise Refused("no-usable-subject", "no usable subject and no depth map", stage="scene")

    subjects = [] if cutouts is None else list(cutouts.cutouts)[: settings.scene.subjects_max]
    codes_and_alphas = [quantised_alpha(cutout.alpha) for cutout in subjects]
    plate = quantised_colour(photo_linear if cutouts is None else cutouts.plate_linear, settings.bits)
    plate_known = None if cutouts is None else cutouts.plate_known
    draws: dict[str, float | str] = {}
    layers: list[Layer] = []
    facts: list[LayerFacts] = []
    alphas = [codes for codes, _ in codes_and_alphas]

    if depth is not None:
        distances, plate_distance, lens = _from_depth(subjects, depth, lens, image_width_px, limit_px)
        plate_kind = "depth-map"
        if not subjects and settings.depth.edges == "layers":
            assert not isinstance(plate_distance, float)
            cut = cut_at_depth_edges(photo_linear, plate_distance, lens, image_width_px, settings.bits)
            for piece in cut:
                layers.append(piece.layer)
                facts.append(_facts(plate_kind, piece.layer.distance_m))
            alphas = [piece.codes for piece in cut[:-1]]
    else:
        nearest_m = settings.distances.nearest_m.number(streams("nearest"))
        farthest_m = settings.distances.farthest_m.number(streams("farthest"))
        background = settings.scene.background.word(streams("background")) if subjects else "ground"
        if background == "ground":
            horizon = settings.scene.horizon.number(streams("horizon"))
            draws["horizon"] = horizon
            lens = stopped_down(lens, nearest_m, farthest_m, image_width_px, limit_px)
            plate_distance = ground_distance_m(height, width, horizon, nearest_m, farthest_m)
            distances = _standing_on(
                [alpha for _, alpha in codes_and_alphas], plate_distance, farthest_m, lens, image_width_px, settings
            )
        else:
            spread, lens = spread_distances(
                len(subjects) + 1,
                nearest_m,
                farthest_m,
                lens,
                image_width_px,
                settings.distances.least_gap_px,
                limit_px,
                streams("distances"),
            )
            distances, plate_distance = spread[:-1], spread[-1]
        plate_kind = background

    for cutout, (_, alpha), distance in zip(subjects, codes_and_alphas, distances, strict=True):
        colour = quantised_colour(cutout.colour_linear, settings.bits, mostly_black=True)
        known = None if cutout.known.min() >= 1 else cutout.known
        layers.append(Layer(colour, alpha, distance, known=known))
        facts.append(_facts("subject", distance, dict(cutout.scores)))
    if len(layers) == len(subjects):  # not cut at depth edges: the plate lies behind the subjects
        layers.append(Layer(plate, np.ones((height, width), np.float32), plate_distance, known=plate_known))
        facts.append(_facts(plate_kind, plate_distance))
    return take_aim(layers, facts, lens, image_width_px, settings, streams, alphas=alphas, margin_px=0, draws=draws)


def _facts(kind: str, distance_m: float | Float32, scores: dict[str, float] | None = None) -> LayerFacts:
    """What is recorded of a layer of the photo itself."""
    nearest_m, farthest_m = float(np.min(distance_m)), float(np.max(distance_m))
    return LayerFacts(kind=kind, source=0, nearest_m=nearest_m, farthest_m=farthest_m, scores=scores or {})


def _standing_on(
    alphas: list[Float32],
    ground_m: Float32,
    farthest_m: float,
    lens: ThinLens,
    image_width_px: float,
    settings: ShotSettings,
) -> list[float]:
    """Distance of each subject: that of the ground where it touches it, at least a gap in front of the wall behind.

    The order nearest first is kept: a subject is never farther than one that occludes less than it.
    """
    gap = settings.distances.least_gap_px / px_per_dioptre(lens, image_width_px)
    values = [max(dioptres(float(ground_m[contact_row(alpha), 0])), dioptres(farthest_m) + gap) for alpha in alphas]
    for index in range(len(values) - 2, -1, -1):
        values[index] = max(values[index], values[index + 1])
    return [metres(value) for value in values]


def _from_depth(
    subjects: list[Cutout], depth: DepthMap, lens: ThinLens, image_width_px: float, limit_px: float
) -> tuple[list[float], Float32 | float, ThinLens]:
    """Distances of the subjects and of the plate from a depth map, and the lens stopped down to fit them."""
    smallest = float(np.min(depth.distance_m))
    if smallest < 2 * lens.focal_length_mm / 1000:
        raise Refused(
            "depth-too-near",
            f"the nearest surface is at {smallest:.3g} m, the lens has {lens.focal_length_mm:g} mm",
            stage="scene",
        )
    alphas = [np.asarray(cutout.alpha) for cutout in subjects]
    distances = [subject_depth_m(alpha, depth) for alpha in alphas]
    for index in range(len(distances) - 2, -1, -1):  # cut-outs come nearest first; a tie keeps that order
        distances[index] = min(distances[index], distances[index + 1])
    plate_m = depth.distance_m
    if alphas:
        covered = np.maximum.reduce(alphas)
        reach = max(2, max(covered.shape) // 200)
        near_subject = cv2.dilate((covered > 0.02).astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)) > 0
        weight = (~near_subject).astype(np.float32) * (depth.trusted > 0)
        if not weight.any():
            raise Refused("depth-unusable", "the depth map shows nothing behind the subjects", stage="scene")
        with np.errstate(divide="ignore"):
            inverse = np.where(np.isinf(depth.distance_m), 0.0, 1.0 / depth.distance_m).astype(np.float32)
        # what is unknown beside a subject is not the subject, though that is the nearest value
        filled = np.where(weight > 0, inverse, push_pull(inverse, weight))
        # nothing of the plate stands in front of a subject that covers it
        farthest_subject = max(distances)
        filled = np.where(near_subject, np.minimum(filled, dioptres(farthest_subject)), filled)
        with np.errstate(divide="ignore"):
            plate_m = np.where(filled > 0, 1.0 / filled, np.inf).astype(np.float32)
    nearest, farthest = min([float(np.min(plate_m)), *distances]), max([float(np.max(plate_m)), *distances])
    if math.isclose(nearest, farthest):
        raise Refused("depth-unusable", "everything in the depth map is at the same distance", stage="scene")
    blur_px = largest_blur_radius_px(lens, nearest, farthest, image_width_px)
    if blur_px < LEAST_BLUR_PX:
        detail = (
            f"between {nearest:.4g} and {farthest:.4g} m nothing is out of focus (blur radius {blur_px:.2g} px); "
            "whole numbers are millimetres, others metres"
        )
        raise Refused("depth-unusable", detail, stage="scene")
    return distances, plate_m, stopped_down(lens, nearest, farthest, image_width_px, limit_px)
