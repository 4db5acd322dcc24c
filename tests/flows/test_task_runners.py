"""Launches on a real Dask cluster: answers, isolation, links, a killed process, a stop; and what happens without an extra."""

import asyncio
import importlib.util
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from models_lib.config.sections import OrchestrationSection
from models_lib.errors import ConfigError, DataError
from models_lib.interruption import allow_work
from models_lib.orphans import descendants
from tests.flows.running import ROOT, Child, wait_for

on_cluster = [
    pytest.mark.long,
    pytest.mark.prefect,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.timeout(300),
]


def together(*marks: pytest.MarkDecorator) -> Any:
    def marked(test: Any) -> Any:
        for mark in marks:
            test = mark(test)
        return test

    return marked


@pytest.fixture
def working(prefect: None) -> Iterator[None]:
    """Prefect is quiet; a stop counts for the test that asked for it only."""
    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    yield
    allow_work()


def answers(deeds: dict[str, str], folder: Path, **options: bool) -> tuple[UUID, dict[str, Any]]:
    """Runs the parent on a cluster of two processes; its id, and what each launch came to."""
    from tests.flows.cluster_launches import parent

    state: Any = parent(deeds, folder, **options, return_state=True)
    return state.state_details.flow_run_id, state.result()


async def children_of(parent: UUID) -> dict[str, str]:
    """State types of the flow runs that the server links to this parent, by name."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

    linked = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]))
    async with get_client() as client:
        runs = await client.read_flow_runs(flow_run_filter=linked)
    return {run.name: run.state.type.value for run in runs}


@together(*on_cluster)
def test_launches_on_dask_answer_apart_and_are_linked_to_their_parent(working: None, tmp_path: Path) -> None:
    deeds = {"BTC-USD": "work", "ETH-USD": "fail", "SOL-USD": "die", "ADA-USD": "work"}
    parent, came = answers(deeds, tmp_path)
    assert isinstance(came["ETH-USD"], DataError)
    assert str(came["ETH-USD"]) == "ETH-USD: one minute is missing"
    assert type(came["SOL-USD"]).__name__ == "KilledWorker"
    for symbol in ("BTC-USD", "ADA-USD"):
        assert came[symbol][0] == symbol
        assert came[symbol][1] != os.getpid(), "in another process"
    assert len(list(tmp_path.glob("SOL-USD.*.began"))) == 1, "a launch that was killed is not begun again"
    linked = asyncio.run(children_of(parent))
    assert linked.pop("symbol-SOL-USD") == "RUNNING", "nobody was left to say that it was killed"
    assert linked == {"symbol-BTC-USD": "COMPLETED", "symbol-ETH-USD": "FAILED", "symbol-ADA-USD": "COMPLETED"}


@together(*on_cluster)
def test_stop_reaches_the_processes_of_the_cluster(working: None, tmp_path: Path) -> None:
    _, came = answers({"BTC-USD": "until stopped", "ETH-USD": "until stopped"}, tmp_path, stop_when_begun=True)
    assert [answer[2] for answer in came.values()] == [True, True]


@together(*on_cluster, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"))
def test_killed_run_leaves_nothing_of_its_cluster(prefect: None, tmp_path: Path) -> None:
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    assert url
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.flows.cluster_launches", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PREFECT_API_URL": url, "PREFECT_HOME": str(tmp_path / "prefect")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for symbol in ("BTC-USD", "ETH-USD"):
            wait_for(tmp_path, f"{symbol}.*.began")
        below = [Child(pid) for pid in descendants(process.pid)]
        process.send_signal(signal.SIGKILL)
        assert len(below) >= 2
        assert [child.command for child in below if not child.ends()] == []
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(importlib.util.find_spec("prefect_ray") is not None, reason="here the extra is installed")
def test_missing_extra_is_told_with_its_remedy() -> None:
    from flows.task_runners import task_runner

    with pytest.raises(ConfigError, match=r"pip install 'crpbot-training\[ray\]'"):
        task_runner(OrchestrationSection(task_runner="ray"), max_workers=2)


def test_launches_on_a_work_pool_need_no_cluster() -> None:
    from prefect.task_runners import ThreadPoolTaskRunner

    from flows.task_runners import task_runner

    section = OrchestrationSection(fanout="deployment", task_runner="dask")
    assert isinstance(task_runner(section, max_workers=2), ThreadPoolTaskRunner)


def test_cluster_that_was_named_is_connected_to_and_not_started() -> None:
    pytest.importorskip("prefect_dask", reason="the extra `dask`")
    from flows.task_runners import task_runner

    runner: Any = task_runner(
        OrchestrationSection(task_runner="dask", cluster_address="tcp://127.0.0.1:1"), max_workers=2
    )
    assert (runner.address, runner.cluster_kwargs) == ("tcp://127.0.0.1:1", {})
