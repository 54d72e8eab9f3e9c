"""Distances of layers: drawn in dioptres with a least gap of blur, on grounds and walls, and from depth maps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
import pytest

from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.errors import Refused
from mattingmfif.matting.layers import Cutout, Cutouts
from mattingmfif.optics import ThinLens
from mattingmfif.scene.distances import GAP_SHARE, ground_distance_m, spread_distances
from mattingmfif.scene.draw import stage_rng
from mattingmfif.scene.in_place import DepthMap, in_place_shot, subject_depth_m
from mattingmfif.scene.shot import Shot

HEIGHT, WIDTH = 240, 320
Y, X = np.mgrid[:HEIGHT, :WIDTH]


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_neighbours_differ_by_the_least_gap_of_blur_wherever_the_lens_is_focused_on_one(count: int) -> None:
    lens, width_px, least_px = ThinLens(50.0, 2.8, 36.0), 768.0, 3.0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        limit_px = float(rng.uniform(8, 30))
        found, fitted = spread_distances(count, 1.0, float(rng.uniform(3, 50)), lens, width_px, least_px, limit_px, rng)
        assert found == sorted(found)
        assert found[0] == 1.0
        gap_px = min(least_px, GAP_SHARE * limit_px / (count - 1))
        for near, far in pairwise(found):
            radii = (fitted.blur_radius_px(far, near, width_px), fitted.blur_radius_px(near, far, width_px))
            assert min(map(abs, radii)) >= gap_px * 0.999, (seed, fitted)
        ends = (found[0], found[-1])
        assert max(abs(fitted.blur_radius_px(*pair, width_px)) for pair in (ends, ends[::-1])) <= limit_px * 1.001


def test_those_between_are_spread_evenly_in_dioptres() -> None:
    lens = ThinLens(85.0, 1.8, 36.0)
    streams = [np.random.default_rng(seed) for seed in range(3000)]
    nearness = 1 / np.array([spread_distances(3, 1.0, 5.0, lens, 4000.0, 2.0, 500.0, rng)[0][1] for rng in streams])
    assert nearness.min() < 0.23
    assert nearness.max() > 0.97
    assert nearness.mean() == pytest.approx(0.6, abs=4 * 0.8 / np.sqrt(12 * 3000) + 0.005)
    assert nearness.std() == pytest.approx(0.8 / np.sqrt(12), rel=0.06)


@pytest.mark.parametrize("horizon", [0.0, 0.3, 0.6])
def test_a_ground_is_a_plane_seen_through_a_pinhole_and_a_wall_stands_at_its_end(horizon: float) -> None:
    ground = ground_distance_m(101, 7, horizon, 1.0, 8.0)
    assert np.ptp(ground, axis=1).max() == 0
    column = ground[:, 0].astype(np.float64)
    assert column[-1] == pytest.approx(1.0)
    above = np.arange(101) <= horizon * 100
    np.testing.assert_allclose(column[above], 8.0, rtol=1e-6)
    steps = np.diff(1 / column[~above])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    return np.clip(radius + 0.5 - np.hypot(X - x, Y - y), 0, 1).astype(np.float32)


def shot_of(alphas: list[np.ndarray], background: str = "ground", depth: DepthMap | None = None, seed: int = 0) -> Shot:
    recipe = load_recipe("quick").replaced({"scene.background": background})
    settings = recipe.shot_settings
    settings = replace(settings, distances=replace(settings.distances, least_gap_px=0.2))
    light = np.full((HEIGHT, WIDTH, 3), 0.4, np.float32)
    cutouts = [Cutout(colour_linear=light, alpha=a, known=np.ones_like(a), scores={}) for a in alphas]
    known = np.ones((HEIGHT, WIDTH), np.float32)
    together = Cutouts(cutouts=cutouts, plate_linear=light, plate_known=known, residual={})
    return in_place_shot(light, together, depth, settings, partial(stage_rng, seed, "photo"))


@pytest.mark.parametrize("seed", range(4))
def test_a_subject_stands_on_the_ground_where_it_touches_it(seed: int) -> None:
    near, far = disc(220, 190, 35), disc(80, 150, 40)
    shot = shot_of([near, far], seed=seed)
    ground = next(layer for layer in shot.scene.layers if np.ndim(layer.distance_m))
    for alpha, row in ((near, 225), (far, 190)):
        (layer,) = (item for item in shot.scene.layers if np.array_equal(item.alpha > 0.6, alpha > 0.6))
        below = np.asarray(ground.distance_m)[row - 2 : row + 3, 0]
        assert below.min() * 0.999 <= float(layer.distance_m) <= below.max() * 1.001


def test_before_a_wall_every_layer_has_one_distance_of_its_own() -> None:
    shot = shot_of([disc(220, 190, 35), disc(80, 150, 40)], "wall")
    found = [float(layer.distance_m) for layer in shot.scene.ordered]
    assert found == sorted(found)
    assert len(set(found)) == 3


def test_a_subject_takes_the_median_inside_its_eroded_matte_and_nothing_of_the_band() -> None:
    alpha = cv2.GaussianBlur(disc(160, 120, 9), (0, 0), 2.0)
    inner = cv2.erode((alpha > 0.95).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert 10 < inner.sum() < 0.5 * (alpha > 0.5).sum()  # most of the matte lies in the band
    bleeding = np.where(inner, np.float32(1.5), np.float32(9.0))
    bleeding[inner & (X < 160)] = 1.4
    bleeding[inner & (X > 160)] = 1.6
    known = np.ones((HEIGHT, WIDTH), np.float32)
    assert subject_depth_m(alpha, DepthMap(distance_m=bleeding, trusted=known)) == 1.5
    # what was filled in is not asked
    holed = np.where(inner & (Y < 120), np.float32(7.0), bleeding)
    trusted = (~(inner & (Y < 120))).astype(np.float32)
    assert subject_depth_m(alpha, DepthMap(distance_m=holed, trusted=trusted)) == 1.5
    with pytest.raises(Refused, match="unknown all over a subject"):
        subject_depth_m(alpha, DepthMap(distance_m=holed, trusted=0 * known))


def test_behind_a_subject_the_plate_has_the_depth_that_is_seen_around_it() -> None:
    alpha = disc(160, 120, 40)
    slope = (3.0 + X / 160).astype(np.float32)
    bleeding = cv2.GaussianBlur(np.where(alpha > 0.5, np.float32(1.5), slope), (0, 0), 1.5)
    shot = shot_of([alpha], depth=DepthMap(distance_m=bleeding, trusted=np.ones_like(alpha)))
    subject, plate = shot.scene.ordered
    assert float(subject.distance_m) == pytest.approx(1.5, rel=1e-3)
    behind = np.asarray(plate.distance_m)[alpha > 0]
    assert behind.min() > 3.2
    assert np.abs(behind / slope[alpha > 0] - 1).max() < 0.12


def test_what_is_unknown_beside_a_subject_is_not_as_near_as_the_subject() -> None:
    alpha = disc(160, 120, 40)
    wall = np.full((HEIGHT, WIDTH), 4.0, np.float32)
    shadow = (np.abs(Y - 120) < 45) & (X > 150) & (X < 230) & (alpha <= 0)  # as stereo leaves it
    distance = np.where((alpha > 0.5) | shadow, np.float32(1.5), wall)  # filled with the nearest known value
    shot = shot_of([alpha], depth=DepthMap(distance_m=distance, trusted=1 - shadow.astype(np.float32)))
    plate = shot.scene.ordered[-1]
    assert np.abs(np.asarray(plate.distance_m) - 4.0).max() < 0.01


def test_distances_at_which_no_lens_blurs_are_refused() -> None:
    alpha = disc(160, 120, 40)
    millimetres = np.where(alpha > 0.5, np.float32(1500), np.float32(4000))
    with pytest.raises(Refused, match=r"between 1500 and 4000 m nothing is out of focus.*millimetres") as caught:
        shot_of([alpha], depth=DepthMap(distance_m=millimetres, trusted=np.ones_like(alpha)))
    assert caught.value.reason == "depth-unusable"
