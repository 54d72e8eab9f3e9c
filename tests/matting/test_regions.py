import itertools

import numpy as np
import pytest

from mattingmfif.matting.classical import iou
from mattingmfif.matting.contours import lab_of, pair_contrast
from mattingmfif.matting.regions import _basins, _merge, propose_regions


def _picture():
    rng = np.random.default_rng(0)
    photo = np.full((200, 260, 3), 0.35, np.float32)
    photo += rng.standard_normal(photo.shape).astype(np.float32) * 0.01
    y, x = np.mgrid[:200, :260]
    disc = np.hypot(y - 110, x - 130) < 45
    photo[disc] += np.array([0.4, 0.1, -0.2], np.float32)
    return np.clip(photo, 0, 1), disc


def test_the_one_thing_in_the_picture_is_proposed_first_and_exactly():
    photo, disc = _picture()
    regions = propose_regions(lab_of(photo), 0.01, 0.6, 0.7, 0.45)
    assert iou(regions[0].mask, disc) > 0.93
    assert regions[0].contour > 0.9
    assert regions[0].separation > 0.9


def test_a_thing_of_two_colours_is_proposed_as_a_whole_too():
    photo, disc = _picture()
    lower = disc.copy()
    lower[:110] = False
    photo[lower] += np.array([0.1, -0.15, 0.0], np.float32)
    regions = propose_regions(lab_of(photo), 0.01, 0.6, 0.7, 0.45)
    assert max(iou(region.mask, disc) for region in regions) > 0.9


def test_flat_and_textured_pictures_hold_no_proposal():
    rng = np.random.default_rng(1)
    assert propose_regions(lab_of(np.full((96, 128, 3), 0.4, np.float32)), 0.01, 0.6, 0.7, 0.45) == []
    noise = np.repeat(rng.random((96, 128, 1), np.float32), 3, axis=2)
    assert propose_regions(lab_of(noise), 0.01, 0.6, 0.7, 0.45) == []


def test_proposals_keep_to_the_allowed_sizes():
    photo, disc = _picture()
    share = float(disc.mean())
    for region in propose_regions(lab_of(photo), 0.01, 0.6, 0.5, 0.2):
        assert 0.009 <= region.mask.mean() <= 0.6
    small_only = propose_regions(lab_of(photo), 0.01, share / 2, 0.7, 0.45)
    assert all(iou(region.mask, disc) < 0.6 for region in small_only)


def test_tiny_pictures_do_not_crash():
    for shape in ((1, 1), (1, 30), (5, 5), (9, 200)):
        propose_regions(lab_of(np.random.default_rng(2).random((*shape, 3), np.float32)), 0.01, 0.6, 0.7, 0.45)


def test_always_the_least_different_neighbours_merge() -> None:
    lab = np.random.default_rng(5).normal(50, 20, (40, 56, 3)).astype(np.float32)
    basins = _basins(lab)
    merged = _merge(lab, basins)
    alive = {frozenset([i]) for i in range(int(basins.max()) + 1)}
    across_x, across_y = pair_contrast(lab)
    pairs = [
        *zip(basins[:, :-1].ravel(), basins[:, 1:].ravel(), across_x.ravel(), strict=True),
        *zip(basins[:-1].ravel(), basins[1:].ravel(), across_y.ravel(), strict=True),
    ]

    def difference(a: frozenset[int], b: frozenset[int]) -> float:
        """By the definition, from the pixels: contrast along the shared border, mean colours, least area."""
        shared = [c for i, j, c in pairs if (i in a and j in b) or (i in b and j in a)]
        if not shared:
            return np.inf
        inside = [np.isin(basins, list(region)) for region in (a, b)]
        means = [lab[region].astype(np.float64).mean(axis=0) for region in inside]
        area = min(region.sum() for region in inside)
        return float((np.mean(shared) + 0.5 * np.linalg.norm(means[0] - means[1])) * area**0.2)

    for node in merged:
        whole = frozenset(node.leaves)
        parts = [region for region in alive if region <= whole]
        assert len(parts) == 2
        least = min(difference(a, b) for a, b in itertools.combinations(alive, 2))
        assert difference(*parts) == pytest.approx(least, rel=1e-5)
        alive = (alive - set(parts)) | {whole}
    assert len(alive) == 1
