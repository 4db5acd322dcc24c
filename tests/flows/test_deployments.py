"""deployments/prefect.yaml on a real server: the README's commands, and a run that a real worker carries out."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.markets import LENIENT, QUICK

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]


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
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "200",
    }


def prefect_command(environment: dict[str, str], *words: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-m", "prefect", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def deployed(environment: dict[str, str]) -> dict[str, Any]:
    """The deployments of the server by name, after the README's two commands."""
    prefect_command(environment, "work-pool", "create", "crpbot", "--type", "process")
    prefect_command(environment, "--no-prompt", "deploy", "--prefect-file", "deployments/prefect.yaml", "--all")
    return asyncio.run(_read_deployments())


async def _read_deployments() -> dict[str, Any]:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        return {deployment.name: deployment for deployment in await client.read_deployments()}


def test_both_deployments_stand_with_their_schedule_and_one_run_at_a_time(deployed: dict[str, Any]) -> None:
    assert set(deployed) == {"nightly", "on-demand"}
    (nightly,) = deployed["nightly"].schedules
    assert (nightly.schedule.cron, nightly.schedule.timezone, nightly.active) == ("0 2 * * *", "UTC", True)
    assert deployed["on-demand"].schedules == []
    for deployment in deployed.values():
        assert deployment.work_pool_name == "crpbot"
        assert deployment.global_concurrency_limit.limit == 1
        assert deployment.concurrency_options.collision_strategy.value == "CANCEL_NEW"


def test_form_explains_every_choice(deployed: dict[str, Any]) -> None:
    schema = deployed["on-demand"].parameter_openapi_schema
    (choices,) = schema["definitions"].values()
    assert set(choices["properties"]) == {"config", "symbols", "settings"}
    assert all(field["description"] and field["title"] for field in choices["properties"].values())


def test_deploying_twice_is_deploying_once(deployed: dict[str, Any], environment: dict[str, str]) -> None:
    prefect_command(environment, "--no-prompt", "deploy", "--prefect-file", "deployments/prefect.yaml", "--all")
    again = asyncio.run(_read_deployments())
    assert {name: one.id for name, one in again.items()} == {name: one.id for name, one in deployed.items()}
    assert len(again["nightly"].schedules) == 1


@pytest.mark.long
def test_worker_carries_out_a_run_that_the_command_line_asked_for(
    deployed: dict[str, Any], environment: dict[str, str]
) -> None:
    settings = ["data.days=14", *QUICK, *LENIENT]
    params = json.dumps({"symbols": ["BTC-USD"], "settings": settings})
    prefect_command(environment, "deployment", "run", "train-all/on-demand", "-p", f"params={params}")
    prefect_command(environment, "worker", "start", "--pool", "crpbot", "--run-once")
    (run,) = (Path(environment["CRPBOT_HOME"]) / "runs").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["symbols"]["BTC-USD"]["outcome"] == "promoted"
    assert (Path(environment["CRPBOT_HOME"]) / "promoted" / "BTC-USD.json").is_file()
