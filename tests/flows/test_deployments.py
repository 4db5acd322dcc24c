"""What the ensure-script puts on a real server: pools, deployments, automations; and what the server then refuses."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from flows.parameters import RetrainParams
from models_lib.config import load_config
from models_lib.steps.outcome import failed_outcome
from models_lib.steps.summary import headline

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
Answer = TypeVar("Answer")


@pytest.fixture(scope="module")
def environment(prefect: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a person's shell that points at the server of this session."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    assert settings.api.url
    return os.environ | {
        "PREFECT_API_URL": settings.api.url,
        "PREFECT_HOME": str(tmp_path_factory.mktemp("shell")),
        "CRPBOT_HOME": str(tmp_path_factory.mktemp("deployed") / "home"),
        "COLUMNS": "200",
    }


def ensured(environment: dict[str, str]) -> list[str]:
    """The lines of the ensure-script."""
    answer = subprocess.run(
        [sys.executable, "-m", "flows.serving.ensure"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout.splitlines()


def asked(question: Coroutine[Any, Any, Answer]) -> Answer:
    return asyncio.run(question)


@pytest.fixture(scope="module")
def deployed(environment: dict[str, str]) -> dict[str, Any]:
    """The deployments of the server by name."""
    lines = ensured(environment)
    assert [line for line in lines if not line.endswith("created") and "deployments: created 5" not in line] == []
    return asked(_read_deployments())


async def _read_deployments() -> dict[str, Any]:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        return {deployment.name: deployment for deployment in await client.read_deployments()}


async def _read_names_and_ids() -> dict[str, list[tuple[str, str]]]:
    """Everything that the ensure-script may have made."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        deployments = await client.read_deployments()
        standing: dict[str, list[Any]] = {
            "pools": await client.read_work_pools(),
            "limits": await client.read_global_concurrency_limits(limit=50, offset=0),
            "deployments": deployments,
            "automations": await client.read_automations(),
        }
        found = {kind: sorted((thing.name, str(thing.id)) for thing in things) for kind, things in standing.items()}
        found["schedules"] = sorted((one.name, str(schedule.id)) for one in deployments for schedule in one.schedules)
        return found


def test_deployments_stand_with_their_schedules_pools_and_limits(deployed: dict[str, Any]) -> None:
    assert set(deployed) == {"nightly", "on-demand", "on-pool", "on-gpu", "every-10-minutes"}
    (nightly,) = deployed["nightly"].schedules
    assert (nightly.schedule.cron, nightly.schedule.timezone, nightly.active) == ("0 2 * * *", "UTC", True)
    assert deployed["on-demand"].schedules == deployed["on-pool"].schedules == []
    pools = {name: one.work_pool_name for name, one in deployed.items()}
    assert {pools[name] for name in ("nightly", "on-demand", "every-10-minutes")} == {"crpbot"}
    assert (pools["on-pool"], pools["on-gpu"]) == ("crpbot-symbols", "gpu"), "a parent must not wait for its own place"
    limited = {name for name, one in deployed.items() if one.global_concurrency_limit is not None}
    assert limited == {"every-10-minutes"}, "a limit would cancel a run that a person has just approved"
    assert deployed["every-10-minutes"].concurrency_options.collision_strategy.value == "CANCEL_NEW"
    assert deployed["on-gpu"].pull_steps == [], "that machine has no working tree"
    assert {one.job_variables["stream_output"] for one in deployed.values()} == {False}, "a run survives its worker"
    heartbeats = {one.job_variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] for one in deployed.values()}
    assert heartbeats == {"30"}, "the automation takes a run that is silent for longer for dead"


def test_ensuring_twice_is_ensuring_once(deployed: dict[str, Any], environment: dict[str, str]) -> None:
    before = asked(_read_names_and_ids())
    assert {"crpbot", "crpbot-symbols", "gpu"} <= {name for name, _ in before["pools"]}
    assert "crpbot-gpu" in {name for name, _ in before["limits"]}
    assert len(before["automations"]) == 5
    lines = ensured(environment)
    assert [line for line in lines if "found" not in line] == []
    assert asked(_read_names_and_ids()) == before


