"""A small scene whose frames, maps and record agree with each other, made by plain formulas of its own."""

from __future__ import annotations

import contextlib
import hashlib
import math
import socket
import tracemalloc

import cv2
import numpy as np
import pytest

from mattingmfif.dataset.sample import CameraRecord, LayerRecord, SampleRecord, SourceRecord
from mattingmfif.pixels.colour import decode_srgb, encode_srgb

FOCAL_MM, F_NUMBER, SENSOR_MM = 50.0, 2.8, 36.0


def radius_px(distance_m, focus_m, width_px):
    """Half the textbook's circle of confusion, signed, worked out in millimetres."""
    f, s = FOCAL_MM, focus_m * 1000
    nearness = 0.0 if math.isinf(distance_m) else s / (distance_m * 1000)
    diameter_mm = (f / F_NUMBER) * f / (s - f) * (1 - nearness)
    return diameter_mm / 2 / SENSOR_MM * width_px


def disc(radius):
    """A disc of the given radius by 8 x 8 samples a pixel, summing to 1."""
    reach = math.ceil(radius)
    at = (np.arange((2 * reach + 1) * 8) + 0.5) / 8 - reach - 0.5
    fine = (at[:, None] ** 2 + at[None, :] ** 2 <= radius**2).astype(np.float64)
    kernel = fine.reshape(2 * reach + 1, 8, 2 * reach + 1, 8).mean(axis=(1, 3))
    return kernel / kernel.sum()


def blurred(image, radius):
    if abs(radius) < 0.25:
        return image
    return cv2.filter2D(image, -1, disc(abs(radius)), borderType=cv2.BORDER_REPLICATE)


