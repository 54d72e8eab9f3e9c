from __future__ import annotations

import math

import numpy as np
import pytest

from mattingmfif.errors import UserError
from mattingmfif.optics import ThinLens, plan_focus

LENS = ThinLens(50.0, 2.8, 36.0)
WIDTH = 3840
INFINITE = math.inf


def plan(kind: str, distances: list, frames: int = 7, seed: int = 0) -> list[float]:
    return plan_focus(kind, distances, LENS, WIDTH, frames, np.random.default_rng(seed))


def least_blur(distance: float, focuses: list[float]) -> float:
    return min(abs(LENS.blur_radius_px(distance, s, WIDTH)) for s in focuses)


@pytest.mark.parametrize("kind", ["tile", "layers", "random", "gap"])
@pytest.mark.parametrize(
    "distances", [[1.0], [0.06, 3.0], [1.0, (2.0, INFINITE)], [INFINITE], [2.0, 2.001, 2.002], [0.01]]
)
@pytest.mark.parametrize("frames", [2, 7])
def test_every_plan_has_two_to_n_different_focuses_beyond_the_focal_length(
    kind: str, distances: list, frames: int
) -> None:
    focuses = plan(kind, distances, frames)
    assert 2 <= len(focuses) <= frames
    assert len(set(focuses)) == len(focuses)
    assert focuses == sorted(focuses)
    assert focuses[0] > 0.05


def test_tiles_make_every_depth_sharp_when_the_frames_suffice() -> None:
    distances = [1.0, (1.3, 1.32), 5.0, INFINITE]
    focuses = plan("tile", distances)
    for z in (1.0, 1.3, 1.31, 1.32, 5.0, INFINITE):
        assert least_blur(z, focuses) <= 0.5 + 1e-6


def test_tiles_use_no_more_frames_than_needed() -> None:
    assert len(plan("tile", [1.0, 1.001, 4.0, 4.01, 4.02])) == 2


def test_too_few_tiles_are_spaced_evenly_in_blur() -> None:
    focuses = plan("tile", [(1.0, INFINITE)])
    assert len(focuses) == 7
    np.testing.assert_allclose(np.diff([1 / s for s in focuses]), -1 / 7, rtol=1e-6)


def test_layers_focuses_on_every_layer() -> None:
    assert plan("layers", [3.0, 1.0, INFINITE]) == [1.0, 3.0, INFINITE]


def test_a_gap_leaves_part_of_the_scene_sharp_in_no_frame() -> None:
    for seed in range(6):
        for distances in ([1.0, 2.0, 5.0], [1.0, (2.0, 9.0)], [(1.0, 20.0)]):
            focuses = plan("gap", distances, seed=seed)
            ends = [z for d in distances for z in ((d,) if isinstance(d, float) else np.geomspace(*d, 50))]
            assert max(least_blur(float(z), focuses) for z in ends) > 0.5
            assert min(least_blur(float(z), focuses) for z in ends) < 0.5 + 1e-6


def test_random_plans_are_a_function_of_the_generator() -> None:
    assert plan("random", [1.0, 9.0], seed=3) == plan("random", [1.0, 9.0], seed=3)
    assert plan("random", [1.0, 9.0], seed=3) != plan("random", [1.0, 9.0], seed=4)


def test_unknown_plans_and_frame_counts_are_refused() -> None:
    with pytest.raises(UserError, match="tile, layers, random, gap"):
        plan("sweep", [1.0])
    for frames in (1, 8):
        with pytest.raises(UserError, match="2 to 7"):
            plan("tile", [1.0], frames)
    with pytest.raises(UserError, match="distances_m"):
        plan("tile", [(3.0, 1.0)])
