import numpy as np
import pytest

from mattingmfif.matting import estimate_alpha
from mattingmfif.matting.alpha import solve_fractions
from mattingmfif.matting.trimap import UNKNOWN


def test_alpha_is_nearly_exact_where_colours_lie_on_lines():
    rng = np.random.default_rng(2)
    x = np.linspace(0, 1, 60, dtype=np.float32)
    alpha = np.clip((np.tile(x, (40, 1)) - 0.3) / 0.4, 0, 1)
    photo = alpha[..., None] * np.array([0.9, 0.7, 0.1], np.float32) + (1 - alpha[..., None]) * np.array(
        [0.1, 0.2, 0.6]
    )
    photo = (photo + rng.standard_normal(photo.shape) * 1e-4).astype(np.float32)
    trimap = np.where(alpha <= 0, 0, np.where(alpha >= 1, 255, 128)).astype(np.uint8)
    assert np.abs(estimate_alpha(photo, trimap) - alpha).max() < 0.01


def test_full_size_solutions_equal_those_of_pymatting(composed, as_trimap, srgb):
    from pymatting import estimate_alpha_cf

    photo, alpha, _, _ = composed(96, 120)
    trimap = as_trimap(alpha)
    reference = estimate_alpha_cf(srgb(photo).astype(np.float64), trimap.astype(np.float64))
    assert np.abs(estimate_alpha(srgb(photo), trimap) - reference).max() < 2e-3


def test_the_reduced_solution_is_as_good_as_the_full_one(composed, as_trimap, srgb):
    photo, alpha, _, _ = composed(480, 600, soft_px=5.0)
    trimap = as_trimap(alpha, 16)
    band = trimap == 0.5
    full = np.abs(estimate_alpha(srgb(photo), trimap) - alpha)[band].mean()
    reduced = estimate_alpha(srgb(photo), trimap, solve_long_side_px=300, full_solve_long_side_px=0)
    assert np.abs(reduced - alpha)[band].mean() < full * 1.05
    assert np.array_equal(reduced[~band], trimap[~band])


@pytest.mark.parametrize("soft_px", [0.7, 2.5])
def test_from_a_quarter_of_the_size_up_it_is_as_good_as_pymatting_at_full_size(composed, as_trimap, srgb, soft_px):
    from pymatting import estimate_alpha_cf

    photo, alpha, _, _ = composed(240, 300, soft_px=soft_px)
    trimap = as_trimap(alpha, 8)
    band = trimap == 0.5
    reference = estimate_alpha_cf(srgb(photo).astype(np.float64), trimap.astype(np.float64))
    found = estimate_alpha(srgb(photo), trimap, solve_long_side_px=75, full_solve_long_side_px=0)
    assert ((found - alpha)[band] ** 2).sum() <= 1.01 * ((reference - alpha)[band] ** 2).sum()
    assert np.abs(found - alpha)[band].sum() <= 1.01 * np.abs(reference - alpha)[band].sum()


@pytest.mark.parametrize("trimap_type", [np.float32, np.uint8])
def test_known_pixels_come_back_exactly(composed, as_trimap, srgb, trimap_type):
    photo, alpha, _, _ = composed(64, 80)
    trimap = as_trimap(alpha)
    given = trimap if trimap_type == np.float32 else np.round(trimap * 255).astype(np.uint8)
    found = estimate_alpha(srgb(photo), given)
    assert found.dtype == np.float32
    assert np.array_equal(found[trimap != 0.5], trimap[trimap != 0.5])
    assert 0 <= found.min() <= found.max() <= 1


def test_fractions_of_several_subjects_sum_to_at_most_one_and_follow_their_own_colours(srgb):
    rng = np.random.default_rng(3)
    labels = np.full((60, 120), UNKNOWN, np.int16)
    labels[:10], labels[20:, :50], labels[20:, 70:] = 0, 1, 2
    colours = np.array([[0.1, 0.1, 0.5], [0.8, 0.2, 0.1], [0.2, 0.8, 0.1]], np.float32)
    truth = np.zeros((60, 120), int)
    truth[15:, :60], truth[15:, 60:] = 1, 2
    photo = (colours[truth] + rng.standard_normal((60, 120, 3)) * 0.004).astype(np.float32)
    for sizes in ({}, {"solve_long_side_px": 60, "full_solve_long_side_px": 0}):
        first, second = solve_fractions(np.clip(photo, 0, 1), labels, 2, **sizes)
        assert (first + second).max() <= 1 + 1e-6
        assert np.abs(first - (truth == 1)).mean() < 0.03
        assert np.abs(second - (truth == 2)).mean() < 0.03


