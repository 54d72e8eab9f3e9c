"""Focal stacks as torch tensors, and a loader that resumes in the middle of an epoch.

    stacks = FocalStackDataset("out", crop=512, split="train")
    loader = FocalStackLoader(stacks, batch_size=8, num_workers=2)
    for batch in loader: …        one epoch; the next loop is the next epoch
    state = loader.state_dict()   right after any batch

`torch.utils.data.DataLoader(stacks, …)` works as well, with `stacks.set_epoch(e)` before each epoch. Workers are
started by spawn (nothing is forked after compiled code ran) and stay for the next epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info

from mattingmfif.dataset.loader import FocalStackDataset
from mattingmfif.dataset.stream import FocalStackStream
from mattingmfif.errors import UserError


class FocalStackLoader:
    """Batches of a FocalStackDataset (or stream) as dicts of tensors, one epoch a loop, resumable between two batches.

    With `world_size` processes each takes its share of an epoch, the same number of batches each. `num_workers` 0 makes
    everything in this process. Further options go to `torch.utils.data.DataLoader`.
    """

    def __init__(
        self,
        dataset: FocalStackDataset | FocalStackStream,
        batch_size: int,
        *,
        num_workers: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        **options: Any,
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world_size:
            raise UserError(
                f"batch_size: {batch_size}, rank: {rank} of {world_size}; allowed: from 1, below world_size"
            )
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.rank, self.world_size = rank, world_size
        self.epoch = self.position = 0
        self._batches = _Batches()
        if num_workers:
            options = {"multiprocessing_context": "spawn", "persistent_workers": True, **options}
        self._loader: Any = DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_sampler=self._batches,  # type: ignore[arg-type]
            num_workers=num_workers,
            worker_init_fn=calm_worker,
            **options,
        )

    def __len__(self) -> int:
        return len(self._epoch(self.epoch))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rest of the current epoch's batches, then on to the next epoch for the next loop."""
        self._batches.keys = self._epoch(self.epoch)[self.position :]
        for batch in self._loader:
            self.position += 1
            yield batch
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands, as plain numbers: batches that workers made ahead are not counted."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "batch_size": self.batch_size,
            "world_size": self.world_size,
            "seed": self.dataset.seed,
            "length": len(self.dataset),
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after the batch that was given last; UserError for a state of another dataset, seed or batch size."""
        here = self.state_dict()
        for name in ("batch_size", "world_size", "seed", "length"):
            if state[name] != here[name]:
                raise UserError(
                    f"the state has {name} {state[name]}, this loader has {here[name]}; they do not belong together"
                )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def _epoch(self, epoch: int) -> list[list[tuple[int, int]]]:
        order = self.dataset.order(epoch)
        share = -(-len(order) // self.world_size)
        # every process has as many items as the others: the first ones are given again
        mine = np.resize(order, share * self.world_size)[self.rank :: self.world_size]
        starts = range(0, len(mine), self.batch_size)
        batches = [[(epoch, int(index)) for index in mine[start : start + self.batch_size]] for start in starts]
        return batches[:-1] if self.drop_last and batches and len(batches[-1]) < self.batch_size else batches


class _Batches:
    """The batches that the workers are to make: a list that changes from epoch to epoch."""

    def __init__(self) -> None:
        self.keys: list[list[tuple[int, int]]] = []

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.keys)


def calm_worker(number: int) -> None:
    """Leave one thread to each worker process: several of them share the cores."""
    import cv2
    import pyarrow

    cv2.setNumThreads(1)
    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(2)
    assert get_worker_info() is not None
    torch.set_num_threads(1)
