"""Tasks on workers: loky on this machine, or a dask or ray cluster; the same tasks, so the same bytes.

A worker that dies costs its task a retry, and no other task its result. Dask and ray are spoken to by their own
clients: joblib's dask backend waits for ever for a task whose workers died, its ray backend gives results only when all
tasks have ended and loses them all when one worker dies (joblib 1.6, distributed 2026.8, ray 2.60).
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mattingmfif import __version__
from mattingmfif.dataset.escape import redacted
from mattingmfif.dataset.threads import one_thread
from mattingmfif.errors import EXIT_IO, UserError

Task = TypeVar("Task")
ENGINES = ("loky", "dask", "ray")
#: a task whose worker died this often is given up
MOST_DEATHS = 2
_ONE_THREAD_ENV = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
#: seconds to wait for a cluster to answer, and for one without workers to get some
_PATIENCE_S, _LONELY_S = 20, 120


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
        with _dask_client(engine) as (client, own_cluster):
            yield _Dask(client, own_cluster)
    elif engine.name == "ray":
        with _ray_session(engine) as jobs:
            yield _Ray(jobs)
    else:
        yield _Here() if engine.jobs <= 1 else _Loky(jobs=engine.jobs)


def _same_version(outcome: Outcome) -> Outcome:
    if outcome.version != __version__:
        raise UserError(f"a worker has mattingmfif {outcome.version}, this command {__version__}; install the same")
    return outcome


def _measured(work: Callable[[Any], Any], index: int, task: Any) -> Outcome:
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
            yield _measured(work, index, tasks[index])


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
                    pending[executor.submit(_measured, work, index, tasks[index])] = index

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


class _Dask:
    """Workers of a dask cluster. One that dies is replaced by its nanny; the scheduler tries a task on four of them."""

    def __init__(self, client: Any, own_cluster: Any = None) -> None:
        self.client, self.own_cluster = client, own_cluster
        self.jobs = sum(client.ncores().values())

    def resize(self, jobs: int) -> None:
        """The cluster's size is its owner's."""

    def attempt(self, work: Callable[[Any], Any], tasks: Sequence[Any], indices: list[int]) -> Iterator[Outcome]:
        from distributed import wait
        from distributed.scheduler import KilledWorker

        queue = iter(indices)
        pending: dict[Any, int] = {}

        def send() -> None:
            index = next(queue, None)
            if index is not None:
                # inside a tuple the task travels with the call; by itself it would be scattered to a worker and be
                # lost with it
                pending[self.client.submit(_measured_tuple, (work, index, tasks[index]), pure=False)] = index

        try:
            # no more than there are workers: the scheduler blames a death on tasks that wait at the worker, too
            for _ in range(self.jobs):
                send()
            seen_workers = time.monotonic()
            while pending:
                try:
                    with self.client.as_current():
                        ended = wait(list(pending), timeout=10, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    # by our own clock: while workers are being replaced there may be none for seconds
                    if self.client.ncores():
                        seen_workers = time.monotonic()
                    elif self.own_cluster is not None and time.monotonic() - seen_workers > _PATIENCE_S:
                        # its nannies give up after many deaths: others take their place
                        self.own_cluster.scale(0)
                        self.own_cluster.scale(self.jobs)
                        with contextlib.suppress(TimeoutError):
                            self.client.wait_for_workers(1, timeout=_LONELY_S)
                    elif time.monotonic() - seen_workers > _LONELY_S:
                        raise UserError("--engine dask: the cluster has no workers left", EXIT_IO) from None
                    time.sleep(0.5)
                    continue
                seen_workers = time.monotonic()
                for future in ended:
                    index = pending.pop(future)
                    if future.status == "finished":
                        yield future.result()
                    elif future.status != "error":
                        raise UserError("--engine dask: the connection to the cluster is lost", EXIT_IO)
                    elif isinstance(error := future.exception(), KilledWorker):
                        yield Outcome(index=index, result=None, died=True, cpu_s=0.0)
                    else:
                        raise error
                    future.release()
                    send()
        finally:
            self.client.cancel(list(pending))


def _measured_tuple(call: tuple[Callable[[Any], Any], int, Any]) -> Outcome:
    return _measured(*call)


class _Ray:
    """Workers of a ray cluster."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def resize(self, jobs: int) -> None:
        """The cluster's size is its owner's."""

    def attempt(self, work: Callable[[Any], Any], tasks: Sequence[Any], indices: list[int]) -> Iterator[Outcome]:
        import ray

        # retries are ours to count: one that ray makes by itself would hide a photograph that kills
        remote = ray.remote(max_retries=0, num_cpus=1)(_measured)
        queue = iter(indices)
        pending: dict[Any, int] = {}

        def send() -> None:
            index = next(queue, None)
            if index is not None:
                pending[remote.remote(work, index, tasks[index])] = index

        try:
            for _ in range(self.jobs * 2):
                send()
            while pending:
                ready, _ = ray.wait(list(pending), num_returns=1)
                index = pending.pop(ready[0])
                try:
                    outcome = ray.get(ready[0])
                except (
                    ray.exceptions.WorkerCrashedError,
                    ray.exceptions.OutOfMemoryError,
                    ray.exceptions.NodeDiedError,
                ):
                    outcome = Outcome(index=index, result=None, died=True, cpu_s=0.0)
                yield outcome
                send()
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)


@contextlib.contextmanager
def _dask_client(engine: Engine) -> Iterator[tuple[Any, Any]]:
    """A client, and the cluster where it is our own (else None)."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise UserError("--engine dask: needs dask; install it with: pip install 'mattingmfif[dask]'") from None
    with contextlib.ExitStack() as stack:
        try:
            address: Any = engine.address
            own_cluster = None
            if address is None:
                # not four workers for a task that kills: two have to be enough to blame it
                stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": MOST_DEATHS - 1}))
                address = own_cluster = stack.enter_context(
                    LocalCluster(n_workers=engine.jobs, threads_per_worker=1, dashboard_address=None)
                )
            client = stack.enter_context(Client(address, timeout=_PATIENCE_S, set_as_default=False))
            client.wait_for_workers(1, timeout=_PATIENCE_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise _no_cluster(engine, error) from None
        yield client, own_cluster


@contextlib.contextmanager
def _ray_session(engine: Engine) -> Iterator[int]:
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray: needs ray; install it with: pip install 'mattingmfif[ray]'") from None
    if engine.address is not None:
        _require_listener(engine)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if engine.address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of our own calls nobody
        options |= {"num_cpus": engine.jobs, "include_dashboard": False}
    else:
        options["address"] = engine.address
    try:
        ray.init(**options)
    except (OSError, ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise _no_cluster(engine, error) from None
    try:
        yield max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()


def _require_listener(engine: Engine) -> None:
    """UserError where nobody listens at the address; ray itself would go on asking for a quarter of an hour."""
    host, _, port = (engine.address or "").rpartition("://")[2].rpartition("@")[2].rpartition(":")
    if not host or not port.isdecimal():
        return  # "auto", or an address that ray itself refuses
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(engine, error) from None


def _no_cluster(engine: Engine, error: Exception) -> UserError:
    where = _without_login(engine.address or "on this machine")
    reason = _without_login(" ".join(str(error).split()))[:160] or type(error).__name__
    return UserError(f"--engine {engine.name}: no cluster with workers answers at {where} ({reason})", EXIT_IO)


def _without_login(text: str) -> str:
    return redacted(re.sub(r"[^\s/'\"]*:[^\s/'\"]*@", "", text))
