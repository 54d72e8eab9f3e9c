"""How a dataset is distributed: blur, depth, coverage, boundary, gap, sharpest frame, lens; measured on some samples.

Pixels are looked at on every `STEP_PX`-th row and column of the maps of at most `samples` samples, picked by the hash
of their ids. Every distribution sums to 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.describe import spread_choice
from mattingmfif.dataset.reader import Sample, Shards
from mattingmfif.dataset.sample import MAX_FRAMES, NO_FRAME

STEP_PX = 4
SAMPLES = 200

_BLUR_PX = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, np.inf)
_DEPTH_M = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, np.inf)
_SHARES = tuple(k / 10 for k in range(11))


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One distribution: what it is of, and its classes with their shares (0..1)."""

    title: str
    of: str
    labels: tuple[str, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Stats:
    """The distributions of a dataset, and on how many of its samples they were measured."""

    samples: int
    measured: int
    frames: int
    distributions: tuple[Distribution, ...]


class _Pixels:
    """Counts over pixels of many samples, every sample with the same weight."""

    def __init__(self) -> None:
        self.blur = np.zeros(len(_BLUR_PX) - 1)
        self.depth = np.zeros(len(_DEPTH_M) - 1)
        self.sharpest = np.zeros(MAX_FRAMES + 1)

    def add(self, sample: Sample) -> None:
        depth_m = sample.depth_m[::STEP_PX, ::STEP_PX]
        self.depth += _shares_of(depth_m, _DEPTH_M)
        from mattingmfif.dataset.camera import radius_px

        radii = [np.abs(radius_px(sample.camera, depth_m, s)) for s in sample.focus_distance_m]
        self.blur += _shares_of(np.stack(radii), _BLUR_PX)
        index = sample.sharpest_frame[::STEP_PX, ::STEP_PX]
        for k in range(MAX_FRAMES):
            self.sharpest[k] += (index == k).mean()
        self.sharpest[MAX_FRAMES] += (index == NO_FRAME).mean()


def measure(shards: Shards, samples: int = SAMPLES, on_sample: Callable[[int, int], None] | None = None) -> Stats:
    """The distributions of the samples of `shards`; UserError for a damaged one."""
    chosen = spread_choice(shards, samples)
    pixels = _Pixels()
    coverage, boundary, gap, trusted, blurred = [], [], [], [], []
    for done, index in enumerate(chosen, start=1):
        sample = shards[index]
        pixels.add(sample)
        coverage.append(_covered(sample))
        boundary.append(float(sample.boundary.mean()))
        gap.append(float((sample.sharpest_frame == NO_FRAME).mean()))
        trusted.append(float((sample.trust == 1).mean()))
        blurred.append(max(np.abs(sample.blur_radius_px(k)).max() for k in range(sample.n_frames)))
        if on_sample is not None:
            on_sample(done, len(chosen))
    everything = [
        (
            s.n_frames,
            len(s.layers),
            s.focus_plan,
            _f_stop(s.camera.f_number),
            s.camera.focal_length_mm,
            s.split,
            s.licence,
        )
        for s in shards
    ]
    whole, of_samples = "of the pixels of all frames", "of the samples"
    frame_labels = (*(f"frame {k}" for k in range(MAX_FRAMES)), "none (gap)")
    distributions = (
        _binned("Blur radius", whole, _BLUR_PX, pixels.blur, "px"),
        _binned("Largest blur radius of a sample", of_samples, _BLUR_PX, _counts(blurred, _BLUR_PX), "px"),
        _binned("Depth", "of the pixels", _DEPTH_M, pixels.depth, "m"),
        Distribution(title="Sharpest frame", of="of the pixels", labels=frame_labels, shares=_normal(pixels.sharpest)),
        _by_share("Covered by subjects", coverage),
        _by_share("Boundary", boundary),
        _by_share("Gap: sharp in no frame", gap),
        _by_share("Target wholly photographed", trusted),
        _counted("Frames a stack", Counter(item[0] for item in everything)),
        _counted("Layers a scene", Counter(item[1] for item in everything)),
        _counted("Focus plan", Counter(item[2] for item in everything)),
        _counted("f-number", Counter(item[3] for item in everything)),
        _counted("Focal length", Counter(f"{item[4]:g} mm" for item in everything)),
        _counted("Split", Counter(item[5] for item in everything)),
        _counted("Licence", Counter(item[6] for item in everything)),
    )
    return Stats(
        samples=len(shards),
        measured=len(chosen),
        frames=sum(item[0] for item in everything),
        distributions=distributions,
    )


def as_text(stats: Stats, width: int = 32) -> str:
    """The distributions as lines of text with bars."""
    lines = [f"{stats.samples} samples, {stats.frames} frames; pixels measured on {stats.measured} samples"]
    for item in stats.distributions:
        lines += ["", f"{item.title} ({item.of})"]
        room = max(len(label) for label in item.labels)
        most = max(item.shares) or 1.0
        for label, share in zip(item.labels, item.shares, strict=True):
            bar = "#" * round(width * share / most)
            lines.append(f"  {label:<{room}}  {100 * share:5.1f} %  {bar}".rstrip())
    return "\n".join(lines) + "\n"


def _covered(sample: Sample) -> float:
    """Share of the picture's light that comes from subjects rather than from the background."""
    through = np.ones(tuple(-(-side // STEP_PX) for side in sample.size), np.float32)
    for alpha in sample.alphas:
        through *= 1 - alpha[::STEP_PX, ::STEP_PX]
    return float(1 - through.mean())


def _shares_of(values: npt.NDArray[Any], edges: Sequence[float]) -> npt.NDArray[np.float64]:
    # searchsorted, because a histogram knows no infinite values
    place = np.searchsorted(np.asarray(edges[1:-1]), values.reshape(-1), side="right")
    return np.bincount(place, minlength=len(edges) - 1) / values.size


def _counts(values: Sequence[float], edges: Sequence[float]) -> npt.NDArray[np.float64]:
    return _shares_of(np.asarray(values, np.float64), edges) if values else np.zeros(len(edges) - 1)


def _normal(values: npt.NDArray[Any]) -> tuple[float, ...]:
    total = float(values.sum())
    return tuple(float(value) / total if total else 0.0 for value in values)


def _binned(title: str, of: str, edges: Sequence[float], values: npt.NDArray[Any], unit: str) -> Distribution:
    labels = []
    for low, high in pairwise(edges):
        labels.append(f"{low:g} {unit} and more" if np.isinf(high) else f"{low:g} to {high:g} {unit}")
    return Distribution(title=title, of=of, labels=tuple(labels), shares=_normal(values))


def _by_share(title: str, shares: Sequence[float]) -> Distribution:
    labels = tuple(f"{100 * low:.0f} to {100 * high:.0f} %" for low, high in pairwise(_SHARES))
    counts = _counts(shares, _SHARES)
    return Distribution(
        title=title, of="of the samples, by share of their pixels", labels=labels, shares=_normal(counts)
    )


def _counted(title: str, counts: Mapping[Any, int]) -> Distribution:
    def place(key: Hashable) -> tuple[int, float, str]:
        number = str(key).split()[0].removeprefix("f/")
        return (0, float(number), "") if number.replace(".", "", 1).isdigit() else (1, 0.0, str(key))

    keys = sorted(counts, key=place)
    total = sum(counts.values())
    return Distribution(
        title=title,
        of="of the samples",
        labels=tuple(str(key) for key in keys),
        shares=tuple(counts[key] / total for key in keys),
    )


def _f_stop(f_number: float) -> str:
    """The full stop nearest to an f-number."""
    stop = 2.0 ** (round(2 * np.log2(f_number)) / 2)
    nominal = {1.4: 1.4, 2.8: 2.8, 5.7: 5.6, 11.3: 11, 22.6: 22, 45.3: 45}
    return f"f/{nominal.get(round(stop, 1), round(stop, 1)):g}"
