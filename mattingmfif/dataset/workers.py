"""What workers are to the rest: tasks go in, outcomes come out, wherever the tasks run."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mattingmfif import __version__
from mattingmfif.dataset.threads import one_thread
from mattingmfif.errors import UserError

ENGINES = ("loky", "dask", "ray")
#: a task whose worker died this often is given up
MOST_DEATHS = 2


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where tasks run: `jobs` workers of loky, or a dask or ray cluster at `address` (None: one on this machine)."""

    name: str = "loky"
    jobs: int = 1
    address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UserError(f"--engine {self.name}: unknown; allowed: {', '.join(ENGINES)}")
        if self.address is not None and self.name == "loky":
            raise UserError("--address: loky works on this machine only; give --engine dask or ray with it")

    def __repr__(self) -> str:  # an address may hold a password
        return f"Engine({self.name}, jobs={self.jobs})"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of the task at `index`: its result, or that workers died over it; CPU-seconds and peak bytes of it."""

    index: int
    result: Any
    died: bool
    cpu_s: float
    peak_bytes: int = 0
    sure: bool = True  # where it died: whether it was this task that killed its worker, not one beside it
    version: str = __version__


class Workers(Protocol):
    """Workers that are there: `attempt` runs tasks once and yields outcomes in the order in which they end.

    A task whose worker died comes back as `died`; so may others that were in flight, whose worker died with it (loky)
    or who are blamed for it (dask). With loky those that had not begun are not heard of.
    """

    jobs: int

    def resize(self, jobs: int) -> None:
        """Go on with that many workers as soon as those that are busy have ended."""

    def attempt(self, work: Callable[[Any], Any], tasks: Sequence[Any], indices: list[int]) -> Iterator[Outcome]:
        """Outcomes of `work(tasks[index])` for the indices."""


def measured(work: Callable[[Any], Any], index: int, task: Any) -> Outcome:
    """The outcome of a task done here, with what it took."""
    # a thread's own time: a dask worker may run another task beside this one
    start = time.thread_time()
    with one_thread():
        result = work(task)
    return Outcome(
        index=index,
        result=result,
        died=False,
        cpu_s=time.thread_time() - start,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
