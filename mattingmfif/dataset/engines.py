"""Tasks on workers: loky on this machine, or a dask or ray cluster; the same tasks, so the same bytes.

A worker that dies costs its task a retry, and no other task its result. `workers.py` says what an engine and an outcome
are, `clusters.py` speaks to dask and ray.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from mattingmfif import __version__
from mattingmfif.dataset.clusters import Dask, Ray, dask_client, ray_session
from mattingmfif.dataset.workers import MOST_DEATHS, Engine, Outcome, Workers, measured
from mattingmfif.errors import UserError

Task = TypeVar("Task")
_ONE_THREAD_ENV = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


def run_tasks(work: Callable[[Task], Any], tasks: Sequence[Task], workers: Workers) -> Generator[Outcome, None, None]:
    """Outcomes of `work(task)` in the order in which they end; `work` must not raise.

    A worker that dies costs its task a second try, alone; one over which it dies again comes back as `died`.
    """
    waiting = list(range(len(tasks)))
    deaths = Counter[int]()
    while waiting:
        suspects, heard = [], set()
        for outcome in workers.attempt(work, tasks, waiting):
            heard.add(outcome.index)
            if outcome.died:
                suspects.append(outcome.index)
                deaths[outcome.index] += outcome.sure
                continue
            yield _same_version(outcome)
        waiting = [index for index in waiting if index not in heard]
        for index in suspects:
            while deaths[index] < MOST_DEATHS:
                [outcome] = workers.attempt(work, tasks, [index])
                if not outcome.died:
                    yield _same_version(outcome)
                    break
                deaths[index] += 1
            else:
                yield Outcome(index=index, result=None, died=True, cpu_s=0.0)


def run_alone(work: Callable[[Task], Any], task: Task) -> Outcome:
    """The outcome of one task in a process of its own on this machine."""
    [outcome] = _Loky(jobs=1).attempt(work, [task], [0])
    return outcome


@contextlib.contextmanager
def open_workers(engine: Engine) -> Iterator[Workers]:
    """The engine's workers, ready. Raises UserError where its library is missing or its cluster does not answer."""
    if engine.name == "dask":
        with dask_client(engine) as (client, own_cluster):
            yield Dask(client, own_cluster)
    elif engine.name == "ray":
        with ray_session(engine) as jobs:
            yield Ray(jobs)
    else:
        yield _Here() if engine.jobs <= 1 else _Loky(jobs=engine.jobs)


def _same_version(outcome: Outcome) -> Outcome:
    if outcome.version != __version__:
        raise UserError(f"a worker has mattingmfif {outcome.version}, this command {__version__}; install the same")
    return outcome


def _begin_worker() -> None:
    """In a new worker of loky: leave Ctrl-C to the parent, and stay.

    Loky ends workers that grow by 300 MB after their first task, as leaking; ours grow with the photographs, keep what
    they freed for the next one, and take seconds to begin anew.
    """
    from joblib.externals.loky import process_executor

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    process_executor._MAX_MEMORY_LEAK_SIZE = sys.maxsize


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Inside the block Ctrl-C waits, and processes that begin there never see it, not even while they import."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Here:
    """One job: everything in this very process."""

    jobs = 1

    def resize(self, jobs: int) -> None:
        """It stays one."""

    def attempt(self, work: Callable[[Any], Any], tasks: Sequence[Any], indices: list[int]) -> Iterator[Outcome]:
        for index in indices:
            yield measured(work, index, tasks[index])


class _Loky:
    """Processes on this machine: joblib's executor by itself, because `Parallel` runs one job in its own process."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._resized = False

    def resize(self, jobs: int) -> None:
        """Begin no task more in this attempt; the next has `jobs` workers."""
        self._resized, self.jobs = jobs != self.jobs, jobs

    def attempt(self, work: Callable[[Any], Any], tasks: Sequence[Any], indices: list[int]) -> Iterator[Outcome]:
        from joblib.externals.loky import get_reusable_executor, wait
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        self._resized = False
        queue = iter(indices)
        pending: dict[Any, int] = {}
        most = min(self.jobs, len(indices))
        with _interrupts_wait():
            executor = get_reusable_executor(most, timeout=300, env=_ONE_THREAD_ENV, initializer=_begin_worker)

        def send() -> None:
            index = None if self._resized else next(queue, None)
            if index is not None:
                with _interrupts_wait():
                    pending[executor.submit(measured, work, index, tasks[index])] = index

        try:
            for _ in range(self.jobs):
                send()
            while pending:
                for future in wait(list(pending), return_when="FIRST_COMPLETED").done:
                    outcome = future.result()
                    del pending[future]
                    yield outcome
                    send()
        except TerminatedWorkerError:
            # the pool is gone with every task in it: some may have ended before
            ended = [future for future in pending if future.done() and future.exception() is None]
            for future in ended:
                del pending[future]
                yield future.result()
            for index in pending.values():
                yield Outcome(index=index, result=None, died=True, cpu_s=0.0, sure=len(pending) == 1)
        except BaseException:
            # Ctrl-C or a closed generator: workers ignore signals, so they are ended here
            executor.shutdown(wait=True, kill_workers=True)
            raise
