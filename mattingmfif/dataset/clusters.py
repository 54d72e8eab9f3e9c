"""Workers of a dask or ray cluster: one that was started here, or one at an address.

Both are spoken to by their own clients: joblib's dask backend waits for ever for a task whose workers died, its ray
backend gives results only when all tasks have ended and loses them all when one worker dies (joblib 1.6, distributed
2026.8, ray 2.60).
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mattingmfif.dataset.escape import redacted
from mattingmfif.dataset.workers import MOST_DEATHS, Engine, Outcome, measured
from mattingmfif.errors import EXIT_IO, UserError

#: seconds to wait for a cluster to answer, and for one without workers to get some
_PATIENCE_S, _LONELY_S = 20, 120


class Dask:
    """Workers of a dask cluster. One that dies is replaced by its nanny; the scheduler tries a task on four of them."""

    def __init__(self, client: Any, own_cluster: Any = None) -> None:
        self.client, self.own_cluster = client, own_cluster
        self.jobs = sum(client.ncores().values())

    def resize(self, jobs: int) -> None:
        """The cluster's size is its owner's."""

    def attempt(self, work: Callable[[Any], Any], tasks: Sequence[Any], indices: list[int]) -> Iterator[Outcome]:
        """Outcomes of the tasks at `indices` in the order in which they end."""
        from distributed import wait
        from distributed.scheduler import KilledWorker

        queue = iter(indices)
        pending: dict[Any, int] = {}

        def send() -> None:
            index = next(queue, None)
            if index is not None:
                # inside a tuple the task travels with the call; by itself it would be scattered to a worker and be
                # lost with it
                pending[self.client.submit(_of_tuple, (work, index, tasks[index]), pure=False)] = index

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


def _of_tuple(call: tuple[Callable[[Any], Any], int, Any]) -> Outcome:
    return measured(*call)


class Ray:
    """Workers of a ray cluster."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def resize(self, jobs: int) -> None:
        """The cluster's size is its owner's."""

    def attempt(self, work: Callable[[Any], Any], tasks: Sequence[Any], indices: list[int]) -> Iterator[Outcome]:
        """Outcomes of the tasks at `indices` in the order in which they end."""
        import ray

        # retries are ours to count: one that ray makes by itself would hide a photograph that kills
        remote = ray.remote(max_retries=0, num_cpus=1)(measured)
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
def dask_client(engine: Engine) -> Iterator[tuple[Any, Any]]:
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
def ray_session(engine: Engine) -> Iterator[int]:
    """The number of tasks that the cluster runs at once."""
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
