"""What the ensure-script puts on a real server: pools, deployments, automations; and what the server then refuses."""

import asyncio
import json
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

Answer = TypeVar("Answer")


@pytest.fixture(scope="module")
def deployed(prefect: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The deployments of the server by name, put there by the ensure-script."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    assert url
    with pytest.MonkeyPatch.context() as patch:  # `prefect deploy` is a process of its own
        patch.setenv("PREFECT_API_URL", url)
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("shell")))
        lines = asked(_ensured())
    assert [line for line in lines if not line.endswith("created") and "deployments: created 7" not in line] == []
    return asked(_read_deployments())


async def _ensured() -> list[str]:
    from prefect.client.orchestration import get_client

    from flows.serving.standing import ensure

    async with get_client() as client:
        return [line async for line in ensure(client)]


def asked(question: Coroutine[Any, Any, Answer]) -> Answer:
    return asyncio.run(question)


async def _read_deployments() -> dict[str, Any]:
    from prefect.client.orchestration import get_client

    from flows.serving.standing import standing_deployments

    async with get_client() as client:
        return await standing_deployments(client)


def test_deployments_stand_with_their_schedules_pools_and_limits(deployed: dict[str, Any]) -> None:
    assert set(deployed) == {
        "train-all/nightly",
        "train-all/on-demand",
        "train-symbol/on-pool",
        "train-symbol/on-gpu",
        "deploy/on-demand",
        "compare/on-demand",
        "night-watch/every-10-minutes",
    }
    (nightly,) = deployed["train-all/nightly"].schedules
    assert (nightly.schedule.cron, nightly.schedule.timezone, nightly.active) == ("0 2 * * *", "UTC", True)
    assert deployed["train-all/nightly"].parameters == {"params": {"settings": ["training.sagemaker.approval=auto"]}}
    assert deployed["train-all/on-demand"].schedules == deployed["train-symbol/on-pool"].schedules == []
    pools = {name: one.work_pool_name for name, one in deployed.items()}
    assert {
        pools[name]
        for name in ("train-all/nightly", "deploy/on-demand", "compare/on-demand", "night-watch/every-10-minutes")
    } == {"crpbot"}
    assert (pools["train-symbol/on-pool"], pools["train-symbol/on-gpu"]) == ("crpbot-symbols", "gpu"), (
        "a parent must not wait for its own place"
    )
    limited = {name for name, one in deployed.items() if one.global_concurrency_limit is not None}
    assert not limited, "a limit would cancel a run that was just approved, and outlive a night-watch that was killed"
    assert deployed["train-symbol/on-gpu"].pull_steps == [], "that machine has no working tree"
    assert {one.job_variables["stream_output"] for one in deployed.values()} == {False}, "a run survives its worker"
    heartbeats = {one.job_variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] for one in deployed.values()}
    assert heartbeats == {"30"}, "the automation takes a run that is silent for longer for dead"


def test_what_the_operator_changed_stays_and_what_nobody_changed_follows_the_file() -> None:
    from flows.serving.standing import operators_choices

    deployed = {"paused": False, "parameters": {}, "concurrency_limit": 1}
    assert operators_choices(deployed | {"paused": True}, deployed) == {"paused": True}
    assert operators_choices(deployed, deployed) == {}
    assert operators_choices(deployed, {}) == deployed, "what is not known to be ours is theirs"


def test_new_plan_or_flow_is_deployed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.serving import standing

    monkeypatch.setattr(standing, "ROOT", tmp_path)
    prints = set()
    for name in ("deployments/prefect.yaml", "flows/train_symbol.py", "models_lib/steps/plan.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("new")
        if (tmp_path / "deployments/prefect.yaml").exists():
            prints.add(standing.deployments_fingerprint())
    assert len(prints) == 3


def test_form_explains_every_choice(deployed: dict[str, Any]) -> None:
    schema = deployed["train-all/on-demand"].parameter_openapi_schema
    choices = schema["definitions"]["RetrainParams"]
    names = {"config", "symbols", "settings", "days", "fanout", "approval", "controls", "payment"}
    assert set(choices["properties"]) == names
    assert all(field["description"] and field["title"] for field in choices["properties"].values())


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"symbols": ["btc"]}, "does not match"),
        ({"settings": ["no equals sign"]}, "does not match"),
        ({"days": 3}, "14"),
        ({"fanout": "elsewhere"}, "is not one of"),
        ({"controls": ["reversed"]}, "is not one of"),
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
            await client.create_flow_run_from_deployment(
                deployed["train-all/on-demand"].id, parameters={"params": params}
            )

    with pytest.raises(PrefectHTTPStatusError, match="409") as refused:
        asked(ask())
    assert fault in refused.value.response.text


def test_choices_of_the_form_are_settings_of_the_configuration() -> None:
    params = RetrainParams(settings=("data.days=50",), days=20, fanout="deployment", approval="required")
    config = load_config(None, params.overrides)
    assert (config.data.days, config.orchestration.fanout, config.approval.promotion) == (20, "deployment", "required")
    assert load_config(None, RetrainParams().overrides) == load_config(None, ())


