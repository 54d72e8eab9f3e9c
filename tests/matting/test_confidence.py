from dataclasses import replace

import cv2
import numpy as np
import pytest

from mattingmfif.errors import Refused
from mattingmfif.matting import MattingSettings, Subjects, estimate_layers
from mattingmfif.matting.confidence import band_px, clipped_share, plate_ghosts, unexplained


def disc(soft_px, height=300, width=400, radius=80):
    y, x = np.mgrid[:height, :width]
    inside = radius - np.hypot(y - height / 2, x - width / 2)
    return np.clip(inside / soft_px + 0.5, 0, 1).astype(np.float32)


@pytest.mark.parametrize("soft_px", [4.0, 12.0, 30.0])
def test_the_band_is_as_wide_as_the_ramp_at_the_size_of_reference(soft_px):
    # an outline is counted in pixels of the grid: up to 4 / pi of its length
    assert band_px(disc(soft_px)) * 400 / 3840 == pytest.approx(soft_px, rel=0.35)
    assert band_px(disc(soft_px, 600, 800, 160)) == pytest.approx(band_px(disc(soft_px)) / 2, rel=0.1)


def test_nothing_has_no_band():
    assert band_px(np.zeros((40, 50), np.float32)) == 0.0
    assert band_px(np.ones((40, 50), np.float32)) == 0.0


def test_a_plate_that_repeats_the_subject_is_a_ghost_and_one_like_its_surroundings_is_not():
    alpha = disc(2.0)
    background = np.full((300, 400, 3), (0.1, 0.3, 0.6), np.float32)
    subject = np.full((300, 400, 3), (0.7, 0.4, 0.1), np.float32)
    photo = subject * alpha[..., None] + background * (1 - alpha[..., None])
    assert plate_ghosts(photo, background, [alpha]) == [0.0]
    assert plate_ghosts(photo, photo, [alpha])[0] > 0.8
    assert plate_ghosts(background, background, [alpha]) == [0.0]  # the two sides look alike: nothing can be said


def test_a_mixture_of_two_surfaces_is_explained_and_a_smear_across_texture_is_not():
    rng = np.random.default_rng(2)
    alpha = cv2.GaussianBlur(disc(2.0), (0, 0), 6)
    subject, background = np.float32((0.9, 0.5, 0.2)), np.float32((0.2, 0.3, 0.5))
    mixed = subject * alpha[..., None] + background * (1 - alpha[..., None])
    assert unexplained(mixed, alpha) < 0.01
    texture = cv2.resize(rng.random((60, 80, 3), np.float32), (400, 300), interpolation=cv2.INTER_CUBIC)
    assert unexplained(np.clip(texture, 0, 1), alpha) > 0.15
    for solid in (np.zeros_like(alpha), np.ones_like(alpha)):
        assert unexplained(mixed, solid) == 0.0


def test_a_found_smear_is_refused_and_a_given_one_is_scored():
    rng = np.random.default_rng(2)
    alpha = cv2.GaussianBlur(disc(2.0), (0, 0), 6)
    alpha = np.where(alpha < 0.02, 0, np.where(alpha > 0.98, 1, alpha)).astype(np.float32)
    texture = cv2.resize(rng.random((60, 80, 3), np.float32), (400, 300), interpolation=cv2.INTER_CUBIC)
    settings = replace(MattingSettings(), max_band_px=4000.0, min_contour_score=0.0)
    smear = Subjects(masks=[alpha], segmenter="classical", why="", scores=[{}], are_alphas=True)
    with pytest.raises(Refused, match="nor a mixture"):
        estimate_layers(np.clip(texture, 0, 1) ** 2.2, smear, settings)
    given = estimate_layers(np.clip(texture, 0, 1) ** 2.2, replace(smear, segmenter="given"), settings)
    assert given.cutouts[0].scores["unexplained"] > settings.max_unexplained


@pytest.mark.parametrize("segmenter", ["classical", "given"])
def test_a_found_subject_with_a_wide_outline_is_refused_and_a_given_one_is_scored(composed, segmenter):
    photo, alpha, _, _ = composed(soft_px=1.0)
    wide = cv2.GaussianBlur(alpha, (0, 0), 9)
    subjects = Subjects(masks=[wide], segmenter=segmenter, why="", scores=[{}], are_alphas=True)
    settings = replace(MattingSettings(), max_transparent_share=1.0, min_contour_score=0.0)
    if segmenter == "classical":
        with pytest.raises(Refused, match="px wide at 3840 px"):
            estimate_layers(photo, subjects, settings)
    else:
        scores = estimate_layers(photo, subjects, settings).cutouts[0].scores
        assert scores["band_px"] > settings.max_band_px
        assert 0 <= scores["plate_ghost"] <= 1


@pytest.mark.parametrize("segmenter", ["classical", "given"])
def test_glare_is_refused_as_a_found_subject_and_a_given_one_is_scored(composed, segmenter):
    _, alpha, _, background = composed(soft_px=2.0)
    photo = np.float32(1) * alpha[..., None] + background * (1 - alpha[..., None])
    subjects = Subjects(masks=[alpha], segmenter=segmenter, why="", scores=[{}], are_alphas=True)
    if segmenter == "classical":
        with pytest.raises(Refused, match="white that the sensor cut off"):
            estimate_layers(photo, subjects)
        assert estimate_layers(photo * 0.9, subjects).cutouts[0].scores["clipped"] == 0.0
    else:
        assert estimate_layers(photo, subjects).cutouts[0].scores["clipped"] > 0.9
    assert clipped_share(photo, np.zeros(alpha.shape, bool)) == 0.0
