"""`audit OUT`: can anything but focus tell which frame is sharp where? Measured on the shards; nothing is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mattingmfif.dataset.agreement import MARKED_SHARE, POSITION_PX, TONE_CODES
from mattingmfif.dataset.describe import spread_choice
from mattingmfif.dataset.leaks import (
    BORDER_SHARE,
    CHECKS,
    EQUAL_TILES,
    GRID_SHARE,
    NOISE_CODES,
    RESAMPLING_SHARE,
    measure,
)
from mattingmfif.dataset.reader import open_shards


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Something in a sample that gives focus away."""

    sample: str
    check: str
    detail: str

    def __str__(self) -> str:
        return f"{self.check}: {self.sample}: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """The leaks, and for each check how many samples could say something and the largest figure seen."""

    samples: int
    leaks: tuple[Leak, ...]
    looked: dict[str, int]
    worst: dict[str, float]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.leaks

    def lines(self) -> list[str]:
        """The leaks, one a line, then a line for each check with its largest figure and the threshold."""
        allowed = {
            "noise": f"{NOISE_CODES:g} codes",
            "grid": f"{GRID_SHARE:g}",
            "resampling": f"{RESAMPLING_SHARE:g}",
            "borders": f"{BORDER_SHARE:g}",
            "equal-frames": f"{EQUAL_TILES - 1} tile",
            "tone": f"{TONE_CODES:g} codes",
            "position": f"{POSITION_PX:g} px",
            "marks": f"{MARKED_SHARE:g}",
        }
        return [str(leak) for leak in self.leaks] + [
            f"{check}: {self.looked[check]} of {self.samples} samples can be judged, "
            f"largest figure {self.worst[check]:.3g}, allowed {allowed[check]}"
            for check in CHECKS
        ]


def audit_folder(out: Path, samples: int = 50, on_sample: Callable[[int, int], None] | None = None) -> AuditReport:
    """Look for leaks in at most `samples` samples of the dataset folder `out`, picked by the hash of their ids."""
    shards = open_shards(out)
    chosen = spread_choice(shards, samples)
    leaks: list[Leak] = []
    looked, worst = dict.fromkeys(CHECKS, 0), dict.fromkeys(CHECKS, 0.0)
    for done, index in enumerate(chosen, start=1):
        sample = shards[index]
        for check, figure in measure(sample).items():
            looked[check] += 1
            worst[check] = max(worst[check], figure.value)
            leaks += [Leak(sample=sample.sample_id, check=check, detail=detail) for detail in figure.details]
        if on_sample is not None:
            on_sample(done, len(chosen))
    return AuditReport(samples=len(chosen), leaks=tuple(leaks), looked=looked, worst=worst)
