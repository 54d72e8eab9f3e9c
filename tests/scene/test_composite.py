"""Composite scenes: cut-outs over another photograph, nothing invented, no straight cut, light and colours that fit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest

from mattingmfif.dataset.recipe import load_recipe
from mattingmfif.errors import Refused
from mattingmfif.optics import composite, composite_trust, expose_stack
from mattingmfif.scene.composite import Piece, composite_shot, exposure_gain, is_colourless, pasted, without_fog
from mattingmfif.scene.draw import stage_rng

HEIGHT, WIDTH, MARGIN = 180, 240, 8


def picture(seed, low=0.1, high=0.8, height=HEIGHT, width=WIDTH):
    light = np.random.default_rng(seed).uniform(low, high, (height, width, 3)).astype(np.float32)
    return cv2.GaussianBlur(light, (0, 0), 0.7)


def piece(rows, columns, seed=1, shape=(HEIGHT, WIDTH), source=1, soft=0.0):
    alpha = np.zeros(shape, np.float32)
    alpha[rows, columns] = 1
    if soft:
        alpha = cv2.GaussianBlur(alpha, (0, 0), soft)
    colour = picture(seed, height=shape[0], width=shape[1]) * np.array([1, 0.6, 0.3], np.float32)
    return Piece(colour_linear=colour, alpha=alpha, source=source, scores={})


def shot_of(pieces, background=None, seed=0):
    settings = load_recipe("mattingmfif-4k").shot_settings
    settings = replace(settings, lens=replace(settings.lens, largest_blur_radius_share=0.03))
    background = picture(0) if background is None else background
    return composite_shot(background, pieces, settings, partial(stage_rng, seed, "x"))


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_invented_in_any_frame(seed):
    pieces = [piece(slice(40, 120), slice(60, 120), soft=1.5), piece(slice(90, 180), slice(100, 200), 2)]
    shot = shot_of(pieces, seed=seed)
    inside = (slice(shot.margin_px, -shot.margin_px),) * 2
    assert (composite_trust(shot.scene)[inside] > 0.999).all()
    for exposure in expose_stack(shot.scene, shot.lens, shot.focus_distance_m, "fast", shot.image_width_px):
        assert (exposure.trust[inside] > 0.999).all()
    assert np.isfinite(composite(shot.scene)).all()


@pytest.mark.parametrize(
    ("rows", "columns", "flush"),
    [
        (slice(60, 180), slice(50, 120), ["bottom"]),
        (slice(0, 90), slice(50, 120), ["top"]),
        (slice(60, 120), slice(0, 90), ["left"]),
        (slice(60, 120), slice(170, 240), ["right"]),
        (slice(60, 120), slice(0, 240), ["left", "right"]),
        (slice(0, 180), slice(90, 140), ["top", "bottom"]),
        (slice(100, 180), slice(0, 240), ["left", "right", "bottom"]),
    ],
)
def test_what_its_own_frame_cuts_off_stays_flush_with_that_side(rows, columns, flush):
    for seed in range(4):
        _, alpha = pasted(piece(rows, columns), picture(0), 70.0, MARGIN, 90.0, np.random.default_rng(seed))
        found = {
            "top": alpha[0].max() > 0.95,
            "bottom": alpha[-1].max() > 0.95,
            "left": alpha[:, 0].max() > 0.95,
            "right": alpha[:, -1].max() > 0.95,
        }
        assert all(found[side] for side in flush), found


def test_scale_and_place_are_drawn_within_what_the_recipe_says():
    share = load_recipe("mattingmfif-4k").scene.composite_height
    tops, heights, lefts = [], [], []
    free = piece(slice(200, 500), slice(300, 520), shape=(600, 800))  # larger than it is ever pasted, cut off nowhere
    for seed in range(40):
        shot = shot_of([free], seed=seed)
        (alpha,) = (layer.alpha for layer in shot.scene.layers if layer.alpha.min() == 0)
        rows, columns = np.flatnonzero((alpha > 0.5).any(axis=1)), np.flatnonzero((alpha > 0.5).any(axis=0))
        tops.append(rows[0])
        lefts.append(columns[0])
        heights.append(rows.size)
        assert (alpha > 0.5).mean() > 0.005
    whole = [height for height, top in zip(heights, tops, strict=True) if top > 0 and top + height < HEIGHT]
    inside_px = HEIGHT - 2 * shot.margin_px
    low, high = (min(map(float, share.possible)), max(map(float, share.possible)))
    assert low * inside_px - 2 <= min(whole) < max(whole) <= high * inside_px + 2
    assert np.ptp(lefts) > 0.3 * WIDTH


def test_a_larger_photographs_piece_spans_the_canvas_and_is_not_larger_than_that():
    wide = piece(slice(60, 120), slice(0, 480), shape=(360, 480))
    _, alpha = pasted(wide, picture(0), 20.0, MARGIN, None, np.random.default_rng(0))
    assert (alpha.max(axis=0) == 1).all()
    assert (alpha > 0.5).any(axis=1).sum() == pytest.approx(30, abs=1)


def test_over_a_black_and_white_photograph_nothing_has_colours():
    grey = np.repeat(picture(0).mean(axis=-1, keepdims=True), 3, axis=2)
    assert is_colourless(grey)
    assert not is_colourless(picture(0) * np.array([1, 0.9, 0.8], np.float32))
    light = composite(shot_of([piece(slice(40, 120), slice(60, 120))], grey).scene)
    assert np.ptp(light, axis=-1).max() < 1e-6
    coloured = composite(shot_of([piece(slice(40, 120), slice(60, 120))]).scene)
    assert np.ptp(coloured, axis=-1).max() > 0.1


def test_light_is_matched_part_of_the_way_and_highlights_stay():
    bright, dark = picture(1, 0.5, 0.7), picture(2, 0.05, 0.15)
    alpha = np.ones((HEIGHT, WIDTH), np.float32)
    assert 0.5 < exposure_gain(bright, alpha, dark) < 1 < exposure_gain(dark, alpha, bright) < 2
    assert exposure_gain(bright, alpha, bright) == pytest.approx(1, abs=1e-3)
    glints = dark.copy()
    glints[:20] = 0.95
    assert exposure_gain(glints, alpha, bright) < 1.1


def test_fog_is_left_out_where_there_is_something_solid():
    fog = replace(piece(slice(40, 120), slice(60, 120), source=2), alpha=np.full((HEIGHT, WIDTH), 0.4, np.float32))
    solid = piece(slice(40, 120), slice(60, 120), soft=1.0)
    assert [item.source for item in without_fog([fog, solid])] == [1]
    assert [item.source for item in without_fog([fog])] == [2]
    assert without_fog([]) == []
    with pytest.raises(Refused, match="no cut-out"):
        shot_of([])