def test_form_explains_every_choice(deployed: dict[str, Any]) -> None:
    schema = deployed["on-demand"].parameter_openapi_schema
    choices = schema["definitions"]["RetrainParams"]
    assert set(choices["properties"]) == {"config", "symbols", "settings", "days", "fanout", "approval"}
    assert all(field["description"] and field["title"] for field in choices["properties"].values())


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"symbols": ["btc"]}, "does not match"),
        ({"settings": ["no equals sign"]}, "does not match"),
        ({"days": 3}, "14"),
        ({"fanout": "elsewhere"}, "is not one of"),
        ({"colour": "blue"}, "colour"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_bad_choice_is_refused_before_a_run_is_made(
    deployed: dict[str, Any], params: dict[str, Any], fault: str
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    async def ask() -> None:
        async with get_client() as client:
            await client.create_flow_run_from_deployment(deployed["on-demand"].id, parameters={"params": params})

    with pytest.raises(PrefectHTTPStatusError, match="409") as refused:
        asked(ask())
    assert fault in refused.value.response.text


def test_choices_of_the_form_are_settings_of_the_configuration() -> None:
    params = RetrainParams(settings=("data.days=50",), days=20, fanout="deployment", approval="required")
    config = load_config(None, params.overrides)
    assert (config.data.days, config.orchestration.fanout, config.approval.promotion) == (20, "deployment", "required")
    assert load_config(None, RetrainParams().overrides) == load_config(None, ())


def test_of_several_late_nights_only_the_latest_is_left(deployed: dict[str, Any]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Scheduled

    from flows.serving.late_runs import SUPERSEDED, cancel_superseded

    nightly, by_hand = deployed["nightly"].id, deployed["on-demand"].id
    later = datetime.now(UTC) + timedelta(days=4)

    async def ask() -> tuple[list[Any], list[Any]]:
        async with get_client() as client:
            # What the server does by itself, every minute.
            asked_for = {"start_time": str(later - timedelta(days=3)), "end_time": str(later)}
            await client.request("POST", "/deployments/{id}/schedule", path_params={"id": nightly}, json=asked_for)
            person = await client.create_flow_run_from_deployment(
                by_hand, state=Scheduled(scheduled_time=later - timedelta(days=2))
            )
            cancelled = await cancel_superseded(client, "crpbot", now=later)
            again = await cancel_superseded(client, "crpbot", now=later)
            assert again == []
            runs = [run for run in await client.read_flow_runs() if run.deployment_id in {nightly, by_hand}]
            for run in runs:  # nothing of it shall be there for another test
                await client.delete_flow_run(run.id)
            assert person.id not in {run.id for run in cancelled}
            return cancelled, [run for run in runs if run.deployment_id == nightly]

    cancelled, runs = asked(ask())
    due = sorted((run for run in runs if run.expected_start_time <= later), key=lambda run: run.expected_start_time)
    assert len(due) >= 3
    assert [run.state.type.value for run in due] == ["CANCELLED"] * (len(due) - 1) + ["SCHEDULED"]
    assert {run.id for run in cancelled} >= {run.id for run in due[:-1]}
    assert {run.state.message for run in due[:-1]} == {SUPERSEDED}


def test_runs_that_ended_without_a_word_are_told_and_children_left_behind_are_cancelled(prefect: None) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled, Completed, Crashed, Failed, Running

    from flows.serving.automations import NO_WORKER
    from flows.serving.bad_ends import bad_ends, cancel_left_behind

    @flow(name="train-all")
    def parent() -> None: ...

    @flow(name="train-symbol")
    def child() -> None: ...

    verdict = headline({"BTC-USD": failed_outcome("BTC-USD", ValueError("x"))})
    ends = {
        "killed": Crashed(message="No sign of life"),
        "broken": Failed(message="Flow run encountered an exception: ConfigError: no such file"),
        "told": Failed(message=verdict),
        "good": Completed(message="3 of 3 promoted"),
        "refused": Cancelled(message="Deployment concurrency limit reached."),
        "second": Cancelled(name="Refused", message="train-all-x is retraining"),
        "late": Cancelled(name="TooLate", message="scheduled for yesterday"),
        "missed": Cancelled(message=NO_WORKER),
        "by a person": Cancelled(),
    }
    now = datetime.now(UTC)
    with get_client(sync_client=True) as client:
        runs = {name: client.create_flow_run(parent, name=name, state=Running()) for name in (*ends, "alive")}
        left = _child_of(client, runs["killed"].id, child)
        kept = _child_of(client, runs["alive"].id, child)
        for name, state in ends.items():
            client.set_flow_run_state(runs[name].id, state, force=True)
        ids = {str(run.id) for run in runs.values()}
        told = {notice.run_id: notice for notice in bad_ends(client, now) if notice.run_id in ids}
        cancelled = cancel_left_behind(client)
        assert cancel_left_behind(client) == []
        states = {name: client.read_flow_run(run.id).state.type.value for name, run in (("left", left), ("kept", kept))}
        assert bad_ends(client, now + timedelta(days=4)) == []
        for run in (*runs.values(), left, kept):  # nothing of it shall be there for another test
            client.delete_flow_run(run.id)
    assert set(told) == {str(runs[name].id) for name in ("killed", "broken", "refused", "second", "late", "missed")}
    killed = told[str(runs["killed"].id)]
    assert (killed.event, killed.reason) == ("crashed", "killed crashed: No sign of life")
    assert killed.link is not None
    assert str(runs["killed"].id) in killed.link
    assert cancelled == [left.name]
    assert states == {"left": "CANCELLED", "kept": "RUNNING"}


def _child_of(client: Any, parent: Any, flow: Any) -> Any:
    """As Prefect links them: by a task run of the parent."""
    from prefect import task
    from prefect.states import Running

    @task
    def launch() -> None: ...

    launched = client.create_task_run(launch, flow_run_id=parent, dynamic_key="0", state=Running())
    return client.create_flow_run(flow, parent_task_run_id=launched.id, state=Running())
