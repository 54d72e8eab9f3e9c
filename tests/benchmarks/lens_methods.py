"""A scene of hair, a subject and a receding ground, and the methods that can photograph it: ours and its peers.

`bench_lens.py` measures them; `by_rays` is the definition: every ray through every layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import scipy.fft
from numba import njit

from mattingmfif.optics import Layer, Scene, ThinLens, composite, render_stack
from mattingmfif.optics.aperture import Aperture
from mattingmfif.optics.psf import aperture_kernel

SUBJECT_M, HAIR_M, GROUND_M = 1.6, 1.2, (2.2, 30.0)
INVISIBLE_PX = 0.25


@dataclass(frozen=True, kw_only=True)
class Case:
    """A scene, its lens, and where the stack is focused."""

    scene: Scene
    lens: ThinLens
    focus_distances_m: list[float]
    width_px: int


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """Colour with structure at all scales, float32 `[H,W,3]` 0..1."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 0.5, np.float32)
    for cell in (2, 6, 24, 96):
        small = rng.standard_normal((height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        image += 0.11 * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0.0, 1.0)


def hair(height: int, width: int, seed: int) -> np.ndarray:
    """Alpha of a head with strands half a pixel to three pixels wide, in the middle third of the frame."""
    rng = np.random.default_rng(seed)
    fine = np.zeros((2 * height, 2 * width), np.uint8)
    middle = np.array([width * 0.95, height * 1.15])
    cv2.ellipse(fine, (int(middle[0]), int(middle[1])), (int(0.22 * width), int(0.5 * height)), 0, 0, 360, 255, -1)
    for _ in range(700):
        angle = rng.uniform(0, 2 * np.pi)
        root = middle + np.array([0.21 * width * np.cos(angle), 0.48 * height * np.sin(angle)])
        turn = angle + rng.normal(0, 0.9) * np.linspace(0, 1, 30)
        length = 2 * height * rng.uniform(0.05, 0.22) / 30
        line = root + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], axis=1) * length, axis=0)
        points = line.astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(fine, [points], False, int(rng.uniform(120, 255)), int(rng.integers(1, 6)), cv2.LINE_AA)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def subject(height: int, width: int) -> np.ndarray:
    """Alpha of a body with a soft outline, in the right half of the frame."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = np.arctan2(y - 0.6 * height, x - 0.62 * width)
    outline = 0.33 * height * (1 + 0.15 * np.sin(5 * angle))
    return np.clip((outline - np.hypot(y - 0.6 * height, x - 0.62 * width)) / 3 + 0.5, 0, 1).astype(np.float32)


def make_case(width: int, height: int, frames: int = 7, largest_radius_px: float | None = None) -> Case:
    """Hair over a subject over a receding ground; the largest radius of the stack is 50 px at 3840 px."""
    largest = largest_radius_px or 50.0 * width / 3840
    near, far = GROUND_M
    inverse = np.linspace(1 / far, 1 / near, height, dtype=np.float32)[:, None].repeat(width, axis=1)
    scene = Scene(
        [
            Layer(texture(height, width, 1), hair(height, width, 4), HAIR_M),
            Layer(texture(height, width, 2), subject(height, width), SUBJECT_M),
            Layer(texture(height, width, 3), np.ones((height, width), np.float32), 1.0 / inverse),
        ]
    )
    lens = ThinLens(50.0, 2.0, 36.0)
    wide_open = lens.blur_radius_px(far, HAIR_M, width)
    lens = ThinLens(50.0, 2.0 * wide_open / largest, 36.0)
    focus = [1.0 / d for d in np.linspace(1 / HAIR_M, 1 / (0.6 * far), frames)]
    return Case(scene=scene, lens=lens, focus_distances_m=focus, width_px=width)


# the definition: every ray through every layer


@njit(cache=True, nogil=True)
def ray_means(planes, radius, slope_y, points, ys, xs, result):  # type: ignore[no-untyped-def]
    """Mean over rays at pixels (ys, xs): `planes` `[L,4,H,W]` nearest first, radius at each pixel `[L,P]`."""
    layers, _, height, width = planes.shape
    rays = points.shape[0]
    for p in range(ys.shape[0]):
        for i in range(rays):
            light = 1.0
            for k in range(layers):
                r = radius[k, p] / (1.0 + slope_y[k] * points[i, 1])
                if abs(r) < INVISIBLE_PX:
                    r = 0.0
                fy = min(max(ys[p] - r * points[i, 1], 0.0), height - 1.0)
                fx = min(max(xs[p] - r * points[i, 0], 0.0), width - 1.0)
                y, x = int(fy), int(fx)
                y2, x2 = min(y + 1, height - 1), min(x + 1, width - 1)
                wy, wx = fy - y, fx - x
                w00, w01, w10, w11 = (1 - wy) * (1 - wx), (1 - wy) * wx, wy * (1 - wx), wy * wx
                plane = planes[k]
                a = w00 * plane[3, y, x] + w01 * plane[3, y, x2] + w10 * plane[3, y2, x] + w11 * plane[3, y2, x2]
                if a > 0.0:
                    for c in range(3):
                        value = w00 * plane[c, y, x] + w01 * plane[c, y, x2]
                        value += w10 * plane[c, y2, x] + w11 * plane[c, y2, x2]
                        result[p, c] += light * value
                    light *= 1.0 - a
                    if light <= 0.0:
                        break
        for c in range(3):
            result[p, c] /= rays


def vogel(count: int) -> np.ndarray:
    """Points spread evenly over the unit disc, float64 `[count,2]`."""
    i = np.arange(count)
    radius, angle = np.sqrt((i + 0.5) / count), i * math.pi * (3.0 - math.sqrt(5.0))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def packed(case: Case) -> np.ndarray:
    """Premultiplied colours and alpha of every layer, `[L,4,H,W]` nearest first."""
    return np.stack(
        [np.dstack([v.colour_linear * v.alpha[..., None], v.alpha]).transpose(2, 0, 1) for v in case.scene.ordered]
    ).astype(np.float32)


def radii_of(case: Case, focus_m: float) -> tuple[list[Any], np.ndarray]:
    """Every layer's radius (a number or a map) and the slope of the radius down the picture."""
    radii = [case.lens.blur_radius_px(v.distance_m, focus_m, case.width_px) for v in case.scene.ordered]
    slopes = [0.0 if np.ndim(r) == 0 else float(r[-1, 0] - r[0, 0]) / (r.shape[0] - 1) for r in radii]
    return radii, np.array(slopes)


