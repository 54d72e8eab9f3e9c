"""Photographs with a depth map and no mattes: layers at depth edges, one receding surface without."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.optics import composite, composite_trust
from mattingmfif.optics.refocus import depth_cuts
from mattingmfif.scene.distances import largest_blur_radius_px
from mattingmfif.scene.draw import stage_rng
from mattingmfif.scene.in_place import DepthMap, in_place_shot
from mattingmfif.scene.settings import fixed
from mattingmfif.scene.shot import Shot

HEIGHT, WIDTH = 160, 240
Y, X = np.mgrid[:HEIGHT, :WIDTH]
NEAR = (Y > 40) & (Y < 120) & (X > 70) & (X < 150)
GROUND_M = np.broadcast_to(1 / np.linspace(1 / 8, 1 / 4, HEIGHT)[:, None], (HEIGHT, WIDTH)).astype(np.float32)


def shot_of(distance_m: np.ndarray, edges: str = "layers") -> tuple[np.ndarray, Shot]:
    settings = load_recipe("quick").replaced({"depth.edges": edges}).shot_settings
    lens = replace(settings.lens, largest_blur_radius_share=0.05, f_number=fixed(0.8))
    settings = replace(settings, lens=lens)
    light = np.random.default_rng(3).uniform(0.1, 0.8, (*distance_m.shape, 3)).astype(np.float32)
    depth = DepthMap(distance_m=distance_m, trusted=np.ones_like(distance_m))
    return light, in_place_shot(light, None, depth, settings, partial(stage_rng, 0, "photo"))


def test_a_depth_edge_makes_two_layers_and_the_hidden_part_is_invented() -> None:
    light, shot = shot_of(np.where(NEAR, np.float32(1.5), GROUND_M))
    near, far = shot.scene.ordered
    assert [fact.kind for fact in shot.layers] == ["depth-map", "depth-map"]
    box = np.ones((7, 7), np.uint8)
    inner = cv2.erode(NEAR.astype(np.uint8), box) > 0
    outer = cv2.dilate(NEAR.astype(np.uint8), box) == 0
    assert (near.alpha[inner] == 1).all()
    assert (near.alpha[outer] == 0).all()
    assert (far.alpha == 1).all()
    np.testing.assert_array_equal(shot.alphas[0], np.rint(near.alpha * 65535))
    # behind the square the ground goes on at the ground's distances, and nobody photographed it
    assert far.distance_m.min() > 3.9
    np.testing.assert_allclose(far.distance_m[outer], GROUND_M[outer], rtol=1e-5)
    np.testing.assert_allclose(near.distance_m[inner], 1.5, rtol=1e-5)
    assert far.known is not None
    assert (far.known[inner] == 0).all()
    # what is seen away from the edge is the photo, to half an 8-bit code, and trusted
    away = inner | outer
    assert np.abs(composite(shot.scene) - light)[away].max() < 0.006
    trust = composite_trust(shot.scene)
    assert (trust[away] == 1).all()
    assert trust.min() < 0.9


def test_a_depth_map_without_edges_stays_one_receding_surface() -> None:
    _, cut = shot_of(GROUND_M)
    _, whole = shot_of(GROUND_M, "surface")
    assert len(cut.scene.layers) == 1
    assert cut.alphas == ()
    np.testing.assert_array_equal(cut.scene.layers[0].distance_m, whole.scene.layers[0].distance_m)
    assert cut.focus_distance_m == whole.focus_distance_m


def test_a_flight_of_equal_steps_is_cut_into_as_many_layers_as_a_sample_has() -> None:
    step = np.arange(900) // 90
    _, shot = shot_of(np.broadcast_to(1 / (0.1 + 0.1 * step), (40, 900)).astype(np.float32))
    assert len(shot.layers) == 6
    assert shot.scene.ordered[0].greatest_distance_m < 1.3
    # each cut lies in a step of its own, and never do more than two steps in a row stay uncut
    levels_px = np.arange(10) * 20.0
    nearness = np.broadcast_to(levels_px[step], (40, 900)).astype(np.float32)
    box = np.ones((5, 5), np.uint8)
    cuts = np.sort(depth_cuts(nearness, cv2.dilate(nearness, box) - cv2.erode(nearness, box) > 3))
    steps_cut = np.searchsorted(levels_px, cuts)
    assert len(set(steps_cut)) == len(cuts) == 5
    assert np.diff([0, *steps_cut, 10]).max() <= 3


def test_more_steps_than_a_sample_has_layers_are_cut_at_the_greatest() -> None:
    step = np.arange(720) // 80
    dioptres = 0.05 + 0.08 * step + 0.01 * step**2
    _, shot = shot_of(np.broadcast_to(1 / dioptres, (40, 720)).astype(np.float32))
    assert 2 <= len(shot.alphas) <= 6
    assert len(shot.layers) == len(shot.alphas) + 1
    greatest = [layer.greatest_distance_m for layer in shot.scene.ordered]
    assert greatest == sorted(greatest)
    assert (shot.scene.ordered[-1].alpha == 1).all()
    nearest, farthest = (
        min(fact.nearest_m for fact in shot.layers),
        max(fact.farthest_m for fact in shot.layers),
    )
    assert largest_blur_radius_px(shot.lens, nearest, farthest, 720) <= 0.05 * 720 * 1.0001
