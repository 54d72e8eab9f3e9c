"""Photographs the reference scenes with Mitsuba 3's thin lens and path tracer; writes mitsuba.npz beside this file.

    pip install mitsuba && python tests/references/make_mitsuba.py [NAME ...]

An optional development check: the test suite only reads the file. Mitsuba knows nothing of this package's optics: each
layer is a textured, partly transparent plane (or a mesh, one vertex a pixel) in space that emits its premultiplied
colour and lets the rest pass by chance; the lens is Mitsuba's `thinlens`, whose rays are asked for at pixel centres.
Only the scene's inside is traced, the frame less the largest blur radius. Two independent halves give the noise floor.
The LLVM variant is used; where its library is not found, point DRJIT_LIBLLVM_PATH to libLLVM.so (16 or newer).
"""

from __future__ import annotations

import math
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np

mi.set_variant("llvm_ad_rgb")

HERE = Path(__file__).resolve().parent
DEFINITIONS = runpy.run_path(str(HERE.parent / "optics" / "conftest.py"))
FOCUS_M = DEFINITIONS["FOCUS_M"]
RAYS_AT_ONCE = 1 << 23
WANTED_NOISE_DB = 62.5
MOST_PASSES = 60


def local_to_world() -> Any:
    """The camera looks along +z of the world; in Mitsuba +x of the world is then the left of the picture."""
    return mi.ScalarTransform4f().look_at(origin=[0, 0, 0], target=[0, 0, 1], up=[0, 1, 0])


def sheet(distance_m: Any, px_per_tangent: float, height: int, width: int, margin_px: int) -> Any:
    """A surface that covers the frame and a margin, with texture coordinates of the frame: one vertex a pixel."""
    ys = np.arange(-margin_px, height + margin_px, dtype=np.float64)
    xs = np.arange(-margin_px, width + margin_px, dtype=np.float64)
    if np.ndim(distance_m) == 0:  # flat: four corners do
        ys, xs = ys[[0, -1]], xs[[0, -1]]
        depth = np.full((2, 2), float(distance_m))
    else:
        rows = np.clip(ys, 0, height - 1).astype(int)
        columns = np.clip(xs, 0, width - 1).astype(int)
        depth = np.asarray(distance_m, np.float64)[np.ix_(rows, columns)]
    x, y = np.meshgrid(xs, ys)
    corners = np.stack(
        [
            -(x - (width - 1) / 2) / px_per_tangent * depth,
            -(y - (height - 1) / 2) / px_per_tangent * depth,
            depth,
        ],
        axis=-1,
    ).reshape(-1, 3)
    places = np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=-1).reshape(-1, 2)
    rows, columns = depth.shape
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate(  # turned towards the camera: only that side shines
        [
            np.stack([first, first + columns, first + 1], axis=1),
            np.stack([first + 1, first + columns, first + columns + 1], axis=1),
        ]
    )
    return corners, places, faces


def textured(values: np.ndarray) -> dict[str, Any]:
    """A bilinear texture of the frame; outside it the edge pixel repeats."""
    planes = values if values.ndim == 3 else values[..., None]
    return {
        "type": "bitmap",
        "data": mi.TensorXf(np.ascontiguousarray(planes, np.float32)),
        "raw": True,
        "filter_type": "bilinear",
        "wrap_mode": "clamp",
    }


def layer_shape(layer: Any, px_per_tangent: float, shape: tuple[int, int], margin_px: int) -> Any:
    """The layer as an emitter behind a mask."""
    corners, places, faces = sheet(layer.distance_m, px_per_tangent, *shape, margin_px)
    bsdf: dict[str, Any] = {
        "type": "conductor",
        "material": "none",
        "specular_reflectance": {"type": "rgb", "value": 0.0},
    }
    if layer.alpha.min() < 1.0:
        bsdf = {"type": "mask", "opacity": textured(layer.alpha), "inner": bsdf}
    emitter = {"type": "area", "radiance": textured(layer.colour_linear * layer.alpha[..., None])}
    properties = mi.Properties()
    properties["bsdf"], properties["emitter"] = mi.load_dict(bsdf), mi.load_dict(emitter)
    mesh = mi.Mesh("layer", len(corners), len(faces), has_vertex_texcoords=True, props=properties)
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = corners.astype(np.float32).ravel()
    parameters["vertex_texcoords"] = places.astype(np.float32).ravel()
    parameters["faces"] = faces.astype(np.uint32).ravel()
    parameters.update()
    return mesh


def camera(lens: Any, shape: tuple[int, int]) -> Any:
    """Mitsuba's thin lens, focused at FOCUS_M, with the field of view of that focus."""
    height, width = shape
    image_distance_mm = 1.0 / (1.0 / lens.focal_length_mm - 1.0 / (FOCUS_M * 1000.0))
    return mi.load_dict(
        {
            "type": "thinlens",
            "fov": math.degrees(2.0 * math.atan(lens.sensor_width_mm / 2.0 / image_distance_mm)),
            "fov_axis": "x",
            "aperture_radius": lens.focal_length_mm / lens.f_number / 2.0 / 1000.0,
            "focus_distance": FOCUS_M,
            "near_clip": 1e-3,
            "far_clip": 1e4,
            "to_world": local_to_world(),
            "film": {"type": "hdrfilm", "width": width, "height": height},
        }
    )


