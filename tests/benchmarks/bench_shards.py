"""Crops a second from shards: tiled TIFF cells beside whole-frame PNG cells and Hugging Face `datasets`.

    python tests/benchmarks/bench_shards.py [--samples 2] [--seconds 4] [--workers 2]

A stack crop is the target and seven frames, 512 x 512 px, at one random place of a 3840 x 2160 sample. The photographs
are scikit-image's, enlarged, with a little noise, blurred by growing radii. Page cache warm; every worker is a process.
Prints crops a second of wall time, all workers together, and CPU-milliseconds a crop. The layers' samples have two
subjects with ragged edges, before a receding ground or a wall by turns, radii up to 48 px, and seven focus distances;
`--ways layers` measures these alone. On a busy machine the figure by CPU-seconds is the one that counts.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

CROP, HEIGHT, WIDTH = 512, 2160, 3840


def write(folder: Path, codec: str, count: int) -> float:
    """Write `count` samples and return the CPU-seconds a sample took."""
    from skimage import data

    from mattingmfif.dataset.sample import CameraRecord, LayerRecord, SampleRecord, SourceRecord
    from mattingmfif.dataset.shards import shard_name, write_shard

    def records():
        for k in range(count):
            rng = np.random.default_rng(k)
            photo = cv2.resize((data.coffee(), data.astronaut())[k % 2], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
            target = np.clip(photo + rng.normal(0, 2, photo.shape), 0, 255).astype(np.uint8)
            frames = [target] + [cv2.GaussianBlur(target, (0, 0), 1.5 * i) for i in range(1, 7)]
            flat = np.full((HEIGHT, WIDTH), 255, np.uint8)
            yield SampleRecord(
                sample_id=f"sample-{k}",
                split="train",
                sources=[SourceRecord(path="photo.png", sha256=hashlib.sha256(b"photo").hexdigest())],
                licence="unknown",
                camera=CameraRecord(focal_length_mm=50, f_number=2.8, sensor_width_mm=36, image_width_px=WIDTH),
                layers=[LayerRecord(kind="wall", source=0, near_m=2.0, far_m=2.0)],
                focus_plan="random",
                focus_distance_m=[2.0 + i for i in range(7)],
                all_in_focus=target,
                frames=frames,
                depth_m=np.full((HEIGHT, WIDTH), 2.0, np.float32),
                alphas=[],
                sharpest_frame=flat * 0,
                boundary=flat * 0,
                trust=flat,
                frame_trust=[flat] * 7,
                recipe_hash="0" * 64,
                plan_id="0" * 64,
                toolkit_version="benchmark",
            )

    (folder / "data").mkdir(parents=True)
    cpu = time.process_time()
    made = write_shard(
        folder / "data" / shard_name("train", 0, 1),
        records(),
        codec=codec,
        plan_id="0" * 64,
        recipe_hash="0" * 64,
        toolkit_version="benchmark",
    )
    print(f"{codec}: {made.total_bytes / count / 1e6:.1f} MB a sample")
    return (time.process_time() - cpu) / count


def write_layers(folder: Path, count: int) -> None:
    """Write `count` samples of stored layers: two ragged subjects before a ground or a wall, radii to 48 px."""
    from skimage import data

    from mattingmfif.dataset.layer_store import store_layers
    from mattingmfif.dataset.sample import CameraRecord, LayerRecord, SampleRecord, SourceRecord
    from mattingmfif.dataset.shards import shard_name, write_shard
    from mattingmfif.optics import Layer, Scene, matte_share, mean_light
    from mattingmfif.pixels.colour import decode_srgb

    def records():
        y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
        for k in range(count):
            rng = np.random.default_rng(k)
            layers = []
            for number, distance in enumerate((0.9, 1.6)):
                photo = (data.astronaut(), data.rocket())[number]
                colour = decode_srgb(cv2.resize(photo, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
                away = np.hypot(y - HEIGHT * 0.6, x - WIDTH * (0.3 + 0.35 * number))
                hair = cv2.GaussianBlur(rng.normal(0, 60, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 2)
                codes = np.rint(np.clip((650 - away + hair) / 20, 0, 1) * 65535).astype(np.uint16)
                layers.append(Layer(colour, codes.astype(np.float32) / np.float32(65535), distance))
            colour = decode_srgb(cv2.resize(data.coffee(), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
            down = np.clip(y / HEIGHT - 0.35, 0, 1) / 0.65
            ground = (1 / (0.1 + 1.0 * down)).astype(np.float32)
            layers.append(Layer(colour, np.ones_like(ground), ground if k % 2 == 0 else 10.0))
            scene = Scene(layers)
            ranges = [(float(np.min(item.distance_m)), float(np.max(item.distance_m))) for item in scene.ordered]
            flat = np.zeros((HEIGHT, WIDTH), np.uint8)
            empty = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            yield SampleRecord(
                sample_id=f"layers-{k}",
                split="train",
                sources=[SourceRecord(path="photo.png", sha256=hashlib.sha256(b"photo").hexdigest())],
                licence="unknown",
                camera=CameraRecord(focal_length_mm=50, f_number=2.8, sensor_width_mm=36, image_width_px=WIDTH),
                layers=[
                    LayerRecord(kind="subject" if near == far else "ground", source=0, near_m=near, far_m=far)
                    for near, far in ranges
                ],
                focus_plan="random",
                focus_distance_m=[1 / nearness for nearness in np.linspace(1.1, 0.1, 7)],
                all_in_focus=empty,
                frames=[empty] * 7,
                depth_m=ground,
                alphas=[np.rint(item.alpha * 65535).astype(np.uint16) for item in scene.ordered[:-1]],
                sharpest_frame=flat,
                boundary=flat,
                trust=flat,
                frame_trust=[flat] * 7,
                recipe_hash="0" * 64,
                plan_id="0" * 64,
                toolkit_version="benchmark",
                layer_store=store_layers(
                    scene.ordered,
                    bits=8,
                    margin_px=0,
                    quality="exact",
                    largest_radius_px=100.0,
                    mean_light=mean_light(scene),
                    matte_share=matte_share(scene),
                ),
            )

    (folder / "data").mkdir(parents=True)
    made = write_shard(
        folder / "data" / shard_name("train", 0, 1),
        records(),
        codec="tiff",
        store="layers",
        plan_id="0" * 64,
        recipe_hash="0" * 64,
        toolkit_version="benchmark",
    )
    print(f"layers: {made.total_bytes / count / 1e6:.1f} MB a sample")


def photographed(folder: str, seed: int, seconds: float, quality: str) -> tuple[int, float, float]:
    """Stack crops photographed from stored layers with the stored camera."""
    from mattingmfif import FocalStackDataset
    from mattingmfif.dataset.retake import Retake

    cv2.setNumThreads(1)
    items = iter(
        FocalStackDataset(
            folder,
            crop=CROP,
            frames=7,
            fields=("frames", "target"),
            seed=seed,
            crops_per_sample=1000,
            retake=Retake(quality=quality),
            output="numpy",
        )
    )
    for _ in range(3):  # compiled code and kernels
        next(items)
    return _measure(lambda: next(items), seconds)


def photographed_fast(folder: str, seed: int, seconds: float) -> tuple[int, float, float]:
    """By the layered product."""
    return photographed(folder, seed, seconds, "fast")


def photographed_exact(folder: str, seed: int, seconds: float) -> tuple[int, float, float]:
    """By the aperture integral."""
    return photographed(folder, seed, seconds, "exact")


def crops_from_shards(folder: str, seed: int, seconds: float) -> tuple[int, float, float]:
    """(crops, wall seconds, CPU-seconds) of random stack crops through the reader."""
    from mattingmfif.dataset.reader import open_shards

    cv2.setNumThreads(1)
    samples = list(open_shards(folder))
    rng = np.random.default_rng(seed)

    def crop() -> None:
        sample = samples[int(rng.integers(len(samples)))]
        y, x = int(rng.integers(HEIGHT - CROP + 1)), int(rng.integers(WIDTH - CROP + 1))
        part = sample.crop(y, x, CROP, CROP)
        assert part.frames.shape == (7, CROP, CROP, 3)
        assert part.target.shape == (CROP, CROP, 3)

    return _measure(crop, seconds)


def crops_from_loader(folder: str, seed: int, seconds: float) -> tuple[int, float, float]:
    """The same crops through FocalStackDataset, as arrays."""
    from mattingmfif import FocalStackDataset

    cv2.setNumThreads(1)
    stacks = FocalStackDataset(
        folder, crop=CROP, frames=7, fields=("frames", "target"), seed=seed, crops_per_sample=1000, output="numpy"
    )
    items = iter(stacks)

    def crop() -> None:
        item = next(items)
        assert item["frames"].shape == (7, CROP, CROP, 3)
        assert item["target"].shape == (CROP, CROP, 3)

    return _measure(crop, seconds)


def everything_from_loader(folder: str, seed: int, seconds: float) -> tuple[int, float, float]:
    """The same with depth, blur radii and all masks."""
    from mattingmfif import FocalStackDataset

    cv2.setNumThreads(1)
    items = iter(FocalStackDataset(folder, crop=CROP, frames=7, seed=seed, crops_per_sample=1000, output="numpy"))
    return _measure(lambda: next(items)["blur_radius_px"].shape == (7, CROP, CROP), seconds)


def crops_from_datasets(folder: str, seed: int, seconds: float) -> tuple[int, float, float]:
    """The same crops through `datasets`, which decodes whole frames."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        files = str(Path(folder) / "data" / "*.parquet")
        rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
        rows = rows.select_columns(["all_in_focus", *(f"frame_{k}" for k in range(7))])
        rng = np.random.default_rng(seed)

        def crop() -> None:
            row = rows[int(rng.integers(len(rows)))]
            y, x = int(rng.integers(HEIGHT - CROP + 1)), int(rng.integers(WIDTH - CROP + 1))
            for picture in row.values():
                assert np.asarray(picture)[y : y + CROP, x : x + CROP].shape == (CROP, CROP, 3)

        return _measure(crop, seconds)


