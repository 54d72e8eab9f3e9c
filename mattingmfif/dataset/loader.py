"""Random crops of focal stacks for training: map-style, aligned over frames, target and maps, tile by tile.

    stacks = FocalStackDataset("out", crop=512, frames=(2, 7), split="train", seed=1)
    item = stacks[0]           a dict of arrays; torch tensors where PyTorch is installed, or as `output` says
    item["frames"]             [7,3,512,512] codes, absent frames 0; `item["present"]` says which are there
    item["target"]             [3,512,512]

An item is a function of (seed, epoch, index): the worker that makes it, and the order, change nothing. `for item in
stacks` runs through one epoch in a shuffled order; `state_dict()` at any moment resumes after the last item given.
Numpy arrays have the colour channels last (`[N,h,w,3]`), tensors first (`[N,3,h,w]`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.camera import lens_of
from mattingmfif.dataset.catalogue import Catalogue
from mattingmfif.dataset.crops import GRID_PX, Codes, SensorDraw, draw_frames, draw_window, sensed
from mattingmfif.dataset.sample import MAX_FRAMES, NO_FRAME
from mattingmfif.dataset.stack_window import Facts, Taking, facts_of, padded, stack_window
from mattingmfif.errors import UserError
from mattingmfif.pixels.colour import decode_srgb

if TYPE_CHECKING:
    from mattingmfif.dataset.retake import Retake

#: what an item may hold beside `present`, `focus_distance_m`, `frame_number`, `window`, `sample_id` and `index`
FIELDS = (
    "frames",
    "target",
    "depth_m",
    "dioptres",
    "blur_radius_px",
    "sharpest_frame",
    "boundary",
    "trust",
    "frame_trust",
    "alphas",
)
DEFAULT_FIELDS = ("frames", "target", "depth_m", "blur_radius_px", "sharpest_frame", "boundary", "trust")
VALUES = ("codes", "srgb", "linear")
OUTPUTS = ("auto", "numpy", "torch")
_MOST_FACTS = 1 << 14

Item = dict[str, Any]
Key = int | tuple[int, int]


class FocalStackDataset:
    """Crops of the samples of a dataset, by index; see the module for what an item holds.

    `out` a folder, a shard file, or an address such as s3://bucket/folder; `split` None takes all of them.
    `crop` side in px, (height, width), or None for whole samples; samples that are smaller are left out.
    `frames` (least, most) or one number: how many frames an item has; samples with fewer than the least are left out.
    `drop_share` of the items have that number drawn evenly, the others have as many frames as they can.
    `fields` which of FIELDS are read and given. `pad_frames` fills up to the most frames with zeros.
    `shuffle_frames` gives frames in a drawn order instead of nearest focus first.
    `boundary_share` of the crops lie around a pixel of a matte edge's blur or of the gap.
    `values` "codes" (uint8 or uint16 as stored), "srgb" (float32 0..1) or "linear" (float32 linear light).
    `sensor` a SensorDraw of noise and exposure drift to add to the frames, or "recorded" for the noise the recipe drew.
    `retake` a Retake: another camera for every item, of datasets built with `--store layers`, whose items are
    photographed as they are asked for.
    `output` "numpy", "torch" or, for torch where it is installed, "auto".
    UserError for an impossible value, and where no sample fits.
    """

    def __init__(
        self,
        out: str | Path,
        crop: int | tuple[int, int] | None = 512,
        frames: int | tuple[int, int] = (2, MAX_FRAMES),
        *,
        split: str | None = None,
        fields: Sequence[str] = DEFAULT_FIELDS,
        crops_per_sample: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        pad_frames: bool = True,
        shuffle_frames: bool = False,
        drop_share: float = 1.0,
        boundary_share: float = 0.0,
        values: str = "codes",
        sensor: SensorDraw | str | None = None,
        retake: Retake | None = None,
        output: str = "auto",
    ) -> None:
        self.crop = _crop_size(crop)
        self.frames_least, self.frames_most = _frame_range(frames)
        self.fields = _chosen(fields, FIELDS, "fields")
        (self.values,) = _chosen([values], VALUES, "values")
        (chosen,) = _chosen([output], OUTPUTS, "output")
        has_torch = find_spec("torch") is not None
        if chosen == "torch" and not has_torch:
            raise UserError('output: "torch" needs PyTorch; install it with: pip install "mattingmfif[train]"')
        self.output = ("torch" if has_torch else "numpy") if chosen == "auto" else chosen
        if crops_per_sample < 1 or seed < 0:
            raise UserError(f"crops_per_sample: {crops_per_sample}, seed: {seed}; allowed: from 1, from 0")
        for name, share in (("boundary_share", boundary_share), ("drop_share", drop_share)):
            if not 0 <= share <= 1:
                raise UserError(f"{name}: {share}; allowed: 0 to 1")
        self.crops_per_sample, self.seed, self.shuffle = crops_per_sample, seed, shuffle
        self.pad_frames, self.shuffle_frames, self.drop_share = pad_frames, shuffle_frames, drop_share
        self.boundary_share = boundary_share
        if isinstance(sensor, str) and sensor != "recorded":
            raise UserError(f'sensor: {sensor!r}; allowed: "recorded" or a SensorDraw')
        self.recorded_noise = sensor == "recorded"
        self.sensor = sensor if isinstance(sensor, SensorDraw) else SensorDraw()
        self.retake = retake
        self.catalogue = Catalogue(out, split)
        replanned = retake is not None and bool(retake.plans)
        fits = (self.catalogue.frames >= self.frames_least) | replanned
        if self.crop is not None:
            fits &= (self.catalogue.height >= self.crop[0]) & (self.catalogue.width >= self.crop[1])
        self.numbers = np.flatnonzero(fits)
        self.left_out = len(fits) - len(self.numbers)
        if not len(self.numbers):
            size = "any size" if self.crop is None else f"at least {self.crop[0]} x {self.crop[1]} px"
            raise UserError(f"{out}: none of {len(fits)} samples has {self.frames_least} frames and {size}")
        self.epoch = self.position = 0
        self._known: dict[int, Facts] = {}
        self._marked: dict[int, tuple[npt.NDArray[np.uint8], tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self.numbers) * self.crops_per_sample

    def __repr__(self) -> str:
        out = f", {self.left_out} samples left out" if self.left_out else ""
        return f"<{len(self)} crops of {len(self.numbers)} focal stacks{out}>"

    def set_epoch(self, epoch: int) -> None:
        """Make the items of another epoch: the same samples, other crops. Starts its order from the beginning."""
        self.epoch, self.position = epoch, 0

    def __getitem__(self, key: Key) -> Item:
        """The item of an index in the current epoch, or of (epoch, index)."""
        epoch, index = key if isinstance(key, tuple) else (self.epoch, int(key))
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)}")
        item = self._made(epoch, index % len(self))
        if self.output == "torch":
            from mattingmfif.dataset.tensors import as_tensors

            return as_tensors(item)
        return item

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The indices in the order in which an epoch gives them."""
        if not self.shuffle:
            return np.arange(len(self))
        return np.random.default_rng([self.seed, epoch, 0x5A]).permutation(len(self))

    def __iter__(self) -> Iterator[Item]:
        """The rest of the current epoch, then on to the next epoch for the next loop."""
        order = self.order(self.epoch)
        while self.position < len(order):
            item = self[self.epoch, int(order[self.position])]
            self.position += 1
            yield item
        self.set_epoch(self.epoch + 1)

    def state_dict(self) -> dict[str, int]:
        """Where the iteration stands, as plain numbers; it belongs to this dataset, seed and options."""
        return {"epoch": self.epoch, "position": self.position, "seed": self.seed, "length": len(self)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after the item that was given last; UserError for a state of another dataset or seed."""
        for name, here in (("seed", self.seed), ("length", len(self))):
            if state[name] != here:
                raise UserError(
                    f"the state has {name} {state[name]}, this dataset has {here}; they do not belong together"
                )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def _made(self, epoch: int, index: int) -> Item:
        rng = np.random.default_rng([self.seed, epoch, index])
        number = int(self.numbers[index // self.crops_per_sample])
        marks = self._marks(number) if rng.random() < self.boundary_share else None
        size = int(self.catalogue.height[number]), int(self.catalogue.width[number])
        window = draw_window(size, self.crop, marks, rng)
        facts, file = self._facts(number), self.catalogue.file(number)
        camera = Taking(lens=lens_of(facts.camera), focus_m=facts.focus_m)
        if self.retake is not None:
            lens, distances = self.retake.drawn(facts.sample(file, window), rng)
            camera = Taking(lens=lens, focus_m=np.array(distances), quality=self.retake.quality)
        available = len(camera.focus_m)
        least = min(self.frames_least, available)
        kept = draw_frames(available, least, self.frames_most, self.shuffle_frames, rng, self.drop_share)
        count = self.frames_most if self.pad_frames else len(kept)
        stack = stack_window(file, facts, window, camera, kept, count)
        item: Item = {name: getattr(stack, name) for name in self.fields}
        bits = int(stack.file.metadata.get("bits", "8"))
        sensor = self.sensor
        if self.recorded_noise:
            noise = facts.camera.draws.get("noise_at_load")
            sensor = SensorDraw(**noise) if noise else sensor
        if "frames" in item and not sensor.changes_nothing:
            sensors = sensor.drawn(len(kept), bits, rng)
            for place, one in enumerate(sensors):
                item["frames"][place] = sensed(item["frames"][place], one, rng)
            if sensor.noisy_target and "target" in item:
                item["target"] = sensed(item["target"], sensors[0], rng)
            item["iso"] = np.float32(sensors[0].iso)
            item["exposure_ev"] = padded(np.array([one.exposure_ev for one in sensors], np.float32), count)
        for name in ("frames", "target"):
            if name in item:
                item[name] = _valued(item[name], self.values)
        item["present"] = np.arange(count) < len(kept)
        item["focus_distance_m"] = padded(stack.focus_m.astype(np.float32), count)
        item["frame_number"] = np.concatenate([kept, np.full(count - len(kept), -1, np.int64)])
        item["window"] = np.array(window, np.int64)
        if self.retake is not None:
            item["f_number"] = np.float32(camera.lens.f_number)
            item["focal_length_mm"] = np.float32(camera.lens.focal_length_mm)
        item["sample_id"] = facts.sample_id
        item["index"] = index
        return item

    def _facts(self, number: int) -> Facts:
        """What is needed of a sample's record; read once."""
        facts = self._known.get(number)
        if facts is None:
            if len(self._known) >= _MOST_FACTS:
                self._known.clear()
            facts = self._known[number] = facts_of(self.catalogue.sample(number))
        return facts

    def _marks(self, number: int) -> npt.NDArray[np.bool_]:
        """Where, on the coarse grid, the blur of a matte edge reaches or no frame is sharp."""
        found = self._marked.get(number)
        if found is None:
            sample = self.catalogue.sample(number)
            marks = (sample.boundary | (sample.sharpest_frame == NO_FRAME))[::GRID_PX, ::GRID_PX]
            found = np.packbits(marks), (marks.shape[0], marks.shape[1])
            if len(self._marked) >= _MOST_FACTS:
                self._marked.clear()
            self._marked[number] = found
        packed, shape = found
        return np.unpackbits(packed, count=shape[0] * shape[1]).reshape(shape) > 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": {}, "_marked": {}}


def _valued(codes: Codes, values: str) -> Codes:
    if values == "codes":
        return codes
    if values == "linear":
        return decode_srgb(codes)
    return codes * np.float32(1 / np.iinfo(codes.dtype).max)


def _crop_size(crop: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if crop is None:
        return None
    size = (crop, crop) if isinstance(crop, int) else tuple(int(side) for side in crop)
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"crop: {crop!r}; allowed: a side in px, (height, width), or None for whole samples")
    return size[0], size[1]


def _frame_range(frames: int | tuple[int, int]) -> tuple[int, int]:
    least, most = (frames, frames) if isinstance(frames, int) else frames
    if not 1 <= least <= most <= MAX_FRAMES:
        raise UserError(f"frames: {frames!r}; allowed: a number or (least, most) from 1 to {MAX_FRAMES}")
    return int(least), int(most)


def _chosen(words: Sequence[str], allowed: Sequence[str], name: str) -> tuple[str, ...]:
    given = [words] if isinstance(words, str) else list(words)
    for word in given:
        if word not in allowed:
            raise UserError(f"{name}: {word!r}; allowed: {', '.join(allowed)}")
    return tuple(given)
