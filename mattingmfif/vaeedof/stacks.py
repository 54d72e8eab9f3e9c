"""Stacks to learn from and to judge by: windows of samples, from shards or from memory, drawn and disturbed by rule.

A draw is a function of (seed, stage, step, place in the batch) and nothing else, so a training that is resumed sees
what an undisturbed one would have seen. Arrays: frames and target are uint8 or uint16 sRGB codes; `pictures` are the
same as float32 `[N,3,h,w]` scaled to -1..1, which is what the network takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.reader import Shards, open_shards
from mattingmfif.errors import UserError
from mattingmfif.vaeedof.settings import DataSettings

Codes = npt.NDArray[Any]
Float32 = npt.NDArray[Any]
Bool = npt.NDArray[np.bool_]
Window = tuple[int, int, int, int]  # y, x, height, width

NO_FRAME = 255
GRID_PX = 16  # boundary and gap are looked up on this grid when a crop's place is drawn


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """A stack or a window of one, with its truth."""

    frames: Codes  # [N,h,w,3]
    target: Codes  # [h,w,3]
    boundary: Bool  # [h,w] where some frame's blur reaches from a matte edge
    sharpest_frame: npt.NDArray[np.uint8]  # [h,w], NO_FRAME in the gap
    trust: Float32  # [h,w] 0..1, share of photographed light in the target
    blur_radius_px: Float32 | None = None  # [N,h,w] signed; only where asked for

    @property
    def gap(self) -> Bool:
        """[h,w] sharp in no frame."""
        return self.sharpest_frame == NO_FRAME


class StackSource(Protocol):
    """Where stacks come from: indexable, windows at will."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """A name that identifies the sample."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """(height, width)."""
        ...

    def stack(self, index: int, window: Window | None = None, with_blur: bool = False) -> Stack:
        """The sample, or the window (y, x, height, width) of it."""
        ...


class MemoryStacks:
    """Stacks held in memory."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.stacks = list(stacks)

    def __len__(self) -> int:
        return len(self.stacks)

    def name(self, index: int) -> str:
        """Its number."""
        return f"{index:04d}"

    def size(self, index: int) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.stacks[index].target.shape[:2]
        return height, width

    def stack(self, index: int, window: Window | None = None, with_blur: bool = False) -> Stack:
        """The stack or a window of it."""
        whole = self.stacks[index]
        if window is None:
            return whole
        y, x, h, w = window
        rows, columns = slice(y, y + h), slice(x, x + w)
        return Stack(
            frames=whole.frames[:, rows, columns],
            target=whole.target[rows, columns],
            boundary=whole.boundary[rows, columns],
            sharpest_frame=whole.sharpest_frame[rows, columns],
            trust=whole.trust[rows, columns],
            blur_radius_px=None if whole.blur_radius_px is None else whole.blur_radius_px[:, rows, columns],
        )


class ShardStacks:
    """The samples of a built dataset's split, windows read tile by tile."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    def __len__(self) -> int:
        return len(self.shards)

    def name(self, index: int) -> str:
        """The sample's id."""
        sample_id: str = self.shards[index].sample_id
        return sample_id

    def size(self, index: int) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.shards[index].size
        return int(height), int(width)

    def stack(self, index: int, window: Window | None = None, with_blur: bool = False) -> Stack:
        """The sample or a window of it."""
        sample = self.shards[index]
        if window is not None:
            sample = sample.crop(*window)
        return Stack(
            frames=sample.frames,
            target=sample.target,
            boundary=sample.boundary,
            sharpest_frame=sample.sharpest_frame,
            trust=sample.trust,
            blur_radius_px=np.stack([sample.blur_radius_px(i) for i in range(sample.n_frames)]) if with_blur else None,
        )


def open_stacks(dataset: str | Path, split: str) -> ShardStacks:
    """The stacks of a split of a dataset made by `mattingmfif build`; UserError if there is none."""
    return ShardStacks(open_shards(dataset, split))


@dataclass(frozen=True, kw_only=True, eq=False)
class Draw:
    """One training example, padded to frames_most frames."""

    pictures: Float32  # [N,3,h,w] -1..1
    present: Bool  # [N]
    target: Float32  # [3,h,w] -1..1
    weight: Float32  # [h,w] what an error costs there, before normalisation


def to_picture(codes: Codes) -> Float32:
    """Codes `[...,h,w,3]` as float32 `[...,3,h,w]` in -1..1."""
    peak = np.float32(np.iinfo(codes.dtype).max)
    return np.ascontiguousarray(np.moveaxis(codes.astype(np.float32) / peak * 2 - 1, -1, -3))


def to_codes(picture: Float32, dtype: Any) -> Codes:
    """The nearest codes `[h,w,3]` of a picture `[3,h,w]`, clipped."""
    peak = np.float32(np.iinfo(dtype).max)
    scaled = (np.clip(np.moveaxis(picture, 0, -1), -1, 1) + 1) / 2 * peak
    codes: Codes = (scaled + np.float32(0.5)).astype(dtype)
    return codes


