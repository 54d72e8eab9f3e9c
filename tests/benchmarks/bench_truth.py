"""How far `exact` and `fast` are from the aperture integral on thirty scenes whose layers interact all over the frame.

    python tests/benchmarks/bench_truth.py

Hair, crossing fences and veils out of focus before a wall, two or three layers, radii 0.3 to 60 px on both sides of
focus, round and polygonal apertures. The integral is taken with 16,000 rays at 2,500 random pixels; dB: peak 1.0,
linear light, the frame less the largest radius.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SETTINGS: list[tuple[tuple[float, ...], dict[str, Any]]] = [
    ((-13.0, 9.0), {}),
    ((-8.0, -4.0, 11.0), {}),
    ((-0.8, -0.5, 0.3), {}),
    ((-14.0, -6.0, 10.0), {"blades": 3, "rotation_deg": 20.0}),
    ((-60.0, -30.0, 20.0), {}),
    ((-35.0, 50.0), {}),
    ((-3.0, -1.5, 2.0), {}),
    ((-20.0, -2.0, 14.0), {"blades": 5}),
    ((5.0, 12.0, 30.0), {}),
    ((-24.0, 0.0, 24.0), {}),
]


def loaded(path: Path) -> Any:
    """The module at `path`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Print a line a scene, and the least and mean."""
    from mattingmfif.optics import Aperture, render

    bench, methods = loaded(HERE / "bench_lens.py"), loaded(HERE / "lens_methods.py")
    scenes = loaded(HERE.parent / "optics" / "conftest.py")
    bench.one_thread()
    found = []
    for kind in ("hair", "fence", "veil"):
        for radii, shape in SETTINGS:
            aperture, margin = Aperture(**shape), math.ceil(max(map(abs, radii)))
            height, width = (192, 224) if margin > 20 else (96, 128)
            lens, distances = scenes.lens_and_distances(radii, width, aperture)
            scene = scenes.interacting_scene(kind, distances, height, width)
            rng = np.random.default_rng(1)
            ys, xs = rng.integers(margin, height - margin, 2500), rng.integers(margin, width - margin, 2500)
            planes = np.stack(
                [
                    np.dstack([layer.colour_linear * layer.alpha[..., None], layer.alpha]).transpose(2, 0, 1)
                    for layer in scene.ordered
                ]
            ).astype(np.float32)
            at = [
                np.full(len(ys), lens.blur_radius_px(layer.distance_m, scenes.FOCUS_M, width))
                for layer in scene.ordered
            ]
            truth, flat = np.zeros((len(ys), 3)), np.zeros(len(scene.ordered))
            rays = scenes.plain_points(aperture, 16000)
            methods.ray_means(planes, np.stack(at), flat, rays, ys.astype(float), xs.astype(float), truth)
            pair = [
                bench.decibels([render(scene, lens, scenes.FOCUS_M, quality)[ys, xs] - truth])
                for quality in ("exact", "fast")
            ]
            print(f"{kind:<6}{radii!s:<24}exact {pair[0]:6.1f} dB   fast {pair[1]:6.1f} dB", flush=True)
            found.append(pair)
    least, mean = np.min(found, axis=0), np.mean(found, axis=0)
    print(f"exact: least {least[0]:.1f}, mean {mean[0]:.1f} dB; fast: least {least[1]:.1f}, mean {mean[1]:.1f} dB")


if __name__ == "__main__":
    main()
