"""The fusion metrics against values of their authors' own programs, limits, and plain definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skimage import data
from skimage.metrics import structural_similarity

from mattingmfif.vaeedof.metrics import FUSION_METRICS, LOWER_IS_BETTER, fusion_metrics, psnr, ssim, to_grey
from mattingmfif.vaeedof.metrics_gradient import edge_preservation

# Golden values: made by the metric authors' own MATLAB programs (run in Octave) on the triples that `_triple` makes
# from scikit-image's photographs; columns in the order of FUSION_METRICS.
GOLDEN = """
camera Fmask 7.326075308 53.4355562 9.406387989 24.17171087 1.260668323 97.33328641 0.8493555846 0.7419974174
 0.8952447023 0.9403077192 0.8574539121 0.9078464468 0.9837392157 0.8530286875 21.88229461 0.4441683132 0.9845562353
camera Fmean 7.245986397 51.16875866 6.140473148 15.29500406 0.9853529507 35.29421184 0.8310096035 0.6909537724
 0.8772702046 0.941906411 0.7895693397 0.8718312269 0.86908414 0.7723049792 42.16346552 0.2114650847 0.86542708
coins Fmask 7.534157273 46.89497385 9.836338117 25.57046556 1.225208548 94.08791795 0.8487687335 0.7111635004
 0.8405257475 0.9077186229 0.8333742799 0.8994022177 0.9913226478 0.7165046365 26.72117378 0.6752927575 0.955063868
coins Fmean 7.417937867 43.56923785 5.590170252 14.5094316 0.9189657592 27.19295866 0.8284258385 0.5598199644
 0.8307571581 0.9041903794 0.7164759021 0.8244046135 0.8235161748 0.6785977542 77.75744057 0.3575255918 0.8178941658
moon Fmask 4.804977584 9.812835295 1.667850452 4.812433416 1.165810358 57.18364528 0.8190041758 0.8003428287
 0.8904983853 0.9311091966 0.8992810496 0.9184521189 0.9868229947 0.7632602436 9.148375684 0.6649789781 0.9811152138
moon Fmean 4.779225774 8.996601974 1.063497834 2.822483907 1.065337501 21.32426902 0.8158559156 0.6695428679
 0.8132537842 0.9026799794 0.8107314617 0.805693091 0.8101909193 0.5185389911 4.620794933 0.3151758729 0.7750994937
