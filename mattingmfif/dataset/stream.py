"""Random crops of focal stacks streamed from far away: few shards at a time, several reads at once.

    stream = FocalStackStream("s3://bucket/set", crop=512, split="train", threads=8)
    for item in stream: …          one epoch; the next loop is the next epoch
    state = stream.state_dict()    resumes after the item given last

Items are those of `FocalStackDataset` for the same seed, epoch and index; what differs is the order, which stays
inside a few shards at a time, and that the next items are read while the last ones are used. A crop still fetches only
its tiles. A `FocalStackLoader` takes a stream in place of a dataset.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mattingmfif.dataset.loader import FocalStackDataset, Item, Key
from mattingmfif.errors import UserError


class FocalStackStream:
    """An iterable over crops that hides the latency of remote shards; options beyond these are the dataset's.

    `shards_at_once` shards are mixed with one another before the next are begun; `threads` items are read at a time,
    and up to twice as many lie ready.
    """

    def __init__(
        self, out: str | Path, *options: Any, shards_at_once: int = 8, threads: int = 8, **named_options: Any
    ) -> None:
        if shards_at_once < 1 or threads < 1:
            raise UserError(f"shards_at_once: {shards_at_once}, threads: {threads}; allowed: from 1")
        self.stacks = FocalStackDataset(out, *options, **named_options)
        self.shards_at_once, self.threads = shards_at_once, threads

    def __len__(self) -> int:
        return len(self.stacks)

    def __getitem__(self, key: Key) -> Item:
        """The item of an index, as the dataset gives it."""
        return self.stacks[key]

    def __getitems__(self, keys: Sequence[Key]) -> list[Item]:
        """Several items, read side by side; PyTorch asks for a batch in this way."""
        with ThreadPoolExecutor(min(self.threads, len(keys))) as pool:
            return list(pool.map(self.stacks.__getitem__, keys))

    @property
    def seed(self) -> int:
        """The seed of the dataset."""
        return self.stacks.seed

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The indices of an epoch, shard group by shard group; both the groups and what is in them are shuffled."""
        stacks = self.stacks
        shard_of = np.repeat(stacks.catalogue.shard[stacks.numbers], stacks.crops_per_sample)
        if not stacks.shuffle:
            return np.arange(len(stacks))
        rng = np.random.default_rng([stacks.seed, epoch, 0x5B])
        shards = rng.permutation(np.unique(shard_of))
        group_of_shard = np.empty(int(shard_of.max()) + 1, np.int64)
        group_of_shard[shards] = np.arange(len(shards)) // self.shards_at_once
        mixed = rng.permutation(len(stacks))
        return mixed[np.argsort(group_of_shard[shard_of[mixed]], kind="stable")]

    def __iter__(self) -> Iterator[Item]:
        """The rest of the current epoch, then on to the next epoch for the next loop."""
        stacks = self.stacks
        keys = iter([(stacks.epoch, int(index)) for index in self.order(stacks.epoch)[stacks.position :]])
        waiting: deque[Future[Item]] = deque()
        pool = ThreadPoolExecutor(self.threads)
        try:
            while True:
                while len(waiting) < 2 * self.threads and (key := next(keys, None)) is not None:
                    waiting.append(pool.submit(stacks.__getitem__, key))
                if not waiting:
                    break
                item = waiting.popleft().result()
                stacks.position += 1
                yield item
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        stacks.set_epoch(stacks.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self.stacks.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        """Where the iteration stands: items read ahead are not counted."""
        return {**self.stacks.state_dict(), "shards_at_once": self.shards_at_once}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after the item that was given last; UserError for a state of another stream."""
        if state["shards_at_once"] != self.shards_at_once:
            raise UserError(
                f"the state has shards_at_once {state['shards_at_once']}, this stream has {self.shards_at_once}; "
                "they do not belong together"
            )
        self.stacks.load_state_dict(state)
