"""No shot blurs by more than the recipe says: only so much of what lies behind was made to be seen."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.matting.layers import Cutout, Cutouts
from mattingmfif.scene.composite import Piece, composite_shot
from mattingmfif.scene.draw import stage_rng
from mattingmfif.scene.in_place import DepthMap, in_place_shot
from mattingmfif.scene.shot import Shot

HEIGHT, WIDTH = 120, 180
Y, X = np.mgrid[:HEIGHT, :WIDTH]
ALPHA = np.clip(30.5 - np.hypot(X - 90, Y - 60), 0, 1).astype(np.float32)
LIGHT = np.full((HEIGHT, WIDTH, 3), 0.4, np.float32)


def largest_radius_px(shot: Shot) -> float:
    """By definition: every surface of every layer, in every frame."""
    return max(
        float(np.abs(shot.lens.blur_radius_px(np.asarray(layer.distance_m), focus_m, shot.image_width_px)).max())
        for layer in shot.scene.layers
        for focus_m in shot.focus_distance_m
    )


@pytest.mark.parametrize("background", ["wall", "ground", "depth", "composite"])
@pytest.mark.parametrize("plan", ["tile", "layers", "random", "gap"])
def test_no_frame_blurs_more_than_the_recipe_allows(plan: str, background: str) -> None:
    recipe = load_recipe("quick").replaced({"focus.plan": plan, "depth.edges": "layers"})
    if background in ("wall", "ground"):
        recipe = recipe.replaced({"scene.background": background})
    settings = recipe.shot_settings
    known = (ALPHA == 0).astype(np.float32)
    cutout = Cutout(colour_linear=LIGHT, alpha=ALPHA, known=np.ones_like(ALPHA), scores={})
    cutouts = Cutouts(cutouts=[cutout], plate_linear=LIGHT, plate_known=known, residual={})
    distance_m = np.where(ALPHA > 0.5, np.float32(1.2), np.float32(6.0))
    depth = DepthMap(distance_m=distance_m, trusted=np.ones_like(distance_m))
    for seed in range(12):
        streams = partial(stage_rng, seed, "photo")
        if background == "composite":
            canvas = np.full((300, 400, 3), 0.3, np.float32)
            shot = composite_shot(
                canvas, [Piece(colour_linear=LIGHT, alpha=ALPHA, source=1, scores={})], settings, streams
            )
        else:
            shot = in_place_shot(LIGHT, cutouts, depth if background == "depth" else None, settings, streams)
        limit_px = settings.lens.largest_blur_radius_share * shot.image_width_px
        assert largest_radius_px(shot) <= limit_px * 1.0001, (seed, shot.focus_distance_m)
