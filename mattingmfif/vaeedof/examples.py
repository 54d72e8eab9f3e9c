"""What a training sees: crops of `FocalStackDataset` with frames dropped, turned, shifted, made noisy.

    examples = Examples("out/", recipe.data, recipe.losses, crop_px=128, seed=0)
    draw = examples[step * batch + place]        numbers go on for ever: through epoch after epoch

Where a crop lies, which frames it keeps, sensor noise and exposure drift are the public loader's; turning, shifting
and the two examples that it cannot know (a frame that is sharp everywhere, alone or among others) are added here. An
example is a function of (seed, number), so a training that is resumed sees what an undisturbed one would have seen.
"""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader

from mattingmfif.dataset.crops import SensorDraw, sensed
from mattingmfif.dataset.loader import FocalStackDataset, Item
from mattingmfif.dataset.sample import NO_FRAME
from mattingmfif.dataset.torch_loader import calm_worker
from mattingmfif.vaeedof.settings import DataSettings, LossSettings
from mattingmfif.vaeedof.stacks import Codes, Float32, degraded, to_picture

FIELDS = ("frames", "target", "boundary", "sharpest_frame", "trust")


@dataclass(frozen=True, kw_only=True, eq=False)
class Draw:
    """One training example, padded to frames_most frames."""

    pictures: Float32  # [N,3,h,w] -1..1
    present: npt.NDArray[np.bool_]  # [N]
    target: Float32  # [3,h,w] -1..1
    weight: Float32  # [h,w] what an error costs there, before normalisation


class Examples:
    """The training examples of a split, by number; can be sent to another process.

    UserError where no sample of the split is as large as the crop or has frames enough.
    """

    def __init__(
        self,
        dataset: str | Path,
        settings: DataSettings,
        losses: LossSettings,
        *,
        crop_px: int,
        seed: int,
        split: str = "train",
    ) -> None:
        self.settings, self.losses, self.seed = settings, losses, seed
        self.remade = settings.degrade != "physical"
        self.sensor = SensorDraw(
            iso=(settings.iso_least, settings.iso_most), exposure_drift_ev=settings.exposure_drift_ev
        )
        options: dict[str, Any] = {
            "crop": crop_px,
            "frames": (settings.frames_least, settings.frames_most),
            "split": split,
            "fields": (*FIELDS, "blur_radius_px") if self.remade else FIELDS,
            "seed": seed,
            "pad_frames": False,
            "shuffle_frames": True,
            "drop_share": settings.drop_probability,
            "boundary_share": settings.boundary_probability,
            "output": "numpy",
        }
        self.clean = FocalStackDataset(dataset, **options)
        # frames that are remade from the target get their noise after that
        noisy = not (self.sensor.changes_nothing or self.remade)
        self.noisy = FocalStackDataset(dataset, **options, sensor=self.sensor) if noisy else self.clean
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None  # of the epoch asked for last

    def __getitem__(self, number: int) -> Draw:
        """The example of that number, from 0."""
        epoch, position = divmod(number, len(self.clean))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self.clean.order(epoch)
        index = int(self._order[1][position])
        s, rng = self.settings, np.random.default_rng([self.seed, number, 0xE8])
        luck, disturbed = rng.random(), rng.random() < s.disturb_probability
        alone, among = luck < s.single_probability, luck < s.single_probability + s.whole_probability
        item = (self.noisy if disturbed and not among else self.clean)[epoch, index]
        frames, target = item["frames"], item["target"]
        boundary, gap = item["boundary"], item["sharpest_frame"] == NO_FRAME
        if self.remade:
            frames = self._remade(item, disturbed and not among, rng)
        if among:  # without noise, which the target put among them would not have
            frames = target[None] if alone else np.concatenate([target[None], frames[1:]])
            boundary = gap = np.zeros_like(boundary)
        weight = 1 + self.losses.boundary_weight * boundary + self.losses.gap_weight * gap
        weight = weight * (self.losses.untrusted_weight + (1 - self.losses.untrusted_weight) * item["trust"])
        pictures, aim = to_picture(frames), to_picture(target)
        if s.flip:
            turn, mirror = int(rng.integers(4)), bool(rng.integers(2))
            pictures, aim, weight = (
                np.rot90(a, turn, (-2, -1))[..., :: -1 if mirror else 1] for a in (pictures, aim, weight)
            )
        if s.swap_colours:
            order = rng.permutation(3)
            pictures, aim = pictures[:, order], aim[order]
        pictures = np.ascontiguousarray(pictures)
        if disturbed and s.shift_px > 0:
            shift(pictures, s.shift_px, rng)
        count = len(pictures)
        padded = np.zeros((s.frames_most, *pictures.shape[1:]), np.float32)
        padded[:count] = pictures
        return Draw(
            pictures=padded,
            present=np.arange(s.frames_most) < count,
            target=np.ascontiguousarray(aim),
            weight=np.ascontiguousarray(weight, np.float32),
        )

    def _remade(self, item: Item, disturbed: bool, rng: np.random.Generator) -> Codes:
        frames = degraded(item["target"], item["blur_radius_px"], self.settings.degrade)
        if disturbed and not self.sensor.changes_nothing:
            sensors = self.sensor.drawn(len(frames), 8 * frames.dtype.itemsize, rng)
            frames = np.stack([sensed(frame, sensor, rng) for frame, sensor in zip(frames, sensors, strict=True)])
        return frames

    def identity(self) -> str:
        """sha256 over the names and pixel hashes of the samples that are learnt from."""
        digest = hashlib.sha256()
        for number in self.clean.numbers:
            sample = self.clean.catalogue.sample(int(number))
            digest.update(json.dumps([sample.sample_id, sample.pixel_sha256], sort_keys=True).encode())
        return digest.hexdigest()


def shift(pictures: Float32, most_px: float, rng: np.random.Generator) -> None:
    """Move all pictures `[N,3,h,w]` but one, which stays with the target, by up to `most_px` in y and x, in place."""
    reference = int(rng.integers(len(pictures)))
    for i, picture in enumerate(pictures):
        dy, dx = rng.uniform(-most_px, most_px, 2)
        if i != reference:
            matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float64)
            size = picture.shape[2], picture.shape[1]
            for channel in picture:
                channel[:] = cv2.warpAffine(channel, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def batches(examples: Examples, batch: int, first: int, last: int, workers: int = 0) -> Iterator[list[Draw]]:
    """The examples of steps `first` to `last`, `batch` a step; which they are does not depend on `workers`.

    `workers` processes make them ahead (started by spawn: a script that trains needs `if __name__ == "__main__":`).
    """
    if last <= first:
        return iter(())
    keys = [list(range(step * batch, (step + 1) * batch)) for step in range(first, last)]
    loader: Any = DataLoader(
        examples,  # type: ignore[arg-type]
        batch_sampler=keys,
        collate_fn=list,
        num_workers=workers,
        worker_init_fn=calm_worker,
        multiprocessing_context="spawn" if workers else None,
    )
    if not workers or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    # Ctrl-C reaches the whole group of processes: workers that begin deaf to it print no tracebacks, and are ended.
    # Ignored, not blocked: multiprocessing unblocks it while it begins
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return iter(loader)
    finally:
        signal.signal(signal.SIGINT, heard)
