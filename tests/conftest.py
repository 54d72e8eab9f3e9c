"""Small real photographs and a small recipe, for every test that runs the whole path."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

# begun in the background (`pytest &`) Ctrl-C is ignored, by every process that the tests start, too
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TINY_RECIPE = """schema = 1
name = "tiny"
[output]
long_side_px = 256
samples_per_shard = 1
preview_long_side_px = 128
[splits]
train = 0.6
val = 0.2
test = 0.2
[gate]
min_long_side_px = 200
[distances]
least_gap_px = 1.0
[lens]
largest_blur_radius_share = 0.02
[focus]
plan = "layers"
frames_max = 3
"""


@pytest.fixture(scope="session")
def sample_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs of scikit-image's wheel as `mattingmfif samples` writes them."""
    from mattingmfif.photo.samples import write_samples

    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder


@pytest.fixture(scope="session")
def small_photos(sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of them, reduced to 256 px, so that a whole build takes seconds."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("astronaut", "camera", "coffee", "rocket"):
        path = next(sample_photos.glob(f"{name}.*"))
        image = cv2.imread(str(path))
        scale = 256 / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{name}.png"), small)
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe for builds of seconds."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return path


class CommandLine:
    """Runs `mattingmfif` as a person would, in a process of its own."""

    def __call__(
        self, *words: object, env: dict[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mattingmfif.cli", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            check=False,
        )

    def start(self, *words: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "mattingmfif.cli", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )


@pytest.fixture(scope="session")
def mattingmfif() -> CommandLine:
    """The command line."""
    return CommandLine()


def _field(number: int, content: int | str | bytes) -> bytes:
    """One field of a protocol buffer: a varint for numbers, length-delimited for the rest."""

    def varint(value: int) -> bytes:
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def _value(name: str, shape: tuple[int | str, ...], kind: int) -> bytes:
    """A ValueInfoProto: a tensor whose dimensions are numbers, or names where they are free."""
    dimensions = b"".join(_field(1, _field(1 if isinstance(size, int) else 2, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dimensions)))


@pytest.fixture(scope="session")
def onnx_mean() -> Any:
    """Makes a real ONNX model of one node, the mean over an axis, as bytes; several names of outputs share it."""

    def make(
        shape_in: tuple[int | str, ...],
        shape_out: tuple[int | str, ...],
        *,
        names: tuple[str, ...] = ("image", "depth"),
        axis: int = 1,
        keepdims: bool = False,
        half: bool = False,
    ) -> bytes:
        kind = 10 if half else 1
        axes = _field(1, "axes") + _field(8, axis) + _field(20, 7)
        keep = _field(1, "keepdims") + _field(3, int(keepdims)) + _field(20, 2)
        graph = b""
        for output in names[1:]:
            mean = _field(1, names[0]) + _field(2, output) + _field(4, "ReduceMean") + _field(5, axes) + _field(5, keep)
            graph += _field(1, mean)
        graph += _field(2, "tiny") + _field(11, _value(names[0], shape_in, kind))
        graph += b"".join(_field(12, _value(output, shape_out, kind)) for output in names[1:])
        return _field(1, 7) + _field(7, graph) + _field(8, _field(2, 11))

    return make
