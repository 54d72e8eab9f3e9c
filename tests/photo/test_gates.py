from pathlib import Path

import cv2
import numpy as np
import pytest

from mattingmfif.errors import Refused, UserError
from mattingmfif.photo.gates import (
    GateSettings,
    check_parts,
    check_sharpness,
    check_size,
    clean_grain,
    sharpness_report,
)
from mattingmfif.photo.images import open_photo
from mattingmfif.pixels.colour import linear_to_srgb

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "photos"


def _patches(seed=0, height=384, width=512, patches=120):
    """A picture of many overlapping flat rectangles: edges of all contrasts, all perfectly sharp."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 0.5, np.float32)
    for _ in range(patches):
        y, x = rng.integers(0, height), rng.integers(0, width)
        picture[y : y + rng.integers(10, 90), x : x + rng.integers(10, 90)] = rng.random(3)
    return picture


@pytest.mark.parametrize("sigma", [2.0, 3.0, 5.0])
def test_the_width_of_a_single_edge_is_the_blur_that_made_it(sigma):
    step = np.zeros((200, 512, 3), np.float32)
    step[:, 256:] = 0.8
    report = sharpness_report(cv2.GaussianBlur(step, (0, 0), sigma), GateSettings(edge_window_share=0.04))
    column = report.edge_width_px.shape[1] // 2
    assert report.edge_width_px[:, column - 1 : column + 1].mean() == pytest.approx(sigma, rel=0.15)


def test_the_measured_width_hardly_depends_on_contrast():
    step = np.zeros((200, 512, 3), np.float32)
    step[:, 256:] = 1.0
    blurred = cv2.GaussianBlur(step, (0, 0), 3.0)
    widths = [sharpness_report(blurred * contrast + 0.1).edge_width_px[:, 100:104].max() for contrast in (0.2, 0.8)]
    assert widths[0] == pytest.approx(widths[1], rel=0.05)


def test_a_sharp_picture_passes_and_a_blurred_one_is_refused_at_any_size():
    for size in (1.0, 2.0, 4.0):
        picture = cv2.resize(_patches(), None, fx=size, fy=size, interpolation=cv2.INTER_NEAREST)
        assert check_sharpness(picture).score < 0.05
        with pytest.raises(Refused) as caught:
            check_sharpness(cv2.GaussianBlur(picture, (0, 0), 2.0 + size))
        assert caught.value.reason == "soft"


def test_a_picture_soft_in_one_half_has_half_the_score():
    picture = _patches()
    picture[:, 256:] = cv2.GaussianBlur(picture, (0, 0), 4.0)[:, 256:]
    report = sharpness_report(picture)
    assert 0.3 < report.score < 0.7
    left = np.zeros((384, 512), bool)
    left[:, :240] = True
    right = np.zeros((384, 512), bool)
    right[:, 270:] = True
    assert report.soft_share_within(left, 1.5) < 0.1
    assert report.soft_share_within(right, 1.5) > 0.9
    assert set(check_parts(report, {"subject_0": left, "sky": np.zeros((384, 512), bool)})) == {"subject_0"}
    with pytest.raises(Refused, match="of the background is out of focus; 55% are allowed"):
        check_parts(report, {"subject_0": left, "background": right})
    assert np.isnan(report.soft_share_within(np.zeros((384, 512), bool), 1.5))


def test_grain_does_not_pass_for_sharpness():
    soft = cv2.GaussianBlur(_patches(), (0, 0), 4.0)
    grainy = soft + np.random.default_rng(1).standard_normal(soft.shape).astype(np.float32) * 3 / 255
    assert sharpness_report(grainy).score == pytest.approx(sharpness_report(soft).score, abs=0.2)
    assert not sharpness_report(grainy).passed


def test_a_sharp_outline_speaks_for_a_subject_but_not_for_what_lies_behind_it():
    mask = np.zeros((384, 512), bool)
    mask[90:300, 120:390] = True
    shading = cv2.GaussianBlur(_patches(1), (0, 0), 4.0)
    report = sharpness_report(np.where(mask[..., None], shading, _patches(2)))
    assert report.soft_share_within(mask, 1.5) > 0.9
    assert report.soft_share_within(mask, 1.5, owns_outline=True) < 0.85
    assert check_parts(report, {"background": ~mask})["background"] < 0.05
    soft_behind = sharpness_report(np.where(mask[..., None], _patches(2), shading))
    assert soft_behind.soft_share_within(mask, 1.5, owns_outline=True) < 0.05
    with pytest.raises(Refused, match="of the background is out of focus"):
        check_parts(soft_behind, {"subject_0": mask, "background": ~mask})


@pytest.mark.parametrize("scale", [0.5, 1, 3])
def test_a_plain_subject_is_as_sharp_as_its_outline(scale):
    """Nothing is in it; what its outline sends into it at coarse octaves is no soft edge."""
    picture = cv2.resize(_patches(4), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.circle(mask, (picture.shape[1] // 2, picture.shape[0] // 2), picture.shape[0] // 4, 1, -1)
    picture[mask > 0] = (0.8, 0.2, 0.1)
    assert sharpness_report(picture).soft_share_within(mask > 0, 1.5, owns_outline=True) < 0.1
    soft = cv2.GaussianBlur(picture, (0, 0), 3.0 * max(scale, 1))
    assert sharpness_report(soft).soft_share_within(mask > 0, 1.5, owns_outline=True) > 0.8


def test_clear_sky_is_no_evidence_of_blur():
    picture = _patches()
    picture[:200] = np.linspace(0.5, 0.7, 200, dtype=np.float32)[:, None, None]
    assert sharpness_report(picture).passed
    flat = sharpness_report(np.full((64, 64, 3), 0.5, np.float32))
    assert (flat.score, flat.evidence_share) == (0.0, 0.0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 600), (600, 1), (7, 5)])
def test_tiny_pictures_give_a_finite_score(shape):
    picture = np.random.default_rng(0).random((*shape, 3), np.float32)
    assert 0 <= sharpness_report(picture).score <= 1


@pytest.mark.parametrize(
    ("height", "width", "reason"),
    [(400, 511, "too-small"), (4000, 1, "too-narrow"), (192, 3840, "too-narrow"), (63, 600, "too-narrow")],
)
def test_sizes_that_hold_no_scene_are_refused(height, width, reason):
    with pytest.raises(Refused) as caught:
        check_size(height, width, GateSettings())
    assert caught.value.reason == reason


def test_the_smallest_allowed_size_passes():
    check_size(512, 86, GateSettings())
    check_size(300, 512, GateSettings())


def test_impossible_thresholds_name_their_key():
    with pytest.raises(UserError, match="max_soft_share: 2"):
        GateSettings(max_soft_share=2)
    with pytest.raises(UserError, match="min_long_side_px"):
        GateSettings(min_long_side_px=0)
    with pytest.raises(UserError, match="edge_window_share"):
        GateSettings(edge_window_share=0.5)


def test_grain_is_measured_taken_away_or_refused():
    flat = np.full((256, 256, 3), 0.5, np.float32)
    noise = np.random.default_rng(2).standard_normal(flat.shape).astype(np.float32) / 255
    same, sigma = clean_grain(flat + noise * 0.5)
    assert np.array_equal(same, flat + noise * 0.5)
    assert sigma == pytest.approx(0.5, rel=0.2)
    cleaned, sigma = clean_grain(flat + noise * 4)
    assert sigma == pytest.approx(4, rel=0.2)
    assert np.abs(cleaned - flat).mean() < 0.5 * np.abs(noise * 4).mean()
    with pytest.raises(Refused) as caught:
        clean_grain(flat + noise * 25)
    assert caught.value.reason == "grainy"


@pytest.mark.skipif(not SHARED.is_dir(), reason="reads ../shared/data/photos, 4K files too large to ship")
@pytest.mark.parametrize("long_side_px", [1536, 768])
def test_shallow_photographs_are_refused_and_deep_ones_kept(long_side_px):
    soft = ["fragrant-chamomile", "canyon-wren"]
    sharp = ["the-spices-of-life", "colorful-wall", "tunnel-zion-park", "orange-hallway", "motherboard-circuits"]
    for name in soft + sharp:
        photo = open_photo(SHARED, f"{name}.jpg")
        report = sharpness_report(linear_to_srgb(photo.reduced(long_side_px)))
        assert report.passed == (name in sharp), f"{name}: {report.reason}"


@pytest.mark.parametrize("long_side_px", [768, 1280, 3840])
def test_a_large_picture_may_be_less_crisp_than_its_pixels(long_side_px):
    settings = GateSettings()
    octaves = max(0.0, np.log2(long_side_px / 960))
    assert settings.soft_width_px(long_side_px) == pytest.approx(1.5 * 2**octaves)
    limit = settings.mildly_soft_limit(long_side_px)
    assert limit == pytest.approx(min(0.7, 0.16 + 0.45 * octaves))
    strict = GateSettings(soft_edge_width_share=0)
    assert (strict.soft_width_px(long_side_px), strict.mildly_soft_limit(long_side_px)) == (1.5, 0.16)
    with pytest.raises(UserError, match="soft_edge_width_share: 2"):
        GateSettings(soft_edge_width_share=2)


def test_a_surface_aslant_is_kept_at_full_size_unless_pixels_count():
    rng = np.random.default_rng(0)
    crisp = cv2.resize(rng.random((75, 160, 3)).astype(np.float32), (2560, 1200), interpolation=cv2.INTER_NEAREST)
    aslant = crisp.copy()
    for start_px in range(1280, 2560, 160):  # the right half recedes
        blurred = cv2.GaussianBlur(crisp, (0, 0), 3.0 * (start_px - 1120) / 1280)
        aslant[:, start_px : start_px + 160] = blurred[:, start_px : start_px + 160]
    assert sharpness_report(aslant).passed
    assert not sharpness_report(aslant, GateSettings(soft_edge_width_share=0)).passed
    assert not sharpness_report(cv2.GaussianBlur(crisp, (0, 0), 6.0)).passed


@pytest.mark.skipif(not SHARED.is_dir(), reason="reads ../shared/data/photos, 4K files too large to ship")
def test_a_board_that_lies_aslant_is_kept_at_full_size_unless_pixels_count():
    photo = linear_to_srgb(open_photo(SHARED, "motherboard-circuits.jpg").linear)
    assert sharpness_report(photo).passed
    assert not sharpness_report(photo, GateSettings(soft_edge_width_share=0)).passed


def test_a_large_picture_that_is_mildly_soft_all_over_is_refused():
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.random((300, 440, 3)).astype(np.float32), (1760, 1200), interpolation=cv2.INTER_NEAREST)
    assert sharpness_report(texture).passed
    soft = sharpness_report(cv2.GaussianBlur(texture, (0, 0), 2.0))
    assert soft.score <= GateSettings().max_soft_share
    assert not soft.passed
    assert "wider than 1.5 px" in soft.reason
