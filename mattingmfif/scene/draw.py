"""Values that a recipe draws, and the random streams they are drawn from.

A stream belongs to one stage of one sample: its key is made of the build's seed, the sample's own key (which comes from
the content of its sources) and the stage's name. Adding a stage, a photo or a worker therefore shifts no other draw.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from mattingmfif.errors import UserError

Scalar = float | int | str | bool
KINDS = ("value", "uniform", "log_uniform", "choice")


@dataclass(frozen=True)
class Drawn:
    """A recipe value: fixed (`value`), or drawn per sample (`uniform`, `log_uniform` between two bounds; `choice`)."""

    kind: str
    arguments: tuple[Scalar, ...]

    @classmethod
    def fixed(cls, value: Scalar) -> Drawn:
        """A value that is the same in every sample."""
        return cls("value", (value,))

    @classmethod
    def parse(cls, value: object, key: str) -> Drawn:
        """The drawn value that a recipe's TOML value describes; UserError names key, value and what is allowed."""
        if isinstance(value, Drawn):
            return value
        if isinstance(value, bool | int | float | str):
            return cls.fixed(value)
        allowed = "a value, {uniform = [a, b]}, {log_uniform = [a, b]} or {choice = [...]}"
        if not isinstance(value, dict) or len(value) != 1:
            raise UserError(f"{key}: {value!r} is not {allowed}")
        kind, arguments = next(iter(value.items()))
        if kind not in KINDS[1:] or not isinstance(arguments, list) or not arguments:
            raise UserError(f"{key}: {value!r} is not {allowed}")
        if not all(isinstance(item, bool | int | float | str) for item in arguments):
            raise UserError(f"{key}: every item of {arguments!r} must be a number or a word")
        if kind != "choice":
            if len(arguments) != 2 or any(isinstance(item, bool | str) for item in arguments):
                raise UserError(f"{key}: {kind} takes two numbers [a, b], got {arguments!r}")
            low, high = float(arguments[0]), float(arguments[1])
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise UserError(f"{key}: {kind} takes finite bounds a <= b, got {arguments!r}")
            if kind == "log_uniform" and low <= 0:
                raise UserError(f"{key}: log_uniform takes bounds above 0, got {arguments!r}")
        return cls(kind, tuple(arguments))

    def draw(self, rng: np.random.Generator) -> Scalar:
        """One value. A fixed value uses nothing of the stream."""
        if self.kind == "value":
            return self.arguments[0]
        if self.kind == "choice":
            return self.arguments[int(rng.integers(len(self.arguments)))]
        low, high = float(self.arguments[0]), float(self.arguments[1])
        if self.kind == "uniform":
            return float(rng.uniform(low, high))
        return float(math.exp(rng.uniform(math.log(low), math.log(high))))

    def number(self, rng: np.random.Generator) -> float:
        """One value as a float."""
        value = self.draw(rng)
        if isinstance(value, str):
            raise UserError(f"a number is needed, the recipe gives {value!r}")
        return float(value)

    def word(self, rng: np.random.Generator) -> str:
        """One value as a word."""
        return str(self.draw(rng))

    @property
    def possible(self) -> tuple[Scalar, ...]:
        """The values that bound or make up what can be drawn."""
        return self.arguments

    def to_plain(self) -> object:
        """The TOML/JSON form that `parse` reads back."""
        return self.arguments[0] if self.kind == "value" else {self.kind: list(self.arguments)}


def check_numbers(
    drawn: Drawn,
    key: str,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    whole: bool = False,
) -> None:
    """UserError unless every value that can be drawn is a number inside the bounds; names key, value and bounds."""
    limits = [
        text
        for use, text in (
            (above > -math.inf, f"above {above:g}"),
            (least > -math.inf, f"at least {least:g}"),
            (below < math.inf, f"below {below:g}"),
            (most < math.inf, f"at most {most:g}"),
            (whole, "whole"),
        )
        if use
    ]
    for value in drawn.possible:
        good = not isinstance(value, bool | str) and above < value < below and least <= value <= most
        if good and whole:
            good = float(value).is_integer()
        if not good:
            raise UserError(f"{key}: {value!r} is not allowed; it must be a number {' and '.join(limits)}".rstrip())


def check_words(drawn: Drawn, key: str, allowed: tuple[str, ...]) -> None:
    """UserError unless every value that can be drawn is one of `allowed`."""
    for value in drawn.possible:
        if value not in allowed or drawn.kind not in ("value", "choice"):
            raise UserError(f"{key}: {value!r} is not allowed; allowed: {', '.join(allowed)}")


def stage_rng(seed: int, sample_key: str, stage: str) -> np.random.Generator:
    """The random stream of one stage of one sample; equal arguments give equal streams on every machine and worker."""
    digest = hashlib.sha256(f"{sample_key}\n{stage}".encode()).digest()
    words = np.frombuffer(digest, dtype=">u4").astype(np.uint32)
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=tuple(int(word) for word in words))
    return np.random.Generator(np.random.PCG64DXSM(sequence))
