"""What matting costs and how far it is from the truth, beside pymatting's closed form at full resolution.

    python tests/benchmarks/bench_matting.py                       everything at 3840x2160
    python tests/benchmarks/bench_matting.py --long-side 1280      smaller
    python tests/benchmarks/bench_matting.py --photo P --mattes DIR   on a photo and on mattes of yours

CPU seconds of one thread; MB is the peak of the resident memory, libraries included, of a process that does nothing
else (of a photo's stages: during each, with what earlier ones keep). pymatting solves a photo's trimap before it grows.
SAD is in thousands, MSE in thousandths, gradient in thousands (alphamatting.com, sigma 1.4), over the unknown pixels.
Scenes with a known alpha are composed here; DIR holds *_image.png with *_alpha.png beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from mattingmfif.dataset.threads import one_thread
from mattingmfif.pixels.colour import linear_to_srgb


def compose(kind: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(photo codes uint8, alpha float32): hair 1 to 2 px wide, a soft edge, or glass, with noise of 1.5 codes."""
    rng = np.random.default_rng(len(kind))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    centre_y, centre_x, radius = 0.55 * height, 0.5 * width, 0.27 * height
    distance = np.hypot(y - centre_y, x - centre_x)
    if kind == "hair":
        canvas = np.zeros((2 * height, 2 * width), np.uint8)
        cv2.circle(canvas, (int(2 * centre_x), int(2 * centre_y)), int(2 * radius), 255, -1)
        for _ in range(900):
            angle, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.7)
            steps = np.linspace(0, rng.uniform(0.1, 0.5), 24)
            turned = angle + bend * steps
            points = np.stack(
                [
                    centre_x + radius * (0.97 + steps) * np.cos(turned),
                    centre_y + radius * (0.97 + steps) * np.sin(turned),
                ]
            )
            line = np.round(2 * points.T).astype(np.int32)
            cv2.polylines(canvas, [line], False, 255, int(rng.integers(2, 5)), cv2.LINE_AA)
        alpha = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    elif kind == "soft":
        edge = radius * (1 + 0.12 * np.sin(7 * np.arctan2(y - centre_y, x - centre_x)))
        alpha = cv2.GaussianBlur((distance < edge).astype(np.float32), (0, 0), 5 * width / 3840)
    else:
        inner = np.clip((radius - distance) / (0.02 * height) + 0.5, 0, 1)
        alpha = inner * np.where(distance < 0.8 * radius, 1.0, 0.6).astype(np.float32)

    def texture(cells: int, low: float, high: float) -> np.ndarray:
        out = np.zeros((height, width, 3), np.float32)
        for octave in range(4):
            small = rng.random((max(2, cells * 2**octave * height // width), cells * 2**octave, 3), np.float32)
            out += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) * 0.5**octave
        return np.clip(low + out / 1.9 * (high - low), 0, 1)

    foreground = texture(40, 0.15, 0.8) * np.array([1.0, 0.75, 0.45], np.float32)
    background = texture(24, 0.0, 0.9) * np.array([0.6, 0.9, 1.0], np.float32)
    photo = linear_to_srgb(foreground * alpha[..., None] + background * (1 - alpha[..., None]))
    photo += rng.standard_normal(photo.shape, np.float32) * (1.5 / 255)
    return np.round(np.clip(photo, 0, 1) * 255).astype(np.uint8), alpha.astype(np.float32)


def trimap_of(alpha: np.ndarray) -> np.ndarray:
    """Unknown within 0.3 % of the long side of what is neither 0 nor 1."""
    reach = max(3, round(0.003 * max(alpha.shape)))
    soft = ((alpha > 0.02) & (alpha < 0.98)).astype(np.uint8)
    unknown = cv2.dilate(soft, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))) > 0
    return np.where(unknown, 0.5, alpha > 0.5).astype(np.float32)


