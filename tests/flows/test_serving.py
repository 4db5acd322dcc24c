"""`make server` with everything real: it is brought up, looked after, killed in parts, and ended."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.serving.late_runs import SUPERSEDED
from flows.serving.supervision import children_of
from tests.flows.running import Child
from tests.flows.serving import Receiver, Served, served, until
from tests.markets import LENIENT, QUICK

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("serving"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

# In the hour before the next night the last one would be late by more than the 23 hours of the default.
_AT_ANY_HOUR = "orchestration.late_limit_hours=25"
QUICK_RUN = {"symbols": ["BTC-USD"], "days": 14, "settings": [*QUICK, *LENIENT, _AT_ANY_HOUR]}
ENDLESS_RUN = QUICK_RUN | {
    "settings": [
        *QUICK,
        *LENIENT,
        "training.max_epochs=100000",
        "training.patience=100000",
        "training.gate_stop_epochs=100000",
    ]
}


@pytest.fixture(scope="module")
def up(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("serving") / "home"
    with served(home, CRPBOT_SLACK_WEBHOOK_URL=receiver.url) as one:
        yield one


def training_run(up: Served) -> dict[str, Any]:
    """Asks for an endless run and gives it when its training works."""
    known = {run["id"] for run in up.runs("train-all")}
    answer = up.run("train-all/on-demand", ENDLESS_RUN)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    started = until(
        lambda: next((run for run in up.runs("train-all") if run["id"] not in known and running(run)), None),
        "the run works",
    )
    until(lambda: children_of(int(started["infrastructure_pid"])) or None, "its training works")
    return started


def running(run: dict[str, Any]) -> bool:
    return run["state_type"] == "RUNNING" and run["infrastructure_pid"] is not None


def state_of(up: Served, run: dict[str, Any]) -> str:
    state: str = up.ask(f"flow_runs/{run['id']}", method="GET")["state_type"]
    return state


def newest_run(up: Served) -> dict[str, Any]:
    """The one that a person asked for last."""
    asked_for = [run for run in up.runs("train-all") if not run["auto_scheduled"]]
    return max(asked_for, key=lambda one: str(one["created"]))


def standing(up: Served) -> dict[str, list[str]]:
    """The ids of what the ensure-script made."""
    kinds = {
        "work_pools/filter": {},
        "deployments/filter": {},
        "automations/filter": {},
        "v2/concurrency_limits/filter": {},
    }
    return {path: sorted(one["id"] for one in up.ask(path, body)) for path, body in kinds.items()}


def test_second_one_beside_it_only_looks_at_what_stands_and_the_pages_are_served(up: Served) -> None:
    before = standing(up)
    assert {path: len(ids) for path, ids in before.items()} == {
        "work_pools/filter": 3,
        "deployments/filter": 7,
        "automations/filter": 5,
        "v2/concurrency_limits/filter": 1,  # the GPU's
    }
    answer = up.command("flows.serving")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"is served already, by process {up.process.pid}" in answer.stdout
    assert "deployments: found 7" in answer.stdout
    assert "created" not in answer.stdout
    assert standing(up) == before

    settings = up.ask("admin/settings", method="GET")
    assert settings["server"]["analytics_enabled"] is False
    assert "flow_runs" in settings["server"]["services"]["db_vacuum"]["enabled"]
    with urllib.request.urlopen(up.api_url.removesuffix("/api"), timeout=30) as page:
        assert b"Prefect" in page.read()


def test_what_the_operator_set_stays_and_a_missing_deployment_comes_back(up: Served) -> None:
    def nightly() -> dict[str, Any]:
        (found,) = up.ask("deployments/filter", {"deployments": {"name": {"any_": ["nightly"]}}})
        names = ("paused", "parameters", "schedules", "global_concurrency_limit")
        return {"id": found["id"]} | {name: found[name] for name in names}

    def meant(one: dict[str, Any]) -> list[Any]:
        schedules = [(schedule["schedule"]["cron"], schedule["active"]) for schedule in one["schedules"]]
        return [one["paused"], one["parameters"], schedules, one["global_concurrency_limit"]["limit"]]

    there = nightly()["id"]
    (silent,) = up.ask("automations/filter", {"automations": {"name": {"any_": ["crpbot: a run fell silent"]}}})
    cron = {"cron": "0 4 * * *", "timezone": "UTC"}
    chosen = {
        "paused": True,
        "parameters": {"params": QUICK_RUN},
        "schedules": [{"schedule": cron, "active": False}],
        "concurrency_limit": 7,
    }
    up.ask(f"deployments/{there}", chosen, method="PATCH")
    up.ask(f"automations/{silent['id']}", {"enabled": False}, method="PATCH")
    (symbols,) = up.ask("deployments/filter", {"deployments": {"name": {"any_": ["on-pool"]}}})
    up.ask(f"deployments/{symbols['id']}", method="DELETE")
    up.environment["CRPBOT_SILENT_SECONDS"] = "500"
    answer = up.command("flows.serving.ensure")
    assert "deployments: created 1, deployed again 6" in answer.stdout, answer.stdout + answer.stderr
    assert "automation 'crpbot: a run fell silent': changed" in answer.stdout
    assert meant(nightly()) == [True, {"params": QUICK_RUN}, [("0 4 * * *", False)], 7]
    assert nightly()["id"] == there
    assert up.ask(f"automations/{silent['id']}", method="GET")["enabled"] is False
    del up.environment["CRPBOT_SILENT_SECONDS"]
    back = {"paused": False, "schedules": [{"schedule": cron, "active": True}], "concurrency_limit": None}
    up.ask(f"deployments/{there}", back, method="PATCH")


def test_late_nights_do_not_pile_up_and_a_killed_worker_is_replaced(up: Served) -> None:
    """Four nights are due when the worker comes back; the latest is carried out."""
    (nightly,) = up.ask("deployments/filter", {"deployments": {"name": {"any_": ["nightly"]}}})
    assert nightly["parameters"] == {"params": QUICK_RUN}
    worker = up.child("worker start --pool crpbot ")
    os.kill(worker.pid, signal.SIGSTOP)  # an outage
    now = datetime.now(UTC)
    asked = {"start_time": str(now - timedelta(days=4)), "end_time": str(now), "min_runs": 4}
    up.ask(f"deployments/{nightly['id']}/schedule", asked)

    def due() -> list[dict[str, Any]]:
        runs = [run for run in up.runs("train-all") if run["deployment_id"] == nightly["id"]]
        late = [run for run in runs if datetime.fromisoformat(run["expected_start_time"]) <= now]
        return sorted(late, key=lambda run: str(run["expected_start_time"]))

    until(lambda: [run for run in due() if run["state_name"] == "Late"][3:] or None, "four nights are late")
    said = len(up.said)
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.ends()
    up.hears("crpbot: was ended by SIGKILL; started again", since=said)
    latest = until(lambda: due()[-1] if due()[-1]["state_type"] == "COMPLETED" else None, "the latest night is done")
    assert latest["state"]["message"] == "1 of 1 promoted"
    assert (up.home / "promoted" / "BTC-USD.json").is_file()
    superseded = due()[:-1]
    assert len(superseded) >= 3
    assert {(run["state_type"], run["state"]["message"]) for run in superseded} == {("CANCELLED", SUPERSEDED)}
    assert {run["run_count"] for run in superseded} == {0}


def test_run_that_fails_by_itself_ends_with_status_1_and_somebody_is_told_at_once(
    up: Served, receiver: Receiver
) -> None:
    answer = up.run("train-all/on-demand", {"config": "configs/never_there.yaml"}, "--watch")
    assert answer.returncode == 1, answer.stdout + answer.stderr
    failed = newest_run(up)
    assert failed["state_type"] == "FAILED"
    told = until(lambda: [text for text in receiver.texts if failed["id"] in text] or None, "somebody is told")
    assert "never_there.yaml" in told[0]


def test_run_survives_its_worker_and_the_server_and_the_end_takes_everything_with_it(
    up: Served, receiver: Receiver
) -> None:
    run = training_run(up)
    flow = Child(int(run["infrastructure_pid"]))

    refused = up.run("train-all/on-demand", QUICK_RUN, "--watch")
    assert refused.returncode == 1, "a second one beside it"
    assert state_of(up, run) == "RUNNING"
    newest = newest_run(up)
    assert (newest["state_type"], newest["state_name"]) == ("CANCELLED", "Refused")
    assert newest["state"]["message"].startswith(f"{run['name']} is retraining in {up.home}")

    for part, name in (("worker start --pool crpbot ", "crpbot"), ("flows.serving.server", "server")):
        killed, said = up.child(part), len(up.said)
        os.kill(killed.pid, signal.SIGKILL)
        assert killed.ends()
        up.hears(f"{name}: was ended by SIGKILL; started again", since=said)
        another = up.child(part)
        assert another.pid != killed.pid
        assert state_of(up, run) == "RUNNING"
        assert children_of(flow.pid), "its training goes on"

    up.watch()
    assert len([text for text in receiver.texts if newest["id"] in text]) == 1, "the refused one is told"
    assert state_of(up, run) == "RUNNING"

    processes = [*up.everything(), flow]
    assert len(processes) >= 4
    began = time.monotonic()
    assert up.end(signal.SIGTERM) == 0, up.said
    assert time.monotonic() - began < 40, up.said
    assert [process.command for process in processes if not process.ends(5.0)] == []


def test_one_that_is_started_again_at_once_has_its_own_workers_and_knows_what_ended_with_it(up: Served) -> None:
    """Prefect calls the workers of before alive for a minute or two."""
    with served(up.home) as again:
        states = [one["state_type"] for one in again.runs("train-all")]
        assert "CRASHED" in states, "the run that worked at the end"
        assert not {"RUNNING", "PENDING", "CANCELLING"} & set(states)
        assert any("worker crpbot: started" in line for line in again.said), again.said
        assert any("worker crpbot-symbols: started" in line for line in again.said), again.said
        assert again.child("worker start --pool crpbot ")


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://127.0.0.2:9/api", "one can be started on this machine's loopback only"),
        ("http://127.0.0.1:4200", "PREFECT_API_URL must be the address of an API"),
    ],
)
def test_what_it_cannot_do_is_said_in_one_line(tmp_path: Path, url: str, line: str) -> None:
    environment = os.environ | {"CRPBOT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": url, "no_proxy": "*"}
    command = [sys.executable, "-m", "flows.serving"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 1
    assert line in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_port_of_something_else_is_not_taken(tmp_path: Path, receiver: Receiver) -> None:
    url = receiver.url.removesuffix("/services/canary") + "/api"
    environment = os.environ | {"CRPBOT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": url}
    command = [sys.executable, "-m", "flows.serving"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (answer.returncode, answer.stdout) == (1, "")