def by_rays(case: Case, planes: np.ndarray, focus_m: float, rays: int, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """The aperture integral at pixels, float64 `[P,3]`."""
    radii, slopes = radii_of(case, focus_m)
    at = np.stack([np.full(len(ys), r) if np.ndim(r) == 0 else r[ys, xs] for r in radii]).astype(np.float64)
    result = np.zeros((len(ys), 3))
    ray_means(planes, at, slopes, vogel(rays), ys.astype(np.float64), xs.astype(np.float64), result)
    return result


# the methods


def exact(case: Case) -> Iterator[np.ndarray]:
    """mattingmfif, quality="exact"."""
    return render_stack(case.scene, case.lens, case.focus_distances_m, "exact")


def fast(case: Case) -> Iterator[np.ndarray]:
    """mattingmfif, quality="fast"."""
    return render_stack(case.scene, case.lens, case.focus_distances_m, "fast")


def layered(case: Case, blur: Callable[[np.ndarray, float], np.ndarray]) -> Iterator[np.ndarray]:
    """Each layer blurred by itself and laid over; the ground interpolated between 2-px steps of blur."""
    planes = packed(case)
    for focus_m in case.focus_distances_m:
        image = np.zeros((*case.scene.shape, 3), np.float32)
        light = np.ones(case.scene.shape, np.float32)
        for plane, radius in zip(planes, radii_of(case, focus_m)[0], strict=True):
            if np.ndim(radius) == 0:
                blurred = [blur(p, float(radius)) for p in plane]
            else:
                steps = np.arange(math.floor(radius.min() / 2) * 2, radius.max() + 2, 2.0)
                blurred = [np.zeros_like(p) for p in plane]
                for step in steps:
                    weight = np.clip(1.0 - np.abs(radius - step) / 2.0, 0.0, None).astype(np.float32)
                    for total, p in zip(blurred, plane, strict=True):
                        total += weight * blur(p, float(step))
            for c in range(3):
                image[..., c] += light * blurred[c]
            light *= 1.0 - blurred[3]
        yield image


def by_opencv(case: Case) -> Iterator[np.ndarray]:
    """The layered product with cv2.filter2D."""

    def blur(plane: np.ndarray, radius: float) -> np.ndarray:
        if abs(radius) < INVISIBLE_PX:
            return plane
        kernel = aperture_kernel(Aperture(), radius)
        return cv2.filter2D(plane, cv2.CV_32F, kernel[::-1, ::-1].copy(), borderType=cv2.BORDER_REPLICATE)

    return layered(case, blur)


def by_fft(case: Case) -> Iterator[np.ndarray]:
    """The layered product with scipy.fft, padded by the largest radius."""

    def blur(plane: np.ndarray, radius: float) -> np.ndarray:
        if abs(radius) < INVISIBLE_PX:
            return plane
        kernel = aperture_kernel(Aperture(), radius)
        reach = kernel.shape[0] // 2
        wide = np.pad(plane, reach, mode="edge")
        shape = [scipy.fft.next_fast_len(n, real=True) for n in wide.shape]
        product = scipy.fft.rfft2(wide, shape) * scipy.fft.rfft2(kernel, shape)
        return scipy.fft.irfft2(product, shape)[2 * reach : wide.shape[0], 2 * reach : wide.shape[1]]

    return layered(case, blur)


def sampling(rays: int) -> Callable[[Case], Iterator[np.ndarray]]:
    """Plain aperture sampling of every pixel, compiled by numba."""

    def frames(case: Case) -> Iterator[np.ndarray]:
        planes = packed(case)
        ys, xs = (a.ravel() for a in np.mgrid[: case.scene.shape[0], : case.scene.shape[1]])
        for focus_m in case.focus_distances_m:
            yield by_rays(case, planes, focus_m, rays, ys, xs).reshape(*case.scene.shape, 3).astype(np.float32)

    return frames


def by_blurgenerator(case: Case) -> Iterator[np.ndarray]:
    """BlurGenerator 1.1: the pinhole photo in 8 bit and a map of |radius|, as its users call it."""
    from blurgenerator import lens_blur_with_depth_map

    from mattingmfif.pixels.colour import decode_srgb, encode_srgb

    photo = np.ascontiguousarray(encode_srgb(composite(case.scene))[..., ::-1])
    alphas = [layer.alpha for layer in case.scene.ordered]
    for focus_m in case.focus_distances_m:
        radius = np.zeros(case.scene.shape, np.float32)
        for alpha, r in reversed(list(zip(alphas, radii_of(case, focus_m)[0], strict=True))):
            radius = np.where(alpha > 0.5, np.abs(r), radius)
        most = float(radius.max())
        codes = np.round(radius / most * 255).astype(np.uint8)
        depth = codes[..., None].repeat(3, axis=2)
        blurred = lens_blur_with_depth_map(
            photo, depth, components=5, exposure_gamma=2.2, num_layers=10,
            min_blur=1, max_blur=max(1, round(most)),
        )  # fmt: skip
        codes = np.clip(np.round(blurred), 0, 255).astype(np.uint8)
        yield decode_srgb(np.ascontiguousarray(codes[..., ::-1]))


METHODS: dict[str, Callable[[Case], Iterator[np.ndarray]]] = {
    "mattingmfif exact": exact,
    "mattingmfif fast": fast,
    "layered, OpenCV": by_opencv,
    "layered, scipy FFT": by_fft,
    "32 rays a pixel": sampling(32),
    "128 rays a pixel": sampling(128),
    "BlurGenerator": by_blurgenerator,
}
SLOW = {"32 rays a pixel", "128 rays a pixel", "BlurGenerator", "layered, scipy FFT", "layered, OpenCV"}