"""
PHOTOS = {
    "camera": lambda: data.camera()[128:384, 128:384],
    "coins": lambda: data.coins()[:256, :256],
    "moon": lambda: data.moon()[100:356, 100:356],
}


def _rows() -> list[tuple[str, str, list[float]]]:
    words = GOLDEN.split()
    rows = [words[i : i + 19] for i in range(0, len(words), 19)]
    return [(row[0], row[1], [float(value) for value in row[2:]]) for row in rows]


def _box_mean(image: np.ndarray, radius: int) -> np.ndarray:
    """The floor of the mean over a (2 radius + 1) square, in integers, edges repeated."""
    size = 2 * radius + 1
    padded = np.pad(image.astype(np.int64), radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return (windows.sum((2, 3)) // size**2).astype(np.uint8)


def _triple(scene: str, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two frames, one sharp inside a disc and one outside it, and a fused image: by a shifted mask, or their mean."""
    number = list(PHOTOS).index(scene)
    photo = PHOTOS[scene]()
    y, x = np.mgrid[:256, :256]
    near = (x - 128) ** 2 + (y - 128) ** 2 < 80**2
    blurred = _box_mean(photo, 2 + number)
    a, b = np.where(near, photo, blurred), np.where(near, blurred, photo)
    if kind == "Fmask":
        return a, b, np.where(np.roll(near, 3 + number, axis=1), a, b)
    return a, b, ((a.astype(np.int64) + b) // 2).astype(np.uint8)


@pytest.mark.parametrize(("scene", "kind", "values"), _rows())
def test_the_17_metrics_agree_with_their_authors_programs(scene: str, kind: str, values: list[float]) -> None:
    a, b, fused = _triple(scene, kind)
    found = fusion_metrics([a, b], fused)
    assert tuple(found) == FUSION_METRICS
    # ten digits are printed in the reference table
    assert found == pytest.approx(dict(zip(FUSION_METRICS, values, strict=True)), rel=1e-7, abs=1e-6)


@pytest.mark.parametrize("count", [3, 7])
def test_the_order_of_the_sources_changes_nothing(count: int) -> None:
    a, b, fused = (image[:128, :96] for image in _triple("coins", "Fmask"))
    sources = [a, b, _box_mean(a, 1), *(np.roll(a, 3 * k, 1) for k in range(1, 5))][:count]
    first = fusion_metrics(sources, fused)
    for order in (sources[::-1], sources[1:] + sources[:1]):
        assert fusion_metrics(order, fused) == pytest.approx(first, rel=1e-9)


def test_the_same_source_twice_or_three_times_scores_alike() -> None:
    a, _, fused = _triple("camera", "Fmask")
    two, three = fusion_metrics([a, a], fused), fusion_metrics([a, a, a], fused)
    for name in ("Q_MI", "Q_TE", "Q_G", "Q_S", "Q_W", "Q_E", "Q_C", "Q_Y", "Q_CB", "Q_CV", "SCD", "VIFF"):
        assert three[name] == pytest.approx(two[name], rel=1e-9), name


def test_a_perfect_copy_reaches_each_metric_s_limit() -> None:
    photo = PHOTOS["camera"]()
    found = fusion_metrics([photo, photo], photo)
    limits = {"Q_MI": 2, "Q_S": 1, "Q_W": 1, "Q_E": 1, "Q_C": 1, "Q_Y": 1, "Q_CB": 1, "Q_CV": 0, "VIFF": 1}
    for name, limit in limits.items():
        assert found[name] == pytest.approx(limit, abs=1e-6), name
    assert set(LOWER_IS_BETTER) == {"Q_CV"}


def test_the_true_image_scores_better_than_the_mean_where_the_metric_can_tell() -> None:
    a, b, mean = _triple("coins", "Fmean")
    truth = PHOTOS["coins"]()
    good, bad = fusion_metrics([a, b], truth), fusion_metrics([a, b], mean)
    for name in ("Q_G", "Q_S", "Q_W", "Q_E", "Q_C", "Q_Y", "Q_CB", "Q_MI", "SCD", "VIFF"):
        assert good[name] > bad[name], name
    assert good["Q_CV"] < bad["Q_CV"]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_images_give_finite_figures(level: int) -> None:
    flat = np.full((64, 64), level, np.uint8)
    found = fusion_metrics([flat, flat], flat)
    assert all(np.isfinite(value) for value in found.values()), found


def test_edge_preservation_is_its_formula_pixel_by_pixel() -> None:
    rng = np.random.default_rng(5)
    a, b, f = (rng.integers(0, 9, (7, 9)).astype(np.float64) for _ in range(3))

    def gradient(image: np.ndarray, y: int, x: int) -> tuple[float, float]:
        padded = np.pad(image, 1)[y : y + 3, x : x + 3]
        gx = padded[:, 2] @ [1, 2, 1] - padded[:, 0] @ [1, 2, 1]
        gy = padded[2] @ [1, 2, 1] - padded[0] @ [1, 2, 1]
        return float(np.hypot(gx, gy)), float(np.arctan(gy / (gx or 1e-5)))

    kept = weight = 0.0
    for y in range(7):
        for x in range(9):
            strength_f, angle_f = gradient(f, y, x)
            for source in (a, b):
                strength, angle = gradient(source, y, x)
                ratio = min(strength, strength_f) / max(strength, strength_f)
                q = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
                q *= 0.9879 / (1 + np.exp(-22 * (1 - abs(angle - angle_f) * 2 / np.pi - 0.8)))
                kept, weight = kept + q * strength, weight + strength
    assert edge_preservation([a, b], f) == pytest.approx(kept / weight, rel=1e-6)


@pytest.mark.parametrize(
    ("sources", "fused", "words"),
    [
        ([np.zeros((64, 64), np.uint8)], np.zeros((64, 64), np.uint8), "at least two"),
        ([np.zeros((64, 64), np.uint8)] * 2, np.zeros((64, 65), np.uint8), "differ in size"),
        ([np.zeros((64, 64), np.float32)] * 2, np.zeros((64, 64), np.uint8), "uint8 grey"),
        ([np.zeros((64, 64, 3), np.uint8)] * 2, np.zeros((64, 64, 3), np.uint8), "uint8 grey"),
        ([np.zeros((40, 64), np.uint8)] * 2, np.zeros((40, 64), np.uint8), "too small"),
        ([None, np.zeros((64, 64), np.uint8)], np.zeros((64, 64), np.uint8), "got NoneType"),
    ],
)
def test_wrong_input_is_refused_by_name(sources: list[Any], fused: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fusion_metrics(sources, fused)


def test_psnr_of_a_constant_error_is_its_closed_form_and_regions_are_respected() -> None:
    target = np.full((20, 30, 3), 100, np.uint8)
    image = target.copy()
    image[:10] += 10
    where = np.zeros((20, 30), bool)
    where[:10] = True
    assert psnr(image, target, where) == pytest.approx(20 * np.log10(255 / 10))
    assert psnr(image, target) == pytest.approx(20 * np.log10(255 / 10) + 10 * np.log10(2))
    assert psnr(image, target, ~where) == float("inf")
    assert np.isnan(psnr(image, target, np.zeros((20, 30), bool)))
    wide = (target.astype(np.uint16) * 257, image.astype(np.uint16) * 257)
    assert psnr(wide[1], wide[0]) == pytest.approx(psnr(image, target))


def test_ssim_agrees_with_scikit_image() -> None:
    photo = data.astronaut()[100:260, 100:280]
    worse = np.clip(photo + np.random.default_rng(1).normal(0, 20, photo.shape), 0, 255).astype(np.uint8)
    inner = np.zeros(photo.shape[:2], bool)
    inner[16:-16, 16:-16] = True
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    _, full = structural_similarity(worse, photo, channel_axis=-1, full=True, **settings)
    assert ssim(worse, photo, inner) == pytest.approx(full[inner].mean(), abs=1e-4)
    assert ssim(photo, photo) == 1.0


def test_grey_is_rec_601_rounded() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert to_grey(colours).tolist() == [[76, 150, 29, 255]]
