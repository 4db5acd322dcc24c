"""What runs the launches of a run: threads of this process, or the processes of a Dask or Ray cluster.

Dask and Ray are extras, imported when the configuration asks for them. A cluster of our own has one process for each
symbol at work; it is gone with this process, however that ends, and takes the trainings along. A cluster that was
named by its address is others' too: what this run began there ends by itself when this run is interrupted.

What does not belong here: which symbols are launched (fan_out.py).
"""

import contextlib
import importlib
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from flows import cluster_process
from flows.limited_threads import LimitedThreadsTaskRunner
from models_lib.config.sections import OrchestrationSection
from models_lib.errors import ConfigError
from models_lib.interruption import HEARD_SECONDS

_CANCEL_MINUTES = 5.0
"""A launch on a work pool keeps the limit itself; this is its time to cancel what took longer."""


def task_runner(section: OrchestrationSection, *, max_workers: int) -> TaskRunner[Any]:
    """The runner that the configuration asks for, not started yet.

    Args:
        section: which one, and the address of a cluster. Launches on a work pool only wait, so threads do for them.
        max_workers: launches at once, where this run starts the cluster.

    Raises:
        ConfigError: its extra is not installed.
    """
    if section.fanout == "local" and section.task_runner == "dask":
        return _dask(section.cluster_address, max_workers)
    if section.fanout == "local" and section.task_runner == "ray":
        return _ray(section.cluster_address, max_workers)
    minutes = section.symbol_time_limit_minutes
    if section.fanout == "deployment":
        minutes += _CANCEL_MINUTES
    return LimitedThreadsTaskRunner(max_workers, limit_minutes=minutes)


def wait_for(futures: Sequence[PrefectFuture[Any]]) -> None:
    """Returns when every launch is over; Ctrl-C is heard meanwhile, which Prefect's own wait does not promise."""
    over = threading.Semaphore(0)
    for future in futures:
        future.add_done_callback(lambda _: over.release())
    for _ in futures:
        while not over.acquire(timeout=HEARD_SECONDS):
            pass


def answer_of(future: PrefectFuture[Any]) -> object:
    """What a launch came to: its value, or the error that ended it.

    A cluster raises when the process of a launch was killed, whatever it was asked.
    """
    try:
        return future.result(raise_on_failure=False)
    except Exception as error:  # noqa: BLE001 - the libraries of a cluster have errors of their own, without a root
        return error


def stop_launches(runner: TaskRunner[Any]) -> None:
    """Ends the trainings, and no further step begins: in this process, and in a cluster that this run started."""
    cluster_process.stop_work()
    if getattr(runner, "cluster_kwargs", None):  # Dask, without an address
        with contextlib.suppress(OSError, TimeoutError):  # a process that is gone has nothing to stop
            runner.client.run(cluster_process.stop_work, on_error="ignore")  # type: ignore[attr-defined]


def _dask(address: str | None, max_workers: int) -> TaskRunner[Any]:
    dask = _extra("dask", extra="dask")
    # Its own log tells of every connection. What matters comes as the errors of launches.
    dask.config.set({"logging.distributed": "critical"})
    make: Callable[..., TaskRunner[Any]] = _extra("prefect_dask", extra="dask").DaskTaskRunner
    if address is not None:
        return make(address=address)
    cluster = {
        "n_workers": max_workers,
        "threads_per_worker": 1,
        "processes": True,
        "memory_limit": 0,  # a launch that needs much is not killed and begun again
        "dashboard_address": None,  # no port that nobody asked for
        "scheduler_kwargs": {"allowed_failures": 0},  # a launch whose process died has failed; it is not begun again
        "preload": [cluster_process.__name__],
    }
    return make(cluster_kwargs=cluster)


def _ray(address: str | None, max_workers: int) -> TaskRunner[Any]:
    make: Callable[..., TaskRunner[Any]] = _extra("prefect_ray", extra="ray").RayTaskRunner
    own = {"num_cpus": max_workers, "include_dashboard": False} if address is None else None
    return make(address=address, init_kwargs=own)


def _extra(module: str, *, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"orchestration.task_runner={extra} needs a package that is not installed ({error.name}). "
            f"Install it with `pip install 'crpbot-training[{extra}]'`, or set orchestration.task_runner=threads."
        ) from error
