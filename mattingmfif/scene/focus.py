"""Where a shot is focused: the recipe's focus plan over the distances of its scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mattingmfif.optics import Scene, ThinLens
from mattingmfif.optics.focus import plan_focus
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
