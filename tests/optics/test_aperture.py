from __future__ import annotations

import math

import numpy as np
import pytest

from mattingmfif.optics.aperture import Aperture, aperture_points


def polygon_side(points: np.ndarray, blades: int, rotation_deg: float) -> np.ndarray:
    normals = math.radians(rotation_deg) + (np.arange(blades) + 0.5) * 2 * math.pi / blades
    return (points @ np.stack([np.cos(normals), np.sin(normals)])).max(axis=1)


@pytest.mark.parametrize(
    "aperture", [Aperture(), Aperture(blades=3, rotation_deg=20), Aperture(blades=7, roundness=0.4)]
)
def test_points_are_spread_evenly_over_the_opening(aperture: Aperture) -> None:
    points = aperture_points(aperture, 20000).astype(np.float64)
    angles = np.arctan2(points[:, 1], points[:, 0])
    shares = np.hypot(points[:, 0], points[:, 1]) / aperture.outline(angles)
    assert shares.max() <= 1.0 + 1e-5
    np.testing.assert_allclose(np.histogram(shares**2, 10, (0, 1))[0], 2000, atol=25)  # even along the radius
    sectors = np.linspace(-math.pi, math.pi, 2049)
    area = np.interp(sectors[1:], sectors, np.cumsum(aperture.outline(sectors) ** 2))
    expected = np.diff(np.concatenate([[0], area[255::256]])) / area[-1] * 20000
    np.testing.assert_allclose(np.histogram(angles, 8, (-math.pi, math.pi))[0], expected, rtol=0.02)


def test_a_polygon_has_straight_blades_and_its_corners_on_the_unit_circle() -> None:
    points = aperture_points(Aperture(blades=5, rotation_deg=12), 50000)
    assert polygon_side(points, 5, 12).max() == pytest.approx(math.cos(math.pi / 5), abs=2e-3)
    farthest = points[np.argmax(np.hypot(points[:, 0], points[:, 1]))]
    assert np.hypot(*farthest) == pytest.approx(1.0, abs=5e-3)


def test_rotation_turns_clockwise_as_seen_in_the_picture() -> None:
    still = aperture_points(Aperture(blades=3), 30000)
    assert still[:, 0].max() == pytest.approx(1.0, abs=0.02)  # a corner on the right
    turned = aperture_points(Aperture(blades=3, rotation_deg=90), 30000)
    assert turned[:, 1].max() == pytest.approx(1.0, abs=0.02)  # y down: now at the bottom
    assert turned[:, 1].min() == pytest.approx(-0.5, abs=0.02)


def test_full_roundness_is_a_circle() -> None:
    np.testing.assert_array_equal(
        aperture_points(Aperture(blades=6, roundness=1.0), 99), aperture_points(Aperture(), 99)
    )


@pytest.mark.parametrize("blades", [0, 3, 6])
def test_the_cats_eye_is_the_overlap_of_two_rims(blades: int) -> None:
    aperture = Aperture(blades=blades, cats_eye=0.8)
    field = (0.9, -0.7)
    points = aperture_points(aperture, 20000, 1, field).astype(np.float64)
    shift = np.array([-0.8 * field[0], -0.8 * field[1]])
    assert np.hypot(*(points - shift).T).max() <= 1 + 1e-4
    first_rim = np.hypot(*points.T) if blades == 0 else polygon_side(points, blades, 0) / math.cos(math.pi / blades)
    assert first_rim.max() <= 1 + 1e-4
    grid = np.mgrid[-1:1:400j, -1:1:400j].reshape(2, -1).T
    inside = np.hypot(*(grid - shift).T) <= 1
    inside &= (np.hypot(*grid.T) <= 1) if blades == 0 else (polygon_side(grid, blades, 0) <= math.cos(math.pi / blades))
    np.testing.assert_allclose(points.mean(axis=0), grid[inside].mean(axis=0), atol=4e-3)
    np.testing.assert_allclose(points.std(axis=0), grid[inside].std(axis=0), atol=4e-3)


def test_spherical_aberration_weights_the_disc_and_keeps_every_ray() -> None:
    for side in (1, -1):
        points = aperture_points(Aperture(spherical=0.6), 40000, side).astype(np.float64)
        areas = points[:, 0] ** 2 + points[:, 1] ** 2
        counts = np.histogram(areas, 10, (0, 1))[0] / 4000
        middle = np.arange(0.05, 1, 0.1)
        np.testing.assert_allclose(counts, 1 + side * 0.6 * (2 * middle - 1), atol=0.02)
    plain, behind = aperture_points(Aperture(), 500), aperture_points(Aperture(spherical=0.6), 500, 1)
    cross = plain[:, 0] * behind[:, 1] - plain[:, 1] * behind[:, 0]
    np.testing.assert_allclose(cross, 0, atol=1e-6)  # the same direction, another distance
