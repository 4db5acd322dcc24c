"""Runs with controls: shown everywhere, killed and taken up again, and never of any weight for the model's verdict."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from models_lib.reports.controls import control_table
from models_lib.steps.report import REPORT_NAME
from tests.flows.artifacts import artifacts_of
from tests.flows.running import RunningRun, check_every_file_is_whole, crpbot, history, running
from tests.markets import LENIENT, QUICK

SETTINGS = ("data.days=14", *QUICK, *LENIENT)
CONTROLS = "evaluation.controls=[shuffled, signflip]"


def content_of_the_newest_run(home: Path) -> dict[str, Any]:
    newest = max((home / "runs").glob("*/summary.json"), key=lambda path: path.stat().st_mtime_ns)
    content: dict[str, Any] = json.loads(newest.read_text())
    return content


def symbol_of_the_newest_run(home: Path) -> dict[str, Any]:
    symbol: dict[str, Any] = content_of_the_newest_run(home)["symbols"]["BTC-USD"]
    return symbol


@pytest.mark.parametrize("words", [("--control", "reversed"), ("--control",)])
def test_unknown_control_is_refused(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["run", *words])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "--control" in told
    assert not list(tmp_path.iterdir())


def test_help_explains_the_controls(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    told = capsys.readouterr().out
    assert "--control {shuffled,signflip}" in told
    assert "the model's verdict stands" in told


@pytest.mark.long
@pytest.mark.prefect
@pytest.mark.xdist_group("prefect")
@pytest.mark.timeout(600)
def test_run_shows_the_model_beside_both_controls(
    prefect: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held, and the controls are done all the same: they are about the pipeline."""
    from flows.parameters import RetrainParams
    from flows.train_all import train_all

    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path))
    settings = ("data.days=14", *QUICK, "gates.accuracy.limit=0.99")
    params = RetrainParams(symbols=("BTC-USD",), settings=settings, controls=("shuffled", "signflip"))
    state = train_all(params, return_state=True)
    entry = symbol_of_the_newest_run(tmp_path)
    assert entry["outcome"] == "held"
    assert [control["name"] for control in entry["controls"]] == ["shuffled", "signflip"]
    assert all(control["metrics"] and control["alarm"] is None for control in entry["controls"])
    assert entry["seconds"]["controls"] >= sum(control["seconds"] for control in entry["controls"]) - 0.01
    assert (
        entry["controls"][0]["metrics"]["mechanical_rule_accuracy"]
        == (entry["metrics"]["test"]["mechanical_rule_accuracy"])
    )

    table = control_table(entry["metrics"]["test"], entry["controls"])
    assert table is not None
    page = Path(entry["report"]).read_text()
    markdown = (Path(entry["report"]).parents[1] / "summary.md").read_text()
    for row in table.rows:
        assert row["training"] in page
        assert row["lift"].replace(" points", "\N{NO-BREAK SPACE}points") in page
        assert f"| {row['training']} | {row['accuracy']} |" in markdown
    shown = artifacts_of_every_child(state.state_details.flow_run_id)
    assert json.loads(shown["controls-btc-usd"].data) == [dict(row) for row in table.rows]
    assert "No control found anything" in shown["controls-btc-usd"].description

    bundles = list((tmp_path / "store" / "bundles").iterdir())
    assert [bundle.name for bundle in bundles] == [entry["bundle"]], "a control is no bundle"
    assert not (tmp_path / "promoted").exists()
    assert not (tmp_path / "ledger.jsonl").exists()
    left = [path for path in tmp_path.glob("cache/steps/BTC-USD/control-*/**/*") if path.suffix in (".npy", ".parquet")]
    assert left == []


def artifacts_of_every_child(run: Any) -> dict[str, Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

    async def ask() -> list[Any]:
        async with get_client() as client:
            children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run]))
            return [child.id for child in await client.read_flow_runs(flow_run_filter=children)]

    return {key: item for child in asyncio.run(ask()) for key, item in artifacts_of(child).items()}


@pytest.mark.long
@pytest.mark.xdist_group("stopped")
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_run_killed_in_a_control_goes_on_behind_what_was_finished(tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS, CONTROLS) as run:
        run.until("BTC-USD: control signflip ...")
        run.process.send_signal(signal.SIGKILL)
        assert run.process.wait() == -signal.SIGKILL
    assert not (tmp_path / "ledger.jsonl").exists()
    words = [word for one in SETTINGS for word in ("--set", one)]
    again = crpbot(tmp_path, "run", "--symbols", "BTC-USD", "--control", "shuffled", "--control", "signflip", *words)
    assert again.returncode == 0, again.stderr
    for step in ("training", "judgement", "control-shuffled"):
        assert f"{step}: finished before, taken over" in again.stderr
    assert "control-signflip: finished before" not in again.stderr
    entry = symbol_of_the_newest_run(tmp_path)
    assert entry["outcome"] == "promoted"
    assert [control["reason"] for control in entry["controls"]] == ["", ""]
    assert len(history(tmp_path)) == 1
    assert check_every_file_is_whole(tmp_path) > 10
    assert "shuffled labels" in again.stdout
    assert "flipped signs" in again.stdout


@pytest.mark.long
@pytest.mark.xdist_group("stopped")
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_training_of_a_control_costs_the_model_nothing(tmp_path: Path) -> None:
    with running(tmp_path, *SETTINGS, CONTROLS) as run:
        run.until("BTC-USD: control shuffled ...")
        os.kill(training_of(run), signal.SIGKILL)
        status, rest = run.end()
    assert status == 0, rest
    entry = symbol_of_the_newest_run(tmp_path)
    assert entry["outcome"] == "promoted"
    shuffled, signflip = entry["controls"]
    assert shuffled["metrics"] is None
    assert "ended by SIGKILL" in shuffled["reason"]
    assert signflip["metrics"]["accuracy"] > 0.5
    page = (max((tmp_path / "runs").iterdir()) / "BTC-USD" / REPORT_NAME).read_text()
    assert "control shuffled came to nothing" in page
    assert "control shuffled was not measured" in rest


def training_of(run: RunningRun) -> int:
    """Process id of the training that runs, as soon as there is one."""
    while run.process.poll() is None:
        found = next((child for child in run.children() if "training.worker" in child.command), None)
        if found is not None:
            return found.pid
        time.sleep(0.005)  # between two looks
    raise AssertionError(f"the run ended before it trained: {''.join(run.said)}")