def test_controls_of_the_form_are_those_of_the_configuration() -> None:
    chosen = RetrainParams(controls=("signflip", "shuffled", "signflip"))
    assert load_config(None, chosen.overrides).evaluation.controls == ("signflip", "shuffled")
    configured = ("evaluation.controls=[shuffled]",)
    assert load_config(None, RetrainParams(settings=configured).overrides).evaluation.controls == ("shuffled",)
    assert load_config(None, RetrainParams(settings=configured, controls=()).overrides).evaluation.controls == (
        "shuffled",
    )


def test_of_several_late_nights_only_the_latest_is_left(deployed: dict[str, Any]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Scheduled

    from flows.serving.late_runs import SUPERSEDED, cancel_superseded

    nightly, by_hand = deployed["train-all/nightly"].id, deployed["train-all/on-demand"].id
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


def test_every_flow_that_stands_is_watched(deployed: dict[str, Any]) -> None:
    """By the heartbeat, and by the night-watch when it ends badly."""
    from flows.serving.automations import OUR_FLOWS

    assert {name.partition("/")[0] for name in deployed} == {*OUR_FLOWS, "night-watch"}


def test_runs_that_ended_without_a_word_are_told_and_children_left_behind_are_cancelled(
    deployed: dict[str, Any], tmp_path: Path
) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled, Completed, Crashed, Failed, Running

    from flows.serving.automations import NO_WORKER
    from flows.serving.bad_ends import bad_ends, cancel_left_behind
    from models_lib.running import marked_as_running
    from models_lib.steps.admission import sole_retrain
    from models_lib.steps.plan import token_of

    @flow(name="train-all")
    def parent() -> None: ...

    @flow(name="train-symbol")
    def child() -> None: ...

    @flow(name="deploy")
    def deployment() -> None: ...

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
    deployments = {
        "killed deployment": Crashed(message="No sign of life"),
        "broken deployment": Failed(message="Flow run encountered an exception: ConfigError: no such target"),
        "told deployment": Failed(name="NotDeployed", message="BTC-USD  failed  refused"),
    }
    now = datetime.now(UTC)
    with get_client(sync_client=True) as client:
        runs = {name: client.create_flow_run(parent, name=name, state=Running()) for name in (*ends, "alive")}
        runs |= {name: client.create_flow_run(deployment, name=name, state=Running()) for name in deployments}
        nightly = client.create_flow_run_from_deployment(
            deployed["train-all/nightly"].id, name="nightly", state=Running()
        )
        by_hand = client.create_flow_run(parent, name="by hand", state=Running())
        left = _child_of(client, runs["killed"].id, child)
        kept = [_child_of(client, run.id, child) for run in (runs["alive"], nightly, by_hand)]
        for run, state in [
            *((runs[name], state) for name, state in (ends | deployments).items()),
            (nightly, Crashed()),
            (by_hand, Crashed()),
        ]:
            client.set_flow_run_state(run.id, state, force=True)
        ids = {str(run.id) for run in (*runs.values(), nightly, by_hand)}
        with (
            sole_retrain(tmp_path, "nightly", wait=False) as other,
            marked_as_running(tmp_path / "runs" / f"20261121T020000Z-{token_of(str(by_hand.id))}"),
            marked_as_running(tmp_path / "runs" / f"20261121T020000Z-{token_of(str(nightly.id))}"),
        ):
            assert other is None
            told = {notice.run_id: notice for notice in bad_ends(client, tmp_path, now) if notice.run_id in ids}
            cancelled = cancel_left_behind(client, tmp_path)
            assert cancel_left_behind(client, tmp_path) == []
        states = [client.read_flow_run(run.id).state.type.value for run in (left, *kept)]
        later = {notice.run_id for notice in bad_ends(client, tmp_path, now)}
        assert sorted(cancel_left_behind(client, tmp_path)) == sorted(run.name for run in kept[1:])
        assert bad_ends(client, tmp_path, now + timedelta(days=4)) == []
        for run in (*runs.values(), nightly, by_hand, left, *kept):  # nothing of it shall be there for another test
            client.delete_flow_run(run.id)
    untold = ("killed", "broken", "refused", "second", "late", "missed", "killed deployment", "broken deployment")
    assert set(told) == {str(runs[name].id) for name in untold}
    killed = told[str(runs["killed"].id)]
    assert (killed.event, killed.reason) == ("crashed", "killed crashed: No sign of life")
    assert killed.link is not None
    assert str(runs["killed"].id) in killed.link
    assert cancelled == [left.name]
    assert states == ["CANCELLED", "RUNNING", "RUNNING", "RUNNING"], "those whose parents live go on"
    assert later >= {str(nightly.id), str(by_hand.id)}, "they live no longer"


def test_night_watch_and_runs_read_the_lasting_configuration(
    prefect: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.serving.night_watch import night_watch
    from flows.train_all import train_all

    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CRPBOT_CONFIG", str(tmp_path / "never_there.yaml"))
    for flow in (night_watch, train_all):
        state = flow(return_state=True)
        assert state.is_failed()
        assert "never_there.yaml: the configuration file cannot be read" in state.message


def _child_of(client: Any, parent: Any, flow: Any) -> Any:
    """As Prefect links them: by a task run of the parent."""
    from prefect import task
    from prefect.states import Running

    @task
    def launch() -> None: ...

    launched = client.create_task_run(launch, flow_run_id=parent, dynamic_key="0", state=Running())
    return client.create_flow_run(flow, parent_task_run_id=launched.id, state=Running())
