"""The aperture integral written plainly, and scenes whose layers interact; the definitions that the lens is held to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest

from mattingmfif.optics import Aperture, Layer, Scene, ThinLens

FOCUS_M = 2.0


def plain_points(aperture: Aperture, count: int) -> np.ndarray:
    """Vogel points of the disc that lie inside the opening (corners of a polygon on the unit circle)."""
    share = 1.0
    if aperture.blades:
        share = aperture.blades / (2 * math.pi) * math.sin(2 * math.pi / aperture.blades)
    dense = math.ceil(count / share)
    i = np.arange(dense)
    radius, angle = np.sqrt((i + 0.5) / dense), i * math.pi * (3.0 - math.sqrt(5.0))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    if aperture.blades:
        n = aperture.blades
        normals = math.radians(aperture.rotation_deg) + (np.arange(n) + 0.5) * 2.0 * math.pi / n
        beyond = points @ np.stack([np.cos(normals), np.sin(normals)])
        points = points[(beyond <= math.cos(math.pi / n)).all(axis=1)]
    return points


def bilinear(image: np.ndarray, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """`image` between its pixel centres; outside, the edge pixel repeats."""
    height, width = image.shape[:2]
    ys, xs = np.clip(ys, 0, height - 1), np.clip(xs, 0, width - 1)
    y, x = np.minimum(ys.astype(int), height - 2), np.minimum(xs.astype(int), width - 2)
    fy, fx = ys - y, xs - x
    if image.ndim == 3:
        fy, fx = fy[..., None], fx[..., None]
    upper = (1 - fx) * image[y, x] + fx * image[y, x + 1]
    lower = (1 - fx) * image[y + 1, x] + fx * image[y + 1, x + 1]
    return (1 - fy) * upper + fy * lower


def shifted(image: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """`bilinear(image, y - dy, x - dx)` for one shift of the whole image."""
    height, width = image.shape[:2]
    y, x = math.floor(-dy), math.floor(-dx)
    fy, fx = np.float32(-dy - y), np.float32(-dx - x)
    rows = np.clip(np.arange(y, y + height + 1), 0, height - 1)
    columns = np.clip(np.arange(x, x + width + 1), 0, width - 1)
    cut = image[rows][:, columns]
    across = (1 - fx) * cut[:, :-1] + fx * cut[:, 1:]
    return (1 - fy) * across[:-1] + fy * across[1:]


def first_radius(radii: np.ndarray, ys: np.ndarray, xs: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The blur radius where the ray u of each pixel first meets the surface: x = p - r(x) u, nearest the camera."""
    least, most = radii.min() - 1e-3, radii.max() + 1e-3
    steps = np.linspace(least, most, 49)
    low, high = np.full(radii.shape, np.nan), np.full(radii.shape, most)
    for a, b in pairwise(steps):
        crossed = np.isnan(low) & (bilinear(radii, ys - b * u[1], xs - b * u[0]) <= b)
        low[crossed], high[crossed] = a, b
    low = np.where(np.isnan(low), least, low)
    for _ in range(20):
        middle = 0.5 * (low + high)
        passed = bilinear(radii, ys - middle * u[1], xs - middle * u[0]) <= middle
        low, high = np.where(passed, low, middle), np.where(passed, middle, high)
    return 0.5 * (low + high)


def aperture_integral(
    scene: Scene, lens: ThinLens, focus_distance_m: float, points: int = 2048, quality: str = "exact"
) -> np.ndarray:
    """The mean over the aperture, ray by ray and layer by layer (or, "fast", the layered product of the same rays)."""
    height, width = scene.shape
    ys, xs = np.mgrid[:height, :width].astype(np.float64)
    layers = []
    for layer in scene.ordered:
        packed = np.dstack([layer.colour_linear * layer.alpha[..., None], layer.alpha]).astype(np.float32)
        radius = lens.blur_radius_px(layer.distance_m, focus_distance_m, width)
        layers.append((packed, radius if np.ndim(radius) == 0 else np.asarray(radius, np.float64)))
    rays = plain_points(lens.aperture, points)
    image = np.zeros((height, width, 3))
    means = [np.zeros((height, width, 4)) for _ in layers]
    for u in rays:
        light = np.ones((height, width, 1))
        for k, (packed, radius) in enumerate(layers):
            if np.ndim(radius) == 0:
                r = radius if abs(radius) >= 0.25 else 0.0
                value = shifted(packed, r * u[1], r * u[0])
            else:
                r = first_radius(radius, ys, xs, u)
                r = np.where(np.abs(r) < 0.25, 0.0, r)
                value = bilinear(packed, ys - r * u[1], xs - r * u[0])
            means[k] += value / len(rays)
            image += light * value[..., :3] / len(rays)
            light = light * (1.0 - value[..., 3:])
    if quality == "exact":
        return image
    image[:] = 0.0
    light = np.ones((height, width, 1))
    for mean in means:
        image += light * mean[..., :3]
        light = light * (1.0 - mean[..., 3:])
    return image


