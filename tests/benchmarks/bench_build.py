"""What a build costs: two workers beside one, and a photograph's share of 10, 100 and 1,000 photographs.

    python tests/benchmarks/bench_build.py [--sizes 10,100,1000] [--jobs-photos 24]

The photographs are scikit-image's, cut, turned and mixed at 96 px, all different; scenes are grounds without a subject,
rendered `fast`, so that what is not rendering (scanning, planning, writing, indexing) weighs as much as it can. Every
build is a process of its own. Prints wall and CPU-seconds (parent and workers) a photograph, the parent's peak memory,
and for `--jobs 1` and `--jobs 2` the throughput of builds at 640 px with subjects, rendered `exact`. On a busy machine
the CPU-seconds say more.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

RECIPE = """schema = 1
name = "bench"
[output]
long_side_px = {side}
samples_per_shard = {per_shard}
preview_long_side_px = 64
[gate]
min_long_side_px = 64
min_short_side_px = 32
max_soft_share = 1.0
max_grain_codes = 200.0
[matting]
segmenter = "{segmenter}"
[scene]
without_subject = "ground"
[distances]
least_gap_px = 0.5
[lens]
quality = "{quality}"
largest_blur_radius_share = 0.02
[focus]
plan = "layers"
frames_max = 2
"""


def write_photos(folder: Path, count: int, side: int) -> None:
    """`count` different photographs of `side` x 2/3 `side` px."""
    from skimage import data

    folder.mkdir(parents=True)
    rng = np.random.default_rng(count)
    sources = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    for number in range(count):
        source = sources[number % len(sources)]
        height, width = source.shape[:2]
        size = int(rng.integers(200, min(height, width)))
        y, x = rng.integers(0, height - size + 1), rng.integers(0, width - size + 1)
        piece = np.rot90(source[y : y + size, x : x + size], int(rng.integers(4)))
        other = sources[int(rng.integers(len(sources)))][:size, :size]
        other = cv2.resize(np.ascontiguousarray(other), (size, size))
        mixed = cv2.addWeighted(np.ascontiguousarray(piece), 0.7, other, 0.3, 0.0)
        cv2.imwrite(str(folder / f"{number:05d}.png"), cv2.resize(mixed, (side, side * 2 // 3)))


def build(src: Path, out: Path, recipe: Path, jobs: int) -> tuple[float, float, float, dict[str, float]]:
    """Wall seconds, CPU-seconds of all processes, peak MB of the parent, and the last row of run.jsonl."""
    words = [sys.executable, "-m", "mattingmfif.cli", "build", "--src", src, "--out", out, "--recipe", recipe]
    code = (
        "import resource, subprocess, sys; from mattingmfif.cli import main\n"
        "import atexit\n"
        "atexit.register(lambda: print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))\n"
        f"sys.argv = ['mattingmfif'] + {[str(word) for word in words[3:]]!r} + ['--jobs', '{jobs}']\n"
        "main()\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = next(int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("peak ")) / 1024
    return wall, cpu, peak, json.loads((out / "run.jsonl").read_text().splitlines()[-1])


def main() -> None:
    """Print the two tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", default="10,100,1000")
    options.add_argument("--jobs-photos", type=int, default=16)
    given = options.parse_args()
    load = os.getloadavg()[0]
    print(f"load of the machine at the start {load:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        recipe = root / "bench.toml"
        recipe.write_text(RECIPE.format(side=96, per_shard=4, quality="fast", segmenter="given"))
        print("\nphotographs  samples  wall s/photo  CPU s/photo  of it workers'  parent MB  worker MB")
        for count in (int(word) for word in given.sizes.split(",") if word):
            write_photos(root / f"photos{count}", count, 96)
            wall, cpu, peak, row = build(root / f"photos{count}", root / f"out{count}", recipe, 2)
            print(
                f"{count:11d}  {row['samples']:7.0f}  {wall / count:12.3f}  {cpu / count:11.3f}"
                f"  {row['cpu_s'] / count:14.3f}  {peak:9.0f}  {row['peak_bytes'] / 1e6:9.0f}",
                flush=True,
            )
        recipe.write_text(RECIPE.format(side=640, per_shard=1, quality="exact", segmenter="classical"))
        write_photos(root / "photos", given.jobs_photos, 640)
        print("\njobs  samples  wall s  CPU s  samples a wall minute  samples a CPU minute")
        for jobs in (1, 2):
            wall, cpu, _, row = build(root / "photos", root / f"jobs{jobs}", recipe, jobs)
            made = row["samples"]
            print(
                f"{jobs:4d}  {made:7.0f}  {wall:6.1f}  {cpu:5.1f}  {60 * made / wall:21.1f}  {60 * made / cpu:20.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
