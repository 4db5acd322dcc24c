"""Flows and launches that the processes of a cluster import by name; imported only by tests that have Prefect."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Completed

from flows.task_runners import answer_of, stop_launches, task_runner
from models_lib.config.sections import OrchestrationSection
from models_lib.errors import DataError
from models_lib.interruption import stop_requested

LONGEST_SECONDS = 60.0


@flow(name="symbol", flow_run_name="symbol-{symbol}", validate_parameters=False)
def small(symbol: str, deed: str, folder: Path) -> State[Any]:
    (folder / f"{symbol}.{os.getpid()}.began").write_text("")
    match deed:
        case "fail":
            raise DataError(f"{symbol}: one minute is missing")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "until stopped":
            never = threading.Event()
            for _ in range(int(LONGEST_SECONDS / 0.05)):
                if stop_requested() or never.wait(0.05):
                    break
    return Completed(name="Held", data=(symbol, os.getpid(), stop_requested()))


@task(name="launch", task_run_name="launch-{symbol}", cache_policy=NO_CACHE)
def launch(symbol: str, deed: str, folder: Path) -> object:
    return small(symbol, deed, folder)


def begun(folder: Path) -> int:
    return len(list(folder.glob("*.began")))


@flow(name="parent", validate_parameters=False)
def parent(deeds: dict[str, str], folder: Path, stop_when_begun: bool = False) -> State[Any]:
    """Launches every symbol with its deed on a cluster of this run; the answers."""
    with task_runner(OrchestrationSection(task_runner="dask"), max_workers=2) as runner:
        futures = {
            symbol: runner.submit(launch, {"symbol": symbol, "deed": deed, "folder": folder})
            for symbol, deed in deeds.items()
        }
        if stop_when_begun:
            never = threading.Event()
            for _ in range(int(LONGEST_SECONDS / 0.05)):
                if begun(folder) == len(deeds) or never.wait(0.05):
                    break
            stop_launches(runner)
        wait(list(futures.values()))
        return Completed(data={symbol: answer_of(future) for symbol, future in futures.items()})


if __name__ == "__main__":
    from tests.flows import cluster_launches  # by its name, because the processes of the cluster know no __main__

    cluster_launches.parent({"BTC-USD": "until stopped", "ETH-USD": "until stopped"}, Path(sys.argv[1]))