class Places:
    """Where crops are cut: anywhere, or around boundary and gap pixels, looked up once a sample on a coarse grid."""

    def __init__(self, source: StackSource) -> None:
        self.source = source
        self._marked: dict[int, npt.NDArray[np.int64]] = {}

    def _marks(self, index: int) -> npt.NDArray[np.int64]:
        if index not in self._marked:
            whole = self.source.stack(index)
            wanted = (whole.boundary | whole.gap)[::GRID_PX, ::GRID_PX]
            self._marked[index] = np.argwhere(wanted) * GRID_PX
        return self._marked[index]

    def window(self, index: int, crop_px: int, marked: bool, rng: np.random.Generator) -> Window:
        """A window of crop_px inside the sample; UserError if the sample is smaller."""
        height, width = self.source.size(index)
        if min(height, width) < crop_px:
            raise UserError(f"{self.source.name(index)}: {height} x {width} px is smaller than crop_px = {crop_px}")
        y, x = int(rng.integers(height - crop_px + 1)), int(rng.integers(width - crop_px + 1))
        marks = self._marks(index) if marked else np.zeros((0, 2), np.int64)
        if len(marks):
            centre = marks[int(rng.integers(len(marks)))] + rng.integers(-crop_px // 4, crop_px // 4 + 1, 2)
            y = int(np.clip(centre[0] - crop_px // 2, 0, height - crop_px))
            x = int(np.clip(centre[1] - crop_px // 2, 0, width - crop_px))
        return y, x, crop_px, crop_px


def degraded(stack: Stack, kind: str) -> Stack:
    """The stack with frames remade from target and blur radii, by a model that the physical one is compared with.

    hard-mask: the target's pixels where the frame is sharp (|radius| <= 0.5 px), elsewhere the target blurred as a
    whole by one Gaussian in sRGB, sigma half the frame's median radius. gaussian-srgb: the same, the mask blurred too.
    """
    if kind == "physical":
        return stack
    if stack.blur_radius_px is None:
        raise ValueError("degrading needs the stack's blur radii")
    frames = np.empty_like(stack.frames)
    target = stack.target.astype(np.float32)
    for i, radius in enumerate(np.abs(stack.blur_radius_px)):
        soft = radius > 0.5
        sigma = float(np.clip(np.median(radius[soft]) / 2, 0.5, 50)) if soft.any() else 0.5
        blurred = cv2.GaussianBlur(target, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        mask = soft.astype(np.float32)
        if kind == "gaussian-srgb":
            mask = cv2.GaussianBlur(mask, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        frames[i] = np.floor(target + mask[..., None] * (blurred - target) + 0.5)
    return replace(stack, frames=frames)


def _keep(stack: Stack, kept: npt.NDArray[np.int64]) -> Stack:
    """The stack with only some frames, in that order; pixels whose sharpest frame went become gap."""
    renumbered = np.full(256, NO_FRAME, np.uint8)
    renumbered[kept] = np.arange(len(kept))
    return replace(
        stack, frames=stack.frames[kept], sharpest_frame=renumbered[stack.sharpest_frame], blur_radius_px=None
    )


def _sharp_everywhere(stack: Stack, frames: Codes, index: int) -> Stack:
    """The stack with these frames, of which number `index` is the target: no gap, no boundary."""
    sharp = np.full_like(stack.sharpest_frame, index)
    return replace(stack, frames=frames, sharpest_frame=sharp, boundary=np.zeros_like(stack.boundary))


def _disturbed(pictures: Float32, settings: DataSettings, rng: np.random.Generator) -> Float32:
    """Sensor noise on all frames, and a shift of all but one, which stays with the target."""
    reference = int(rng.integers(len(pictures)))
    if settings.shift_px > 0:
        for i in range(len(pictures)):
            dy, dx = rng.uniform(-settings.shift_px, settings.shift_px, 2)
            if i != reference:
                matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float64)
                size = pictures.shape[3], pictures.shape[2]
                for channel in pictures[i]:
                    channel[:] = cv2.warpAffine(
                        channel, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
                    )
    if settings.noise_sigma > 0:
        sigma = np.float32(rng.uniform(0, 2 * settings.noise_sigma))  # pictures span 2, not 1
        pictures += rng.standard_normal(pictures.shape, dtype=np.float32) * sigma
    return pictures


def draw_example(
    places: Places,
    settings: DataSettings,
    weights: tuple[float, float, float],
    crop_px: int,
    key: Sequence[int],
) -> Draw:
    """The training example of `key` (seed, stage, step, place in batch); weights: boundary, gap, untrusted."""
    rng = np.random.default_rng(list(key))
    source = places.source
    index = int(rng.integers(len(source)))
    window = places.window(index, crop_px, rng.random() < settings.boundary_probability, rng)
    stack = degraded(source.stack(index, window, settings.degrade != "physical"), settings.degrade)
    order = rng.permutation(len(stack.frames))
    least = min(settings.frames_least, len(order))
    count = min(len(order), settings.frames_most)
    if rng.random() < settings.drop_probability:
        count = int(rng.integers(least, count + 1))
    stack = _keep(stack, order[:count])
    luck = rng.random()
    if luck < settings.single_probability:
        stack = _sharp_everywhere(stack, stack.target[None], 0)
    elif luck < settings.single_probability + settings.whole_probability:
        stack = _sharp_everywhere(stack, np.concatenate([stack.target[None], stack.frames[1:]]), 0)
    boundary_weight, gap_weight, untrusted_weight = weights
    weight = 1 + boundary_weight * stack.boundary + gap_weight * stack.gap
    weight = weight * (untrusted_weight + (1 - untrusted_weight) * stack.trust)
    pictures, target = to_picture(stack.frames), to_picture(stack.target)
    if settings.flip:
        turn, mirror = int(rng.integers(4)), bool(rng.integers(2))
        pictures, target, weight = (
            np.rot90(a, turn, (-2, -1))[..., :: -1 if mirror else 1] for a in (pictures, target, weight)
        )
    pictures = np.ascontiguousarray(pictures)
    if rng.random() < settings.disturb_probability:
        pictures = _disturbed(pictures, settings, rng)
    count = len(pictures)
    padded = np.zeros((settings.frames_most, *pictures.shape[1:]), np.float32)
    padded[:count] = pictures
    return Draw(
        pictures=padded,
        present=np.arange(settings.frames_most) < count,
        target=np.ascontiguousarray(target),
        weight=np.ascontiguousarray(weight, np.float32),
    )
