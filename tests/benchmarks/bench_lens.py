"""What a focus stack costs and how true it is, beside what one would write or install instead.

    python tests/benchmarks/bench_lens.py                     one 3840x2160 scene, seven frames, with the peers
    python tests/benchmarks/bench_lens.py --width 1280        smaller
    python tests/benchmarks/bench_lens.py --growth            cost by picture size, frames and radius
    python tests/benchmarks/bench_lens.py --processes         throughput of two processes beside one

Each method runs in a process of its own, on one thread: median CPU seconds of the stack over the repeats, and peak
memory above what the process held with the scene loaded. dB: peak 1.0, linear light, against the aperture integral of
2,048 rays, at sampled pixels of the whole frame ("all") and of the band where a blurred matte is neither 0 nor 1
("edges"). Needs `pip install blurgenerator` for that row.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import multiprocessing
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from lens_methods import METHODS, SLOW, Case, by_rays, exact, make_case, packed, radii_of
from threadpoolctl import threadpool_limits

from mattingmfif.optics.aperture import Aperture
from mattingmfif.optics.psf import aperture_kernel


class PeakMemory:
    """The peak resident memory of this process while the block runs, above what it held before."""

    def __enter__(self) -> PeakMemory:
        Path("/proc/self/clear_refs").write_text("5")  # resets the kernel's high-water mark
        self.before = self._status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.peak_mb = self._status("VmHWM") - self.before

    @staticmethod
    def _status(key: str) -> float:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
        return float("nan")


def one_thread() -> None:
    """Keep every library to one thread."""
    cv2.setNumThreads(1)
    threadpool_limits(1)


def _child(queue: Any, name: str, size: tuple[int, int], frames: int, radius: float | None, keep: Any, repeats: int):
    one_thread()
    for _ in METHODS[name](make_case(128, 96, 2)):  # compiles
        pass
    case = make_case(*size, frames, radius)
    taken, peaks, values = [], [], []
    for repeat in range(repeats):
        with PeakMemory() as memory:
            start = time.process_time()
            for number, frame in enumerate(METHODS[name](case)):
                if keep is not None and repeat == 0:
                    ys, xs = keep[number]
                    values.append(frame[ys, xs].astype(np.float64))
                del frame
            taken.append(time.process_time() - start)
        peaks.append(memory.peak_mb)
    queue.put((statistics.median(taken), max(peaks), values))


def alone(
    name: str, size: tuple[int, int], frames: int, radius: float | None = None, keep: Any = None, repeats: int = 1
) -> tuple[float, float, list[np.ndarray]]:
    """(median CPU seconds, peak MB, values at the kept pixels) of a method in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_child, args=(queue, name, size, frames, radius, keep, repeats))
    process.start()
    result: tuple[float, float, list[np.ndarray]] = queue.get()
    process.join()
    return result


