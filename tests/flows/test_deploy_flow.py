"""The flow `deploy` on a real server: what it ends as, and that every one of its runs is told, once."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models_lib.errors import ConfigError, DeployError
from models_lib.registry import open_registry
from tests.contracts.endpoints import HttpEndpoint
from tests.hosts import in_folder
from tests.judged import at, judged

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect")]
BTC = "BTC-USD"


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpEndpoint]:
    endpoint = HttpEndpoint("healthy")
    monkeypatch.setenv("CRPBOT_SLACK_WEBHOOK_URL", endpoint.url)
    monkeypatch.delenv("CRPBOT_CONFIG", raising=False)
    yield endpoint
    endpoint.close()


@pytest.fixture
def champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hash of the one in CRPBOT_HOME."""
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "home"))
    bundle = judged("A", tmp_path / "a")
    registry = open_registry(tmp_path / "home")
    registry.store.put(tmp_path / "a")
    registry.promote(BTC, bundle, expected_champion=None, who="test", why="test", now=at(2))
    return bundle


def deployed(*settings: str, **params: Any) -> Any:
    from flows.deploy import deploy
    from flows.parameters import DeployParams

    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    return deploy(DeployParams(settings=settings, **params), return_state=True)


def name_of_run(state: Any) -> str:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return str(client.read_flow_run(state.state_details.flow_run_id).name)


def told_by_the_night_watch(state: Any) -> bool:
    from flows.serving.bad_ends import told_by_nobody

    return told_by_nobody(state)


@pytest.mark.usefixtures("prefect")
def test_each_run_ends_as_its_deployment_and_is_told(tmp_path: Path, champion: str, slack: HttpEndpoint) -> None:
    place = tmp_path / "place"
    settings = (*in_folder(place), "notifications.events=[deployed, failed]")
    for run in (1, 2):
        state = deployed(*settings, target="folder")
        assert (state.name, state.is_completed()) == ("Deployed", True)
        assert state.message == f"{BTC}  deployed  {champion[:12]}"
        (answer,) = state.result()
        assert (answer.symbol, answer.bundle, answer.outcome) == (BTC, champion, "deployed")
        assert len(slack.requests) == run, "the second run is told like the first"
    assert name_of_run(state) == "deploy-folder"
    assert (place / "current" / BTC).resolve().name == champion

    releases = place / "releases" / BTC
    releases.rename(releases.with_name("aside"))
    releases.write_text("a file where a folder must be")
    state = deployed(*settings)
    assert (state.name, state.is_failed()) == ("NotDeployed", True)
    assert state.message.startswith(f"{BTC}  failed  {BTC}: release {champion[:12]} cannot be put into ")
    assert isinstance(state.result(raise_on_failure=False), DeployError)
    assert f"{BTC} failed" in json.dumps(slack.requests[-1])
    assert len(slack.requests) == 3
    assert not told_by_the_night_watch(state)
    assert name_of_run(state) == "deploy-configured-target"


@pytest.mark.usefixtures("prefect")
def test_run_that_came_to_nothing_for_any_symbol_is_told(tmp_path: Path, champion: str, slack: HttpEndpoint) -> None:
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "runtime.yaml").write_text("")
    section = {"kind": "local", "folder": str(folder), "runtime_command": [str(tmp_path / "no-runtime")]}
    state = deployed(f"deployment.targets.host={json.dumps(section)}", target="host")
    assert (state.name, state.is_failed()) == ("NotDeployed", True)
    assert state.message.startswith("target host: there is no ")
    assert isinstance(state.result(raise_on_failure=False), DeployError)
    (message,) = slack.requests
    assert "target host: there is no " in json.dumps(message)
    assert not told_by_the_night_watch(state)


@pytest.mark.usefixtures("prefect")
def test_what_cannot_be_meant_fails_the_run_with_its_remedy(champion: str, slack: HttpEndpoint) -> None:
    state = deployed(target="tokyo")
    assert state.is_failed()
    answer = state.result(raise_on_failure=False)
    assert isinstance(answer, ConfigError), answer
    assert "'tokyo' is no configured target; configured are local." in str(answer)
    assert slack.requests == []
    assert told_by_the_night_watch(state)