def errors(found: np.ndarray, alpha: np.ndarray, band: np.ndarray) -> str:
    """SAD, MSE and gradient error over the band."""

    def slope(plane: np.ndarray) -> np.ndarray:
        smooth = cv2.GaussianBlur(plane, (0, 0), 1.4)
        return np.hypot(
            cv2.Sobel(smooth, cv2.CV_32F, 1, 0, 1, scale=0.5), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, 1, scale=0.5)
        )

    difference = np.abs(found - alpha)[band]
    gradient = ((slope(found.astype(np.float32)) - slope(alpha)) ** 2)[band].sum()
    return f"SAD {difference.sum() / 1e3:8.2f}  MSE {(difference**2).mean() * 1e3:8.3f}  gradient {gradient / 1e3:8.4f}"


def ours(photo: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """This package."""
    from mattingmfif.matting import estimate_alpha

    return estimate_alpha(photo, trimap)


def closed_form(photo: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """pymatting, the whole picture."""
    from pymatting import estimate_alpha_cf

    return np.asarray(estimate_alpha_cf(photo.astype(np.float64), trimap.astype(np.float64)))


def _child(queue: Any, work: Callable[..., Any], warm: Callable[..., Any], *arguments: Any) -> None:
    with one_thread():  # as in a task of `build` or `scan`
        warm()
        start = time.process_time()
        result = work(*arguments)
        seconds = time.process_time() - start
    queue.put((result, seconds, _peak_mb()))


def _peak_mb() -> float:
    """The peak resident memory of this process; getrusage would count that of its parent before it was spawned."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def _forget_peak() -> None:
    """Let the peak be counted from now on (Linux; elsewhere it stays that of the whole process)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def alone(work: Callable[..., Any], warm: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """(result, CPU seconds, peak MB) of `work` in a process of its own, after its imports."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_child, args=(queue, work, warm, *arguments))
    process.start()
    result: tuple[Any, float, float] = queue.get()
    process.join()
    return result


def warm_ours() -> None:
    """Imports and first calls, which every process pays once."""
    from mattingmfif.matting import estimate_alpha

    grey = np.random.default_rng(0).random((64, 64, 3), np.float32)
    trimap = np.full((64, 64), 0.5, np.float32)
    trimap[:4], trimap[-4:] = 0, 1
    estimate_alpha(grey, trimap)
    estimate_alpha(grey, trimap, solve_long_side_px=16, full_solve_long_side_px=0)


def warm_closed_form() -> None:
    """The import compiles."""
    import pymatting  # noqa: F401


Stage = tuple[str, float, float]


def stages(path: str, long_side_px: int) -> tuple[list[Stage], str, np.ndarray | None]:
    """(name, CPU seconds, peak MB) of each stage before the lens, how it ended, and the trimap of all subjects."""
    from mattingmfif.dataset.recipe import load_recipe
    from mattingmfif.errors import Refused
    from mattingmfif.matting import MattingSettings, estimate_layers, find_subjects
    from mattingmfif.matting import layers as layers_module
    from mattingmfif.photo.gates import clean_grain, sharpness_report
    from mattingmfif.photo.images import open_photo
    from mattingmfif.scene.draw import stage_rng
    from mattingmfif.scene.in_place import in_place_shot

    took: list[Stage] = []
    trimap = None
    clock = time.process_time()

    def lap(name: str) -> None:
        nonlocal clock
        took.append((name, time.process_time() - clock, _peak_mb()))
        _forget_peak()
        clock = time.process_time()

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            result = work(*arguments)
            lap(name)
            return result

        return run

    def trimap_kept(*arguments: Any) -> Any:
        nonlocal trimap
        labels = labels_of(*arguments)
        trimap = np.where(labels < 0, 0.5, labels > 0).astype(np.float32)
        lap("trimap")
        return labels

    _forget_peak()
    photo = open_photo(Path(path).parent, Path(path).name, used_long_side_px=long_side_px)
    lap("decode and JPEG grid")
    linear = photo.reduced(long_side_px)
    del photo
    photo_srgb = linear_to_srgb(linear)
    lap("reduce")
    sharpness_report(photo_srgb)
    clean_grain(photo_srgb)
    lap("gates")
    try:
        subjects = find_subjects(photo_srgb, MattingSettings(segmenter="classical"))
        lap("segment")
        labels_of = layers_module.subject_labels
        with (
            patch.object(layers_module, "subject_labels", trimap_kept),
            patch.object(layers_module, "solve_subjects", timed("alpha", layers_module.solve_subjects)),
        ):
            layers = estimate_layers(linear, subjects, photo_srgb=photo_srgb)
        lap("colours and plate")
        del photo_srgb  # nobody needs it any more, in `build` either
        settings = load_recipe("mattingmfif-4k").replaced({"scene.kind": "in-place"}).shot_settings
        in_place_shot(linear, layers, None, settings, partial(stage_rng, 0, path))
        lap("distances")
        return took, f"{len(layers.cutouts)} subjects", trimap
    except Refused as refused:
        lap("up to the refusal")
        return took, str(refused), trimap


def warm_stages() -> None:
    """Imports of all stages."""
    from mattingmfif.matting import Subjects, estimate_layers

    warm_ours()
    grey = np.random.default_rng(0).random((60, 60, 3), np.float32)
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    estimate_layers(grey, Subjects(masks=[mask], segmenter="given", why="", scores=[{}]))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long-side", type=int, default=3840)
    parser.add_argument("--photo", type=Path, nargs="*", default=[])
    parser.add_argument("--mattes", type=Path)
    parser.add_argument("--scenes", nargs="*", default=["hair", "soft", "glass"])
    parser.add_argument("--no-reference", action="store_true", help="leave pymatting out (it takes up to a minute)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    width = options.long_side
    cases = [(kind, compose(kind, round(width * 9 / 16), width)) for kind in options.scenes]
    for file in sorted(options.mattes.glob("*_image.png")) if options.mattes else []:
        alpha = cv2.imread(str(file).replace("_image", "_alpha"), cv2.IMREAD_UNCHANGED)
        alpha = (alpha[..., 0] if alpha.ndim == 3 else alpha).astype(np.float32) / np.iinfo(alpha.dtype).max
        cases.append((file.stem[:18], (cv2.imread(str(file))[..., ::-1], alpha)))
    for name, (codes, alpha) in cases:
        photo = np.ascontiguousarray(codes, np.float32) / np.float32(255)
        trimap = trimap_of(alpha)
        band = trimap == 0.5
        print(f"{name}: {codes.shape[1]}x{codes.shape[0]}, {band.mean():.1%} unknown")
        runs = [("mattingmfif", ours, warm_ours)]
        if not options.no_reference:
            runs.append(("pymatting cf", closed_form, warm_closed_form))
        for label, work, warm in runs:
            found, seconds, peak = alone(work, warm, photo, trimap)
            print(f"  {label:<14}{seconds:7.2f} CPU-s {peak:7.0f} MB   {errors(found, alpha, band)}", flush=True)
    for path in options.photo:
        report_photo(path, options.long_side, not options.no_reference)


def report_photo(path: Path, long_side_px: int, with_reference: bool) -> None:
    """Print the stages of one photograph, and what its alpha takes pymatting."""
    from mattingmfif.photo.images import open_photo

    (took, ending, trimap), seconds, _ = alone(stages, warm_stages, str(path), long_side_px)
    print(f"{path.name}: {ending}")
    for name, stage_seconds, stage_peak in took:
        print(f"  {name:<24}{stage_seconds:7.2f} CPU-s {stage_peak:7.0f} MB")
    peak = max(stage[2] for stage in took)
    print(f"  {'everything before lens':<24}{seconds:7.2f} CPU-s {peak:7.0f} MB", flush=True)
    if with_reference and trimap is not None:
        photo_srgb = linear_to_srgb(open_photo(path.parent, path.name).reduced(long_side_px))
        _, seconds, peak = alone(closed_form, warm_closed_form, photo_srgb, trimap)
        print(f"  {'alpha by pymatting cf':<24}{seconds:7.2f} CPU-s {peak:7.0f} MB", flush=True)


if __name__ == "__main__":
    main()