def sampled_pixels(case: Case, each: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    """For every frame, `each` random pixels anywhere and `each` in the edge band, and which are which."""
    rng = np.random.default_rng(0)
    height, width = case.scene.shape
    margin = math.ceil(max(np.abs(np.concatenate([np.ravel(r) for r in radii_of(case, s)[0]])).max()
                           for s in case.focus_distances_m)) + 2  # fmt: skip
    pixels, edges = [], []
    for focus_m in case.focus_distances_m:
        band = np.zeros((height, width), bool)
        for layer, radius in zip(case.scene.ordered[:-1], radii_of(case, focus_m)[0], strict=False):
            kernel = aperture_kernel(Aperture(), radius)
            alpha = cv2.filter2D(layer.alpha, -1, kernel, borderType=cv2.BORDER_REPLICATE)
            band |= (alpha > 0.02) & (alpha < 0.98)
        inner = np.zeros_like(band)
        inner[margin : height - margin, margin : width - margin] = True
        ys, xs = np.nonzero(band & inner)
        pick = rng.choice(len(ys), min(each, len(ys)), replace=False)
        y_all = rng.integers(margin, height - margin, each)
        x_all = rng.integers(margin, width - margin, each)
        pixels.append((np.concatenate([ys[pick], y_all]), np.concatenate([xs[pick], x_all])))
        edges.append(np.arange(len(pick) + each) < len(pick))
    return pixels, edges


def decibels(differences: list[np.ndarray]) -> float:
    """Peak 1.0."""
    return float(-10 * np.log10(np.mean(np.concatenate(differences) ** 2) + 1e-30))


def compare(size: tuple[int, int], names: list[str], repeats: int, each: int) -> None:
    """Print the table of methods on the one scene."""
    case = make_case(*size)
    pixels, edges = sampled_pixels(case, each)
    planes = packed(case)
    truth = [
        by_rays(case, planes, focus_m, 2048, ys, xs)
        for focus_m, (ys, xs) in zip(case.focus_distances_m, pixels, strict=True)
    ]
    arrays_mb = sum(
        v.colour_linear.nbytes + v.alpha.nbytes + np.asarray(v.distance_m).nbytes for v in case.scene.layers
    )
    del planes
    print(f"{size[0]}x{size[1]}, 3 layers ({arrays_mb / 2**20:.0f} MB of arrays), {len(truth)} frames, one thread")
    print(f"{'':<20}{'CPU-s':>8}{'MB':>8}{'dB all':>9}{'dB edges':>10}")
    for name in names:
        if name == "BlurGenerator" and importlib.util.find_spec("blurgenerator") is None:
            print(f"{name:<20}  not installed (pip install blurgenerator)")
            continue
        seconds, peak, values = alone(name, size, len(truth), None, pixels, 1 if name in SLOW else repeats)
        off = [v - t for v, t in zip(values, truth, strict=True)]
        near = [d[e] for d, e in zip(off, edges, strict=True)]
        rest = [d[~e] for d, e in zip(off, edges, strict=True)]
        print(f"{name:<20}{seconds:8.2f}{peak:8.0f}{decibels(rest):9.1f}{decibels(near):10.1f}", flush=True)


def growth(repeats: int) -> None:
    """Print how the cost grows with pixels, frames and radius."""
    print(f"{'':<34}{'exact CPU-s':>12}{'MB':>7}{'fast CPU-s':>12}{'MB':>7}")

    def row(label: str, size: tuple[int, int], frames: int, radius: float | None) -> None:
        cells = []
        for name in ("mattingmfif exact", "mattingmfif fast"):
            seconds, peak, _ = alone(name, size, frames, radius, None, repeats)
            cells.append(f"{seconds:12.2f}{peak:7.0f}")
        print(f"{label:<34}" + "".join(cells), flush=True)

    for width in (512, 1024, 2048, 3840, 7680):
        row(f"{width}x{width * 9 // 16}, 3 frames", (width, width * 9 // 16), 3, None)
    for frames in (1, 2, 4, 7):
        row(f"1920x1080, {frames} frames", (1920, 1080), frames, 25.0)
    for radius in (2.0, 8.0, 30.0, 60.0, 120.0):
        row(f"1920x1080, 3 frames, radius {radius:g} px", (1920, 1080), 3, radius)


def _worker(start: Any, size: tuple[int, int]) -> None:
    one_thread()
    case = make_case(*size, 3)
    for _ in exact(make_case(128, 96, 2)):
        pass
    start.wait()
    for _ in exact(case):
        pass


def processes(size: tuple[int, int]) -> None:
    """Print the throughput of two processes beside that of one."""
    context = multiprocessing.get_context("spawn")
    taken = {}
    for count in (1, 2):
        start = context.Barrier(count + 1)
        workers = [context.Process(target=_worker, args=(start, size)) for _ in range(count)]
        for worker in workers:
            worker.start()
        start.wait()
        clock = time.monotonic()
        for worker in workers:
            worker.join()
        taken[count] = time.monotonic() - clock
    print(f"one process {taken[1]:.1f} s, two {taken[2]:.1f} s: throughput times {2 * taken[1] / taken[2]:.2f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=3840)
    parser.add_argument("--only", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=20000, help="sampled pixels a frame and region")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--processes", action="store_true")
    options = parser.parse_args()
    one_thread()
    size = (options.width, options.width * 9 // 16)
    if options.growth:
        growth(options.repeats)
    elif options.processes:
        processes(size)
    else:
        compare(size, options.only, options.repeats, options.pixels)


if __name__ == "__main__":
    main()
