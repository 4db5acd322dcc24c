"""`make server` with everything real: it is brought up, looked after, killed in parts, and ended."""

import contextlib
import os
import signal
import sqlite3
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

QUICK_RUN = {"symbols": ["BTC-USD"], "days": 14, "settings": [*QUICK, *LENIENT]}
ENDLESS_RUN = QUICK_RUN | {
    "settings": [
        *QUICK,
        *LENIENT,
        "training.max_epochs=100000",
        "training.patience=100000",
        "training.gate_stop_epochs=100000",
    ]
}
SILENT_SECONDS = 60
"""Two heartbeats, so that the test is not longer than it must be."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


@pytest.fixture(scope="module")
def up(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("serving") / "home"
    with served(home, CRPBOT_SLACK_WEBHOOK_URL=receiver.url, CRPBOT_SILENT_SECONDS=str(SILENT_SECONDS)) as one:
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


def test_second_one_beside_it_only_looks_at_what_stands(up: Served) -> None:
    before = standing(up)
    assert {path: len(ids) for path, ids in before.items()} == {
        "work_pools/filter": 3,
        "deployments/filter": 5,
        "automations/filter": 5,
        "v2/concurrency_limits/filter": 2,  # the GPU's and the night-watch's
    }
    began = time.monotonic()
    answer = up.command("flows.serving")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"is served already, by process {up.process.pid}" in answer.stdout
    assert "deployments: found 5" in answer.stdout
    assert "created" not in answer.stdout
    assert time.monotonic() - began < 30
    assert standing(up) == before


def test_pages_are_served_and_the_settings_hold(up: Served) -> None:
    settings = up.ask("admin/settings", method="GET")
    assert settings["server"]["analytics_enabled"] is False
    assert "flow_runs" in settings["server"]["services"]["db_vacuum"]["enabled"]
    with urllib.request.urlopen(up.api_url.removesuffix("/api"), timeout=30) as page:
        assert b"Prefect" in page.read()


def test_schedules_that_were_switched_off_stay_off_when_everything_is_deployed_again(up: Served) -> None:
    (nightly,) = up.ask("deployments/filter", {"deployments": {"name": {"any_": ["nightly"]}}})
    (silent,) = up.ask("automations/filter", {"automations": {"name": {"any_": ["crpbot: a run fell silent"]}}})
    schedule = nightly["schedules"][0]["id"]
    up.ask(f"deployments/{nightly['id']}/schedules/{schedule}", {"active": False}, method="PATCH")
    up.ask(f"automations/{silent['id']}", {"enabled": False}, method="PATCH")
    up.ask("variables/name/crpbot_deployed", {"value": "of an earlier version"}, method="PATCH")
    up.environment["CRPBOT_SILENT_SECONDS"] = "500"
    answer = up.command("flows.serving.ensure")
    assert "deployments: created 0, deployed again 5" in answer.stdout, answer.stdout + answer.stderr
    assert "automation 'crpbot: a run fell silent': changed" in answer.stdout
    again = up.ask(f"deployments/{nightly['id']}", method="GET")
    assert [one["active"] for one in again["schedules"]] == [False]
    assert up.ask(f"automations/{silent['id']}", method="GET")["enabled"] is False
    up.environment["CRPBOT_SILENT_SECONDS"] = str(SILENT_SECONDS)
    assert up.command("flows.serving.ensure").returncode == 0
    up.ask(f"automations/{silent['id']}", {"enabled": True}, method="PATCH")


def test_late_nights_do_not_pile_up_and_a_killed_worker_is_replaced(up: Served) -> None:
    """Four nights are due when the worker comes back; the latest is carried out, as the command line would."""
    (nightly,) = up.ask("deployments/filter", {"deployments": {"name": {"any_": ["nightly"]}}})
    up.ask(f"deployments/{nightly['id']}", {"parameters": {"params": QUICK_RUN}}, method="PATCH")
    worker = up.child("worker start --pool crpbot ")
    os.kill(worker.pid, signal.SIGSTOP)  # an outage
    now = datetime.now(UTC)
    (schedule,) = nightly["schedules"]
    up.ask(f"deployments/{nightly['id']}/schedules/{schedule['id']}", {"active": True}, method="PATCH")
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


def test_run_that_is_asked_for_in_a_shell_ends_with_its_verdict(up: Served) -> None:
    answer = up.run(
        "train-all/on-demand", QUICK_RUN | {"settings": [*QUICK_RUN["settings"], "training.seed=2"]}, "--watch"
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert newest_run(up)["state_type"] == "COMPLETED"


def test_run_that_fails_by_itself_ends_with_status_1_and_somebody_is_told_at_once(
    up: Served, receiver: Receiver
) -> None:
    answer = up.run("train-all/on-demand", {"config": "configs/never_there.yaml"}, "--watch")
    assert answer.returncode == 1, answer.stdout + answer.stderr
    failed = newest_run(up)
    assert failed["state_type"] == "FAILED"
    told = until(lambda: [text for text in receiver.texts if failed["id"] in text] or None, "somebody is told")
    assert "never_there.yaml" in told[0]


def test_wrong_choice_is_refused_in_the_shell_before_a_run_is_made(up: Served) -> None:
    before = len(up.runs("train-all"))
    answer = up.run("train-all/on-demand", {"days": 3}, "--watch")
    assert answer.returncode != 0
    assert "14" in answer.stdout + answer.stderr
    assert len(up.runs("train-all")) == before


def test_run_survives_its_worker_and_the_server_and_is_found_when_it_is_killed_itself(
    up: Served, receiver: Receiver
) -> None:
    run = training_run(up)
    flow = Child(int(run["infrastructure_pid"]))

    refused = up.run("train-all/on-demand", QUICK_RUN, "--watch")
    assert refused.returncode == 1, "a second one beside it"
    assert state_of(up, run) == "RUNNING"
    newest = newest_run(up)
    assert (newest["state_type"], newest["state_name"]) == ("CANCELLED", "Refused")
    assert newest["state"]["message"].startswith(f"{run['name']} is retraining in ")

    for part, name in (("worker start --pool crpbot ", "crpbot"), ("flows.serving.server", "server")):
        killed, said = up.child(part), len(up.said)
        os.kill(killed.pid, signal.SIGKILL)
        assert killed.ends()
        up.hears(f"{name}: was ended by SIGKILL; started again", since=said)
        another = up.child(part)
        assert another.pid != killed.pid
        assert state_of(up, run) == "RUNNING"
        assert children_of(flow.pid), "its training goes on"

    worker = up.child("worker start --pool crpbot ")
    for pid in (worker.pid, flow.pid):
        os.kill(pid, signal.SIGKILL)
    assert flow.ends()
    until(lambda: state_of(up, run) == "CRASHED" or None, "the run is found dead")
    message = up.ask(f"flow_runs/{run['id']}", method="GET")["state"]["message"]
    assert message == f"No sign of life for {SILENT_SECONDS} seconds: its process was killed. Start it again."
    # By hand, because a server that was replaced holds back what it does about older runs; and then once more.
    for _ in range(2):
        assert up.run("night-watch/every-10-minutes", None, "--watch").returncode == 0
    assert len([text for text in receiver.texts if run["id"] in text]) == 1
    assert len([text for text in receiver.texts if newest["id"] in text]) == 1, "and of the one that was refused"
    children = [one for one in up.runs("train-symbol") if one["state_type"] in {"RUNNING", "PENDING"}]
    assert children == [], "the child that it left behind was cancelled"


def test_end_takes_everything_with_it_within_seconds_and_says_so(up: Served) -> None:
    run = training_run(up)
    processes = [*up.everything(), Child(int(run["infrastructure_pid"]))]
    assert len(processes) >= 4
    began = time.monotonic()
    assert up.end(signal.SIGTERM) == 0, up.said
    assert time.monotonic() - began < 40, up.said
    assert [process.command for process in processes if not process.ends(5.0)] == []
    with contextlib.closing(sqlite3.connect(up.home / "prefect" / "prefect.db")) as database:
        (state,) = database.execute("SELECT state_type FROM flow_run WHERE id = ?", (run["id"],)).fetchone()
    assert state == "CRASHED"


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