def _measure(crop, seconds: float) -> tuple[int, float, float]:
    crop()
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        crop()
        count += 1
    return count, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Write the samples and print one line for each way of reading them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ways", default="", help="only the ways of reading whose name has this in it")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for codec in ("tiff", "png"):
            print(f"{codec}: {write(root / codec, codec, options.samples):.1f} CPU-s to make and write a sample")
        write_layers(root / "layers", options.samples)
        ways = (
            ("tiles, FocalStackDataset", crops_from_loader, "tiff"),
            ("tiles, with depth, blur, masks", everything_from_loader, "tiff"),
            ("tiles, open_shards", crops_from_shards, "tiff"),
            ("layers, photographed fast", photographed_fast, "layers"),
            ("layers, photographed exact", photographed_exact, "layers"),
            ("whole-frame PNG, open_shards", crops_from_shards, "png"),
            ("whole-frame TIFF, datasets", crops_from_datasets, "tiff"),
            ("whole-frame PNG, datasets", crops_from_datasets, "png"),
        )
        for title, work, codec in ways:
            if options.ways not in title:
                continue
            with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
                tasks = [pool.submit(work, str(root / codec), seed, options.seconds) for seed in range(options.workers)]
                done = [task.result() for task in tasks]
            rate = sum(count / wall for count, wall, _ in done)
            cpu_ms = 1000 * sum(cpu for _, _, cpu in done) / max(1, sum(count for count, _, _ in done))
            by_cpu = 1000 * options.workers / cpu_ms
            print(
                f"{title:32s} {rate:7.1f} stack crops/s with {options.workers} workers, {cpu_ms:7.1f} CPU-ms a crop "
                f"({by_cpu:.1f}/s by CPU-seconds)"
            )


if __name__ == "__main__":
    main()
