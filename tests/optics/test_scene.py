from __future__ import annotations

import math

import numpy as np
import pytest

from mattingmfif.errors import UserError
from mattingmfif.optics import Layer, Scene, composite, composite_trust, depth_m, visible_weights

H, W = 7, 9
RNG = np.random.default_rng(4)


def layer(distance: float | np.ndarray, alpha: float | np.ndarray = 1.0, known: np.ndarray | None = None) -> Layer:
    return Layer(
        RNG.random((H, W, 3)).astype(np.float32), np.broadcast_to(np.float32(alpha), (H, W)), distance, known=known
    )


def test_composite_is_nearest_over_farther_whatever_the_order_of_the_list() -> None:
    near, middle, far = layer(1.0, RNG.random((H, W))), layer(2.0, RNG.random((H, W))), layer(math.inf)
    expected = far.colour_linear
    for front in (middle, near):
        a = front.alpha[..., None]
        expected = a * front.colour_linear + (1 - a) * expected
    for order in ([near, middle, far], [far, near, middle], [middle, far, near]):
        np.testing.assert_allclose(composite(Scene(order)), expected, atol=1e-6)
    np.testing.assert_array_equal(composite(Scene([near, middle, far])), composite(Scene([far, middle, near])))


def test_a_receding_ground_lies_behind_the_subject_that_stands_on_it() -> None:
    ground = layer(np.linspace(1.0, 30.0, H, dtype=np.float32)[:, None].repeat(W, 1))
    subject = layer(5.0, 0.5)
    assert Scene([ground, subject]).ordered == (subject, ground)


def test_distances_where_nothing_is_seen_do_not_order_a_layer() -> None:
    distance = np.full((H, W), 1.0, np.float32)
    distance[0] = 99.0
    alpha = np.ones((H, W), np.float32)
    alpha[0] = 0.0
    front, back = Layer(np.zeros((H, W, 3), np.float32), alpha, distance), layer(2.0)
    assert Scene([back, front]).ordered == (front, back)


def test_equal_distances_keep_the_order_of_the_list() -> None:
    a, b = layer(1.0), layer(1.0)
    assert Scene([a, b]).ordered == (a, b)
    assert Scene([b, a]).ordered == (b, a)


def test_an_opaque_layer_comes_back_bit_for_bit_over_anything() -> None:
    front = layer(1.0)
    np.testing.assert_array_equal(composite(Scene([layer(3.0), front, layer(2.0, 0.3)])), front.colour_linear)


def test_visible_weights_sum_to_one_before_an_opaque_wall_and_give_the_depth() -> None:
    near, far = layer(1.0, RNG.random((H, W))), layer(4.0)
    weights = visible_weights(Scene([far, near]))
    np.testing.assert_allclose(sum(weights), 1.0, atol=1e-6)
    np.testing.assert_array_equal(weights[0], near.alpha)
    np.testing.assert_array_equal(depth_m(Scene([far, near])), np.where(near.alpha >= 1 - near.alpha, 1.0, 4.0))


def test_trust_is_the_share_of_light_from_photographed_pixels() -> None:
    known = RNG.random((H, W)).astype(np.float32)
    near, far = layer(1.0, RNG.random((H, W))), layer(4.0, 1.0, known)
    np.testing.assert_allclose(composite_trust(Scene([near, far])), near.alpha + (1 - near.alpha) * known, atol=1e-6)
    np.testing.assert_array_equal(composite_trust(Scene([near, layer(4.0)])), 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1])
@pytest.mark.parametrize("where", ["colour_linear", "alpha", "distance_m", "known"])
def test_values_that_are_not_light_opacity_or_distance_are_refused_by_name(where: str, bad: float) -> None:
    arrays = {
        "colour_linear": np.ones((H, W, 3), np.float32),
        "alpha": np.ones((H, W), np.float32),
        "distance_m": np.ones((H, W), np.float32),
        "known": np.ones((H, W), np.float32),
    }
    if where == "distance_m" and bad == np.inf:  # the sky
        bad = 0.0
    arrays[where][2, 3] = bad
    with pytest.raises(UserError, match=where):
        Layer(**arrays)


def test_alpha_above_one_is_refused_and_colour_above_one_is_not() -> None:
    with pytest.raises(UserError, match="alpha"):
        Layer(np.ones((H, W, 3), np.float32), np.full((H, W), 1.01, np.float32), 1.0)
    Layer(np.full((H, W, 3), 50.0, np.float32), np.ones((H, W), np.float32), 1.0)


def test_layers_of_different_sizes_are_refused() -> None:
    other = Layer(np.ones((H, W + 1, 3), np.float32), np.ones((H, W + 1), np.float32), 1.0)
    with pytest.raises(UserError, match="one size"):
        Scene([layer(1.0), other])
    with pytest.raises(UserError, match="empty"):
        Scene([])