def test_one_joint_solution_equals_each_subject_solved_alone(srgb, composed, as_trimap):
    photo, alpha, _, _ = composed(80, 100)
    labels = np.full((80, 100), UNKNOWN, np.int16)
    trimap = as_trimap(alpha)
    labels[trimap == 0] = 0
    labels[(trimap == 1)] = 1
    labels[(trimap == 1) & (np.arange(100) > 50)] = 2
    labels[(trimap == 1) & (np.abs(np.arange(100) - 50) < 4)] = UNKNOWN
    joint = solve_fractions(srgb(photo), labels, 2)
    for k in (1, 2):
        single = np.where(labels == UNKNOWN, UNKNOWN, (labels == k).astype(np.int16)).astype(np.int16)
        alone = solve_fractions(srgb(photo), single, 1)[0]
        assert np.abs(joint[k - 1] - alone).mean() < 1e-3
        assert np.abs(joint[k - 1] - alone).max() < 0.06


@pytest.mark.parametrize(("known", "expected"), [(0, 0.0), (1, 1.0)])
def test_with_one_kind_of_known_pixels_the_band_is_of_that_kind(known, expected):
    photo = np.random.default_rng(4).random((20, 20, 3), np.float32)
    trimap = np.full((20, 20), 0.5, np.float32)
    trimap[:5] = known
    assert (estimate_alpha(photo, trimap) == expected).all()


def test_an_empty_band_and_an_all_unknown_trimap_are_answered_at_once():
    photo = np.random.default_rng(5).random((20, 20, 3), np.float32)
    trimap = np.zeros((20, 20), np.float32)
    trimap[5:10] = 1
    assert np.array_equal(estimate_alpha(photo, trimap), trimap)
    assert np.isfinite(estimate_alpha(photo, np.full((20, 20), 0.5, np.float32))).all()


def test_an_island_of_the_band_that_touches_no_subject_has_none_of_it():
    photo = np.random.default_rng(6).random((40, 40, 3), np.float32) * 0.1 + 0.4
    trimap = np.zeros((40, 40), np.float32)
    trimap[5:10, 5:10] = 1
    trimap[4, 4:11] = trimap[10, 4:11] = 0.5
    trimap[25:32, 25:32] = 0.5
    found = estimate_alpha(photo, trimap)
    assert np.isfinite(found).all()
    assert found[25:32, 25:32].max() < 1e-3


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 30), (3, 3), (5, 300)])
def test_pictures_of_any_shape_give_finite_alpha(shape):
    photo = np.random.default_rng(7).random((*shape, 3), np.float32)
    trimap = np.full(shape, 0.5, np.float32)
    trimap.flat[0] = 1
    trimap.flat[-1] = 0
    for sizes in ({}, {"solve_long_side_px": 16, "full_solve_long_side_px": 0}):
        found = estimate_alpha(photo, trimap, **sizes)
        assert found.shape == shape
        assert np.isfinite(found).all()


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_picture_of_one_colour_gives_finite_alpha_between_the_known_pixels(value):
    trimap = np.full((30, 40), 0.5, np.float32)
    trimap[:, :5], trimap[:, -5:] = 1, 0
    found = estimate_alpha(np.full((30, 40, 3), value, np.float32), trimap)
    assert np.isfinite(found).all()
    assert 0 <= found.min() <= found.max() <= 1


def test_nan_and_other_sizes_are_errors_that_say_so(composed, as_trimap, srgb):
    photo, alpha, _, _ = composed(40, 50)
    trimap = as_trimap(alpha, 2)
    with pytest.raises(ValueError, match="differ in size"):
        estimate_alpha(srgb(photo), trimap[:-1])
    broken = srgb(photo).copy()
    broken[20, 25] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        estimate_alpha(broken, np.full((40, 50), 0.5, np.float32))


def test_the_band_grows_to_reach_hair_that_the_mask_missed(srgb):
    rng = np.random.default_rng(8)
    photo = np.full((200, 240, 3), 0.1, np.float32) + rng.random((200, 240, 3), np.float32) * 0.02
    alpha = np.zeros((200, 240), np.float32)
    alpha[80:140, 60:120] = 1
    for y in range(84, 140, 8):
        alpha[y : y + 2, 120:170] = 0.9
    photo = photo * (1 - alpha[..., None]) + alpha[..., None] * np.array([0.9, 0.8, 0.3], np.float32)
    labels = np.full((200, 240), UNKNOWN, np.int16)
    labels[86:134, 66:114] = 1
    near = np.zeros((200, 240), bool)
    near[70:150, 50:130] = True
    labels[~near] = 0
    fixed = solve_fractions(photo, labels, 1)[0]
    grown = solve_fractions(photo, labels, 1, grow_rounds=3, grow_reach_px=20, solve_long_side_px=240)[0]
    missed = np.s_[:, 130:]  # beyond the band that was given
    assert np.abs(grown - alpha)[missed].sum() < 0.5 * np.abs(fixed - alpha)[missed].sum()