def psnr_db(image: np.ndarray, truth: np.ndarray, margin: int, where: np.ndarray | None = None) -> float:
    """Peak 1.0, linear light, the whole frame less `margin` (and only `where`)."""
    inner = (slice(margin, image.shape[0] - margin), slice(margin, image.shape[1] - margin))
    difference = (image.astype(np.float64) - truth)[inner]
    if where is not None:
        difference = difference[where[inner]]
    return float(-10.0 * np.log10(np.mean(difference**2) + 1e-30))


def lens_and_distances(radii_px: tuple[float, ...], width: int, aperture: Aperture) -> tuple[ThinLens, list[float]]:
    """A 50 mm lens focused at FOCUS_M, and the distances at which layers get these radii."""
    lens = ThinLens(50.0, 2.0, 36.0, aperture)
    largest = max(max(radii_px), 0.0) / lens.blur_per_dioptre_px(FOCUS_M, width)
    if largest > 0.45:  # even infinity is not blurred that much: open the lens
        lens = ThinLens(50.0, 2.0 * 0.45 / largest, 36.0, aperture)
    per_dioptre = lens.blur_per_dioptre_px(FOCUS_M, width)
    return lens, [1.0 / (1.0 / FOCUS_M - r / per_dioptre) for r in radii_px]


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """Colour with structure at all scales, 0..1."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for sigma in (0.7, 2.0, 6.0, 18.0):
        noise = cv2.GaussianBlur(rng.standard_normal((height, width, 3)).astype(np.float32), (0, 0), sigma)
        image += noise / noise.std()
    return np.clip(0.5 + 0.16 * image, 0.0, 1.0)


def hair(height: int, width: int, seed: int, strands: int = 160) -> np.ndarray:
    """Alpha of strands thinner than a pixel to three pixels wide, growing out of a solid body."""
    rng = np.random.default_rng(seed)
    fine = np.zeros((height * 4, width * 4), np.uint8)
    root = np.array([width * (1.6 + 0.8 * rng.random()), height * 3.8])
    for _ in range(strands):
        bend, length = rng.uniform(-1, 1), height * 4 * rng.uniform(0.4, 0.95) / 40
        angle = rng.uniform(-2.6, -0.5) + bend * np.linspace(0, 1, 40)
        steps = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length
        start = root + np.array([rng.normal(0, width * 0.5), 0.0])
        line = (start + np.cumsum(steps, axis=0)).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(fine, [line], False, int(rng.uniform(120, 255)), int(rng.integers(2, 12)), cv2.LINE_AA)
    body = (int(root[0]), int(root[1]))
    cv2.ellipse(fine, body, (int(width * 0.8), int(height * 1.4)), 0, 0, 360, 255, -1, cv2.LINE_AA)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def fence(height: int, width: int, angle: float, period: float = 17.0, duty: float = 0.4) -> np.ndarray:
    """Alpha of parallel bars."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    across = (x * np.cos(angle) + y * np.sin(angle)) % period
    return np.clip(np.minimum(across, duty * period - across) + 0.5, 0, 1).astype(np.float32)


def veil(height: int, width: int, seed: int) -> np.ndarray:
    """Alpha of a partly transparent cloth, nowhere quite open or closed."""
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 6.0)
    return np.clip(0.4 + 0.25 * noise / noise.std(), 0.02, 0.98).astype(np.float32)


def interacting_scene(kind: str, distances_m: list[float], height: int, width: int) -> Scene:
    """Two to four layers (as many as distances) of hair, crossing fences or veils before an opaque wall."""
    mattes = {
        "hair": [hair(height, width, 1), hair(height, width, 2), hair(height, width, 3)],
        "fence": [fence(height, width, 0.5), fence(height, width, 2.2, 23.0), fence(height, width, 1.3, 13.0)],
        "veil": [veil(height, width, 1), veil(height, width, 2), veil(height, width, 3)],
    }[kind][: len(distances_m) - 1]
    alphas = [*mattes, np.ones((height, width), np.float32)]
    return Scene(
        [
            Layer(texture(height, width, 10 + k), alpha, distance)
            for k, (alpha, distance) in enumerate(zip(alphas, distances_m, strict=True))
        ]
    )


