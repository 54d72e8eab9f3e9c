"""Where a shot is focused: the recipe's focus plan over the distances of its scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mattingmfif.optics import Scene, ThinLens
from mattingmfif.optics.focus import plan_focus
from mattingmfif.optics.scene import distance_ranges_m
from mattingmfif.scene.settings import FocusSettings


def focus_for(
    scene: Scene,
    lens: ThinLens,
    image_width_px: float,
    settings: FocusSettings,
    streams: Callable[[str], np.random.Generator],
) -> tuple[str, tuple[float, ...]]:
    """Name of the focus plan and the focus distances in metres of one stack, nearest first."""
    plan = settings.plan.word(streams("focus-plan"))
    ranges = []
    for layer in scene.ordered:
        if isinstance(layer.distance_m, float):
            ranges.append((layer.distance_m, layer.distance_m))
        else:
            seen = layer.distance_m[layer.alpha > 0]
            ranges.append((float(seen.min()), float(seen.max())))
    rng = streams("focus")
    frames = int(rng.integers(settings.frames_min, settings.frames_max + 1))
    return plan, tuple(plan_focus(plan, ranges, lens, image_width_px, frames, rng))


def held_to_limit(
    lens: ThinLens, scene: Scene, focus_distance_m: Sequence[float], image_width_px: float, limit_px: float
) -> ThinLens:
    """The lens, stopped down if needed so that no layer of the scene blurs by more than `limit_px` in any frame.

    A plan may focus beyond the layers, where they blur more than anywhere between them; only so much of what lies
    behind an edge was made to be seen.
    """
    shift = max(map(abs, lens.axial_colour_dioptres)) + abs(lens.field_curvature_dioptres)
    radius_px = max(
        float(np.abs(lens.blur_radius_px(np.asarray(distances_m), focus_m, image_width_px)).max())
        + shift * lens.blur_per_dioptre_px(focus_m, image_width_px)
        for focus_m in focus_distance_m
        for distances_m in distance_ranges_m(scene)
    )
    # a radius is as 1 / f-number
    return lens if radius_px <= limit_px else replace(lens, f_number=lens.f_number * radius_px / limit_px)