def opening(aperture: Any, first: Any, second: Any) -> Any:
    """Two numbers in 0..1 that Mitsuba's concentric map sends to a point of the opening, spread evenly over it."""
    if not aperture.blades:
        return mi.Point2f(first, second)
    n = aperture.blades  # a fan of triangles between neighbouring corners, x right and y down as the photographer sees
    scaled = first * n
    blade = dr.floor(scaled)
    root, along = dr.sqrt(scaled - blade), second
    start = math.radians(aperture.rotation_deg) + blade * (2.0 * math.pi / n)
    end = start + 2.0 * math.pi / n
    x = root * ((1.0 - along) * dr.cos(start) + along * dr.cos(end))
    y = root * ((1.0 - along) * dr.sin(start) + along * dr.sin(end))
    return mi.warp.uniform_disk_to_square_concentric(mi.Point2f(-x, -y))  # the camera's x is left, its y up


class Photographer:
    """Mitsuba's view of a scene, less `margin` px on each side, traced pass by pass."""

    def __init__(self, scene: Any, lens: Any, margin: int) -> None:
        height, width = scene.shape
        image_distance_mm = 1.0 / (1.0 / lens.focal_length_mm - 1.0 / (FOCUS_M * 1000.0))
        px_per_tangent = image_distance_mm / lens.sensor_width_mm * width
        world: dict[str, Any] = {"type": "scene"}
        for number, layer in enumerate(scene.layers):
            world[f"layer{number}"] = layer_shape(layer, px_per_tangent, scene.shape, 2 * margin + 8)
        self.world, self.sensor, self.aperture = mi.load_dict(world), camera(lens, scene.shape), lens.aperture
        self.integrator = mi.load_dict({"type": "path", "max_depth": len(scene.layers) + 2, "rr_depth": 100})
        self.rows, self.columns = height - 2 * margin, width - 2 * margin
        self.rays = RAYS_AT_ONCE // (self.rows * self.columns)
        index = dr.arange(mi.UInt32, self.rows * self.columns * self.rays)
        self.pixel, self.ray = index // self.rays, index % self.rays
        row, column = self.pixel // self.columns + margin, self.pixel % self.columns + margin
        self.place = mi.Point2f((mi.Float(column) + 0.5) / width, (mi.Float(row) + 0.5) / height)

    def one_pass(self, seed: int) -> np.ndarray:
        """The mean over `rays` rays a pixel, float64 [h,w,3]."""
        count = self.rows * self.columns
        chances, shifts = mi.load_dict({"type": "independent"}), mi.load_dict({"type": "independent"})
        chances.seed(2 * seed, count * self.rays)
        shifts.seed(2 * seed + 1, count)
        # a rank-1 sequence over the rays of a pixel, shifted by chance for each pixel
        first = (mi.Float(self.ray) + dr.gather(mi.Float, shifts.next_1d(), self.pixel)) / self.rays
        golden = mi.Float(self.ray * mi.UInt32(2654435769)) * 2.0**-32
        second = golden + dr.gather(mi.Float, shifts.next_1d(), self.pixel)
        points = opening(self.aperture, dr.minimum(first, 1.0 - 1e-7), second - dr.floor(second))
        beam, _ = self.sensor.sample_ray(0.0, 0.5, self.place, points)
        light, _, _ = self.integrator.sample(self.world, chances, mi.RayDifferential3f(beam))
        sums = [np.asarray(dr.block_sum(light[channel], self.rays), np.float64) for channel in range(3)]
        return np.stack(sums, axis=-1).reshape(self.rows, self.columns, 3) / self.rays


def photograph(scene: Any, lens: Any, margin: int) -> tuple[np.ndarray, float]:
    """The picture, and its noise in dB from the disagreement of two independent halves."""
    photographer = Photographer(scene, lens, margin)
    first, second = (np.zeros((photographer.rows, photographer.columns, 3)) for _ in range(2))
    noise_db = 0.0
    for number in range(1, MOST_PASSES + 1):
        first += photographer.one_pass(2 * number)
        second += photographer.one_pass(2 * number + 1)
        noise_db = -10.0 * math.log10(float(np.mean((first - second) ** 2)) / (4.0 * number**2))
        if noise_db >= WANTED_NOISE_DB:
            break
    return 0.5 * (first + second) / number, noise_db


def main(names: list[str]) -> None:
    path = HERE / "mitsuba.npz"
    stored = dict(np.load(path)) if path.exists() else {}
    for name in names or DEFINITIONS["REFERENCE_SCENES"]:
        scene, lens, margin = DEFINITIONS["reference_scene"](name)
        began = time.perf_counter()
        mean, noise_db = photograph(scene, lens, margin)
        most = float(mean.max())
        stored[f"{name}.codes"] = np.rint(mean / most * 65535.0).astype(np.uint16)
        stored[f"{name}.scale"] = np.float64(most / 65535.0)
        stored[f"{name}.noise_db"] = np.float64(noise_db)
        stored[f"{name}.scene"] = DEFINITIONS["fingerprint"](scene)
        print(
            f"{name}: {mean.shape[1]}x{mean.shape[0]} px, noise {noise_db:.1f} dB, {time.perf_counter() - began:.0f} s"
        )
        np.savez_compressed(path, **stored)


if __name__ == "__main__":
    main(sys.argv[1:])