#: name -> (kind of mattes, signed blur radii nearest first, inside to be compared (height, width), aperture); the last
#: layer is an opaque wall, or ("ground", "plane") one that recedes between its two radii
REFERENCE_SCENES: dict[str, tuple[str, tuple[float, ...], tuple[int, int], Aperture]] = {
    "hair-two": ("hair", (-13.0, 9.0), (40, 56), Aperture()),
    "hair-over-hair": ("hair", (-9.0, 6.0, 14.0), (40, 56), Aperture()),
    "hair-behind": ("hair", (5.0, 11.0, 18.0), (40, 56), Aperture()),
    "hair-three": ("hair", (-14.0, -5.0, 4.0, 11.0), (40, 56), Aperture()),
    "fences-two": ("fence", (-8.0, 12.0), (40, 56), Aperture()),
    "fences-crossing": ("fence", (-11.0, -6.0, 8.0), (40, 56), Aperture()),
    "fences-three": ("fence", (-10.0, -3.0, 5.0, 12.0), (40, 56), Aperture()),
    "veils-crossing": ("veil", (-7.0, 12.0, 20.0), (40, 56), Aperture()),
    "veils-three": ("veil", (-16.0, -9.0, -4.0, 6.0), (40, 56), Aperture()),
    "small-hair": ("hair", (-0.8, -0.5, 0.3), (40, 56), Aperture()),
    "small-fences": ("fence", (0.3, 1.2, 2.0), (40, 56), Aperture()),
    "triangle-fences": ("fence", (-12.0, 7.0, 13.0), (40, 56), Aperture(blades=3, rotation_deg=20.0)),
    "triangle-hair": ("hair", (-15.0, -8.0, 10.0), (40, 56), Aperture(blades=3, rotation_deg=200.0)),
    "large-hair": ("hair", (-60.0, -25.0, 14.0), (40, 48), Aperture()),
    "large-fences": ("fence", (22.0, 40.0, 60.0), (40, 48), Aperture()),
    "large-veils": ("veil", (-60.0, 30.0), (40, 48), Aperture()),
    "hair-over-ground": ("ground", (-9.0, -3.0, 12.0), (40, 56), Aperture()),
    "slanted-plane": ("plane", (-24.0, 24.0), (96, 24), Aperture()),
}


def reference_scene(name: str) -> tuple[Scene, ThinLens, int]:
    """A scene of REFERENCE_SCENES, its lens (focused at FOCUS_M), and the margin by which the inside is smaller."""
    kind, radii, inside, aperture = REFERENCE_SCENES[name]
    margin = math.ceil(max(map(abs, radii))) + 2
    height, width = inside[0] + 2 * margin, inside[1] + 2 * margin
    lens, distances = lens_and_distances(radii, width, aperture)
    if kind not in ("ground", "plane"):
        return interacting_scene(kind, distances, height, width), lens, margin
    near, far = 1.0 / distances[-2], 1.0 / distances[-1]
    rows = (1.0 / np.linspace(far, near, height))[:, None].repeat(width, 1)
    if kind == "plane":
        return Scene([Layer(texture(height, width, 9), np.ones((height, width), np.float32), rows)]), lens, margin
    scene = interacting_scene("hair", [distances[0], distances[2]], height, width)
    return Scene([scene.layers[0], replace(scene.layers[1], distance_m=rows)]), lens, margin


def fingerprint(scene: Scene) -> np.ndarray:
    """A few numbers by which a scene is recognised: weighted means of what every layer holds."""
    height, width = scene.shape
    weight = np.random.default_rng(7).standard_normal((height, width))
    values = []
    for layer in scene.layers:
        nearness = np.broadcast_to(1.0 / np.asarray(layer.distance_m), (height, width))
        planes = [layer.alpha, *np.moveaxis(layer.colour_linear, 2, 0), nearness]
        values += [float((weight * plane).mean()) for plane in planes]
    return np.array(values)


@pytest.fixture
def integral() -> Callable[..., np.ndarray]:
    return aperture_integral


@pytest.fixture
def psnr() -> Callable[..., float]:
    return psnr_db


@pytest.fixture
def lens_for() -> Callable[..., tuple[ThinLens, list[float]]]:
    return lens_and_distances


@pytest.fixture
def scene_of() -> Callable[..., Scene]:
    return interacting_scene


@pytest.fixture
def textured() -> Callable[..., np.ndarray]:
    return texture


@pytest.fixture
def definitions() -> dict[str, Any]:
    """Everything that is defined here, by name."""
    return dict(globals())