def make_record(
    *,
    height=96,
    width=129,
    bits=8,
    distances_m=(1.0, 4.0),
    focus_m=(1.0, 4.0),
    seed=0,
    sample_id=None,
    split="train",
    source="photo.jpg",
    licence="CC0-1.0",
    plan_id="p" * 64,
    recipe_hash="r" * 64,
    pictures=None,
):
    """A textured disc (or, with one distance, nothing) in front of a textured wall, photographed at `focus_m`.

    `pictures`, uint8 `[H,W,3]` and nearest first, take the place of the textures.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    colours, alphas = [], []
    for k in range(len(distances_m)):
        texture = cv2.blur(rng.integers(0, 256, (height, width, 3)).astype(np.uint8), (3, 3))
        colours.append(decode_srgb(texture if pictures is None else pictures[k]))
        if k < len(distances_m) - 1:
            middle_y, middle_x = height * (0.4 + 0.1 * k), width * (0.4 + 0.15 * k)
            radius = min(height, width) * (0.22 + 0.05 * k)
            soft = np.clip(radius + 0.5 - np.hypot(y - middle_y, x - middle_x), 0, 1)
            alphas.append(np.rint(soft * 65535).astype(np.uint16))
    mattes = [code.astype(np.float32) / 65535 for code in alphas] + [np.ones((height, width), np.float32)]

    def photograph(radii):
        light, seen = np.zeros((height, width, 3)), np.ones((height, width, 1))
        reached = np.zeros((height, width), bool)
        for colour, matte, radius in zip(colours, mattes, radii, strict=True):
            spread = blurred(matte, radius)
            light += seen * blurred(colour * matte[..., None], radius)
            seen = seen * (1 - spread[..., None])
            reached |= (spread > 0.02) & (spread < 0.98)
        return encode_srgb(light.astype(np.float32), bits=bits), reached

    target, boundary = photograph([0.0] * len(mattes))
    frames = []
    for focus in focus_m:
        frame, reached = photograph([radius_px(z, focus, width) for z in distances_m])
        frames.append(frame)
        boundary |= reached
    weights, rest = [], np.ones((height, width))
    for matte in mattes:
        weights.append(rest * matte)
        rest = rest * (1 - matte)
    seen_most = np.argmax(weights, axis=0)
    depth_m = np.asarray(distances_m, np.float32)[seen_most]
    table = np.array([[abs(radius_px(z, focus, width)) for z in distances_m] for focus in focus_m])
    best = np.where(table.min(axis=0) <= 0.5, table.argmin(axis=0), 255).astype(np.uint8)
    trust = np.full((height, width), 255, np.uint8)
    return SampleRecord(
        sample_id=sample_id or f"sample-{seed:04d}",
        split=split,
        sources=[
            SourceRecord(
                path=source,
                sha256=hashlib.sha256(source.encode()).hexdigest(),
                licence=licence,
                author="Ann Other",
                url="https://example.org/photo",
            )
        ],
        licence=licence,
        camera=CameraRecord(
            focal_length_mm=FOCAL_MM,
            f_number=F_NUMBER,
            sensor_width_mm=SENSOR_MM,
            image_width_px=width,
            aperture={"rotation_deg": 7.0},
            draws={"seed_key": [1, seed]},
        ),
        layers=[
            LayerRecord(
                kind="cutout" if k < len(alphas) else "plate", source=0, near_m=z, far_m=z, scores={"matte": 0.9}
            )
            for k, z in enumerate(distances_m)
        ],
        focus_plan="layers",
        focus_distance_m=list(focus_m),
        all_in_focus=target,
        frames=frames,
        depth_m=depth_m,
        alphas=alphas,
        sharpest_frame=best[seen_most],
        boundary=boundary.astype(np.uint8) * 255,
        trust=trust,
        frame_trust=[trust.copy() for _ in focus_m],
        recipe_hash=recipe_hash,
        plan_id=plan_id,
        toolkit_version="0.1.0",
    )


@pytest.fixture(scope="session")
def peak_bytes():
    """`with peak_bytes() as peak: …` and then `peak()` is the most memory that the block held at once."""

    @contextlib.contextmanager
    def measure():
        tracemalloc.start()
        found = []
        try:
            yield lambda: found[0]
        finally:
            found.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    return measure


@pytest.fixture(name="make_record", scope="session")
def _make_record():
    """`make_record(**changes)` of this file."""
    return make_record


@pytest.fixture(scope="session")
def put_shard():
    """`put_shard(folder, [records], name=…, **options)` writes a shard of the records' own plan and recipe."""
    from mattingmfif.dataset.shards import write_shard

    def put(folder, records, name="train-00000-of-00001.parquet", codec="tiff", **options):
        (folder / "data").mkdir(parents=True, exist_ok=True)
        first = records[0] if records else None
        return write_shard(
            folder / "data" / name,
            iter(records),
            codec=codec,
            plan_id=first.plan_id if first else "p" * 64,
            recipe_hash=first.recipe_hash if first else "r" * 64,
            toolkit_version="0.1.0",
            bits=first.bits if first else 8,
            **options,
        )

    return put


@pytest.fixture(scope="session")
def s3():
    """A local S3 server; gives `address(path)` for a bucket on it."""
    moto = pytest.importorskip("moto.server", reason="moto (extra `test`) is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port)
    server.start()
    options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"

    def address(path):
        return f"s3://key:secret@shelf/{path}?{options}"

    from mattingmfif.dataset import files

    system, _ = files.remote(address(""))
    system.create_dir("shelf")
    yield address
    server.stop()


@pytest.fixture(scope="session")
def contents():
    """`contents(out)`: the bytes of every file of a dataset, by name, but those of `run.jsonl`, which holds times."""

    def read(out):
        files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "run.jsonl")
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}

    return read


@pytest.fixture(scope="session")
def built(small_photos, tiny_recipe, mattingmfif, tmp_path_factory):
    """The four small photographs, built by one worker without a disturbance."""
    out = tmp_path_factory.mktemp("built") / "shards"
    done = mattingmfif("build", "--src", small_photos, "--out", out, "--recipe", tiny_recipe, "--jobs", 1)
    assert done.returncode == 0, done.stderr
    return out
