"""train-all and train-symbol on a real Prefect server: verdicts, isolation, links, names, the table, reproducibility."""

import asyncio
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest

from models_lib.bundle import is_sound, verify_bundle
from models_lib.features import FEATURE_NAMES
from models_lib.registry import open_registry
from models_lib.reports import wording
from tests.flows.artifacts import artifacts_of
from tests.markets import LENIENT, QUICK, write_market
from tests.summary_names import TEST_METRICS

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect")]

STEPS = {
    "candles", "features", "labels", "scaler", "train", "temperature", "candidate", "judge", "report", "promote", "page",
    "deploy",
}  # fmt: skip
TASKS = {
    "fetch-candles": "candles",
    "compute-features": "features",
    "label-rows": "labels",
    "fit-scaler": "scaler",
    "train-model": "train",
    "tune-temperature": "temperature",
    "build-candidate": "candidate",
    "judge-candidate": "judge",
    "store-candidate": "store",
    "promote-bundle": "promote",
    "finish-report": "report",
    "deploy-bundle": "deploy",
    "show-symbol": "show",
}


@dataclass(frozen=True)
class Ran:
    """A finished train-all."""

    state: Any
    content: dict[str, Any]
    home: Path

    @property
    def symbols(self) -> dict[str, Any]:
        return self.content["symbols"]

    @property
    def run_id(self) -> str:
        return str(self.content["run_id"])

    @property
    def folder(self) -> Path:
        return self.home / "runs" / self.run_id


@pytest.fixture(scope="module")
def run_all(prefect: None) -> Iterator[Callable[..., Ran]]:
    """Runs train-all on `home`; the library's progress stays quiet."""
    from flows.parameters import RetrainParams
    from flows.train_all import train_all
    from models_lib.errors import VerdictError

    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as environment:

        def run(home: Path, *settings: str, symbols: tuple[str, ...] | None = None) -> Ran:
            environment.setenv("CRPBOT_HOME", str(home))
            state = train_all(RetrainParams(symbols=symbols, settings=settings), return_state=True)
            answer = state.result(raise_on_failure=False)
            file = answer.summary if isinstance(answer, VerdictError) else answer.file.path
            return Ran(state, json.loads(file.read_text()), home)

        yield run


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BTC-USD is sound, ETH-USD has no file, SOL-USD has one minute twice."""
    folder = write_market(tmp_path_factory.mktemp("candles"), "BTC-USD", "SOL-USD")
    sol = pd.read_parquet(folder / "SOL-USD.parquet")
    pd.concat([sol.iloc[:100], sol.iloc[99:]]).to_parquet(folder / "SOL-USD.parquet", index=False)
    return folder


@pytest.fixture(scope="module")
def mixed(run_all: Callable[..., Ran], candles: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One symbol promoted, two failed."""
    home = tmp_path_factory.mktemp("home")
    return run_all(home, "data.source=parquet", f"data.path={candles}", *QUICK, *LENIENT)


@pytest.fixture(scope="module")
def again(run_all: Callable[..., Ran], candles: Path, mixed: Ran) -> Ran:
    """The same training once more, in the same home, from nothing: what the first run had finished is gone."""
    shutil.rmtree(mixed.home / "cache")
    settings = ("data.source=parquet", f"data.path={candles}", *QUICK, *LENIENT)
    return run_all(mixed.home, *settings, symbols=("BTC-USD",))


@pytest.fixture(scope="module")
def held(run_all: Callable[..., Ran], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A symbol that a gate holds: an accuracy of 0.99 is asked for; of three weeks, the fewest that have a drift."""
    settings = ("data.days=22", *QUICK, *LENIENT, "gates.accuracy.severity=blocking", "gates.accuracy.limit=0.99")
    return run_all(tmp_path_factory.mktemp("held"), *settings, symbols=("ETH-USD",))


@dataclass(frozen=True)
class Recorded:
    """What the server knows about a run: the flow run, its task runs, its sub-flows and their task runs."""

    flow_run: Any
    launches: list[Any]
    children: dict[str, Any]
    tasks: dict[str, list[Any]]


def recorded(flow_run_id: UUID) -> Recorded:
    """Asks the server."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    async def ask() -> Recorded:
        async with get_client() as client:

            async def tasks_of(run_id: UUID) -> list[Any]:
                only = FlowRunFilter.model_validate({"id": {"any_": [run_id]}})
                return await client.read_task_runs(flow_run_filter=only)

            launches = await tasks_of(flow_run_id)
            by_parent = {launch.id: launch for launch in launches}
            children = {
                run.parameters["symbol"]: run
                for run in await client.read_flow_runs()
                if run.parent_task_run_id in by_parent
            }
            tasks = {symbol: await tasks_of(run.id) for symbol, run in children.items()}
            return Recorded(await client.read_flow_run(flow_run_id), launches, children, tasks)

    return asyncio.run(ask())


def test_summary_holds_exactly_what_outsiders_rely_on(mixed: Ran) -> None:
    summary = json.loads((mixed.folder / "summary.json").read_text())
    assert summary == mixed.content
    assert set(summary) == {"run_id", "symbols"}
    assert list(summary["symbols"]) == ["BTC-USD", "ETH-USD", "SOL-USD"]
    for entry in summary["symbols"].values():
        promised = {
            "outcome", "bundle", "reason", "gates", "metrics", "temperature", "rows", "deployment", "report", "seconds", "peak_rss_mb",
        }  # fmt: skip
        assert promised | {"words", "champion", "data", "controls"} == set(entry)
        assert entry["deployment"] == {"target": None, "outcome": "not_configured", "release": None}
    btc = summary["symbols"]["BTC-USD"]
    assert set(btc["metrics"]) == {"test"}
    assert set(btc["metrics"]["test"]) >= TEST_METRICS
    assert all(btc["metrics"]["test"][name] is not None for name in TEST_METRICS)
    assert set(btc["rows"]) == {"train", "validation", "test"}
    assert set(btc["seconds"]) == set(btc["peak_rss_mb"]) == STEPS
    assert btc["peak_rss_mb"]["train"] > btc["peak_rss_mb"]["labels"]  # its own process counts, too
    for gate in btc["gates"]:
        assert {"name", "split", "value", "limit", "severity", "passed"} <= set(gate)
        if gate["name"] in {"class_balance", "confidence_band"}:
            assert len(gate["value"]) == len(gate["limit"]) == 2
    assert Path(btc["report"]).read_text().startswith("<!doctype html>")
    assert "BTC-USD" in (mixed.folder / "summary.md").read_text()


def test_promoted_symbol_is_champion_and_its_bundle_sound(mixed: Ran) -> None:
    entry = mixed.symbols["BTC-USD"]
    assert (entry["outcome"], entry["reason"]) == ("promoted", "")
    registry = open_registry(mixed.home)
    champion = registry.champion("BTC-USD")
    assert champion is not None
    assert champion.bundle == entry["bundle"]
    assert is_sound(verify_bundle(registry.store.bundle(champion.bundle)))


def test_page_of_the_run_says_what_became_of_the_candidate_and_the_bundle_s_own_page_does_not(
    mixed: Ran, again: Ran, held: Ran
) -> None:
    first, second, third = (Path(entry["report"]).read_text() for entry in (
        mixed.symbols["BTC-USD"], again.symbols["BTC-USD"], held.symbols["ETH-USD"],
    ))  # fmt: skip
    assert "<h1>BTC-USD <b>PROMOTED</b></h1>" in first
    assert "Promotion is decided after this page" not in first
    assert "<h1>BTC-USD <b>PROMOTED</b></h1>" in second
    assert '<p class="">Already champion.</p>' in second
    assert "<h1>ETH-USD <b>HELD</b></h1>" in third
    bundle = open_registry(mixed.home).store.bundle(mixed.symbols["BTC-USD"]["bundle"])
    assert "<h1>BTC-USD <b>PASSED</b></h1>" in (bundle / "reports" / "report.html").read_text()


def test_failed_symbols_say_why_and_leave_the_other_alone(mixed: Ran) -> None:
    for symbol, fact in {"ETH-USD": "there is no file", "SOL-USD": "1 of 20,161 rows repeat the minute before"}.items():
        entry = mixed.symbols[symbol]
        assert (entry["outcome"], entry["bundle"], entry["metrics"], entry["gates"]) == ("failed", None, None, [])
        assert symbol in entry["reason"]
        assert fact in entry["reason"]
    assert mixed.state.is_failed()
    assert mixed.state.message == "1 of 3 promoted; failed: ETH-USD, SOL-USD"


def test_children_are_linked_to_the_parent_and_named_by_their_verdict(mixed: Ran) -> None:
    found = recorded(mixed.state.state_details.flow_run_id)
    today = datetime.now(UTC)
    assert found.flow_run.state_name == "Failed"
    assert found.flow_run.name == f"train-all-every-symbol-{found.flow_run.expected_start_time:%Y-%m-%d}"
    assert set(found.children) == {"BTC-USD", "ETH-USD", "SOL-USD"}
    states = {symbol: (run.state_type.value, run.state_name) for symbol, run in found.children.items()}
    assert states == {
        "BTC-USD": ("COMPLETED", "Promoted"),
        "ETH-USD": ("FAILED", "Failed"),
        "SOL-USD": ("FAILED", "Failed"),
    }
    assert {run.name for run in found.children.values()} == {
        f"train-{symbol}-{mixed.run_id}" for symbol in found.children
    }
    assert mixed.run_id[:4] == f"{today:%Y}", "the run's id begins with its date"


def test_tasks_are_named_by_step_symbol_and_date(mixed: Ran) -> None:
    found = recorded(mixed.state.state_details.flow_run_id)
    year, month, day_of_month = mixed.run_id[:4], mixed.run_id[4:6], mixed.run_id[6:8]
    day = f"{year}-{month}-{day_of_month}"
    assert {task.name for task in found.tasks["BTC-USD"]} == {f"{step}-BTC-USD-{day}" for step in TASKS.values()}
    assert {task.name for task in found.tasks["ETH-USD"]} == {f"candles-ETH-USD-{day}"}
    launches = {task.name for task in found.launches if task.name.startswith("launch-")}
    assert launches == {f"launch-{symbol}-{day}" for symbol in mixed.symbols}


def test_runs_are_tagged_so_that_those_of_a_symbol_are_found(mixed: Ran) -> None:
    found = recorded(mixed.state.state_details.flow_run_id)
    assert {symbol: set(run.tags) for symbol, run in found.children.items()} == {
        symbol: {"retrain", "manual", f"symbol:{symbol}"} for symbol in mixed.symbols
    }


def test_bad_data_are_not_tried_again(mixed: Ran) -> None:
    found = recorded(mixed.state.state_details.flow_run_id)
    for symbol in ("ETH-USD", "SOL-USD"):
        (task,) = found.tasks[symbol]
        assert (task.run_count, task.state_name) == (1, "Failed")


def test_summary_table_shows_every_symbol(mixed: Ran) -> None:
    table = {row["symbol"]: row for row in tables_by_headline()[mixed.state.message]}
    assert {symbol: row["verdict"] for symbol, row in table.items()} == {
        "ETH-USD": "**failed**",
        "SOL-USD": "**failed**",
        "BTC-USD": "**promoted**",
    }
    assert list(table) == ["ETH-USD", "SOL-USD", "BTC-USD"], "what went wrong stands first"
    accuracy = mixed.symbols["BTC-USD"]["metrics"]["test"]["accuracy"]
    assert table["BTC-USD"]["accuracy"] == f"{100 * accuracy:.1f} %"
    children = recorded(mixed.state.state_details.flow_run_id).children
    assert all(str(children[symbol].id) in row["link"] for symbol, row in table.items())


def tables_by_headline() -> dict[str, list[dict[str, Any]]]:
    """The rows of every summary table that the server keeps."""
    from prefect.client.orchestration import get_client

    async def ask() -> dict[str, list[dict[str, Any]]]:
        async with get_client() as client:
            kept = [item for item in await client.read_artifacts() if item.key == "retrain-summary"]
            assert {item.type for item in kept} == {"table"}
            return {str(item.description): json.loads(str(item.data)) for item in kept}

    return asyncio.run(ask())


def test_symbol_s_run_shows_verdict_gates_charts_and_the_whole_training(mixed: Ran) -> None:
    children = recorded(mixed.state.state_details.flow_run_id).children
    shown = artifacts_of(children["BTC-USD"].id)
    assert {key: item.type for key, item in shown.items()} == {
        "verdict-btc-usd": "markdown",
        "gates-btc-usd": "table",
        "reliability-btc-usd": "image",
        "confidence-btc-usd": "image",
        "training-btc-usd": "image",
        "page-btc-usd": "markdown",
        "progress-btc-usd": "progress",
    }
    entry = mixed.symbols["BTC-USD"]
    assert "## BTC-USD: PROMOTED" in shown["verdict-btc-usd"].data
    rows = json.loads(shown["gates-btc-usd"].data)
    assert {row["gate"] for row in rows} == {gate["name"] for gate in entry["gates"]}
    assert Path(entry["report"]).as_uri() in shown["page-btc-usd"].data
    assert shown["progress-btc-usd"].data == 100
    assert "trained; the last was epoch 2 of at most 2" in shown["progress-btc-usd"].description
    assert artifacts_of(children["ETH-USD"].id) == {}, "there is no candidate to show"


def test_held_symbol_shows_its_verdict_too(held: Ran) -> None:
    child = recorded(held.state.state_details.flow_run_id).children["ETH-USD"]
    shown = artifacts_of(child.id)
    assert "held by accuracy" in shown["verdict-eth-usd"].data
    first = json.loads(shown["gates-eth-usd"].data)[0]
    assert (first["gate"], first["passed"], first["limit"]) == ("accuracy", "**no**", "at least 99 %")


def test_drift_of_every_feature_is_shown_with_the_gate_s_worst_first(held: Ran) -> None:
    child = recorded(held.state.state_details.flow_run_id).children["ETH-USD"]
    shown = artifacts_of(child.id)["drift-eth-usd"]
    rows = json.loads(shown.data)
    assert {row["feature"] for row in rows} == set(FEATURE_NAMES)
    assert len(rows) == len(FEATURE_NAMES)
    gate = next(gate for gate in held.symbols["ETH-USD"]["gates"] if gate["name"] == "feature_drift")
    assert gate["note"].endswith(f"worst is {rows[0]['feature']}")
    assert (rows[0]["PSI"], rows[0]["limit"]) == (wording.number(gate["value"]), wording.number(gate["limit"]))
    assert sum(row["within"] == "**no**" for row in rows) == int(gate["note"].split()[0])
    assert shown.description.endswith("limits from 2 weeks before it")


def test_simulated_candles_are_never_old(held: Ran) -> None:
    data = held.symbols["ETH-USD"]["data"]
    assert (data["stale"], data["alarms"], data["holes_by_cause"]) == (None, [], None)


def test_what_cannot_be_shown_changes_no_verdict(
    run_all: Callable[..., Ran],
    candles: Path,
    again: Ran,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import httpx
    from prefect.client.orchestration import SyncPrefectClient

    def refuse(*_: object, **__: object) -> None:
        request = httpx.Request("POST", "http://127.0.0.1/api/artifacts/")
        raise httpx.HTTPStatusError("database is locked", request=request, response=httpx.Response(500))

    monkeypatch.setattr(SyncPrefectClient, "create_artifact", refuse)
    settings = ("data.source=parquet", f"data.path={candles}", *QUICK, *LENIENT)
    ran = run_all(again.home, *settings, symbols=("BTC-USD",))
    entry = ran.symbols["BTC-USD"]
    assert (entry["outcome"], entry["bundle"]) == ("promoted", again.symbols["BTC-USD"]["bundle"])
    assert ran.state.is_completed()
    child = recorded(ran.state.state_details.flow_run_id).children["BTC-USD"]
    assert child.state_name == "Promoted"
    assert artifacts_of(child.id) == {}
    told = [record.getMessage() for record in caplog.records if "could not be done" in record.getMessage()]
    assert [line.partition(":")[0] for line in told] == ["show-symbol", "publish-summary"]
    assert all("database is locked" in line for line in told)


def test_same_training_gives_the_same_bundle_and_is_already_champion(mixed: Ran, again: Ran) -> None:
    first, second = mixed.symbols["BTC-USD"], again.symbols["BTC-USD"]
    assert (second["outcome"], second["reason"]) == ("promoted", "already champion")
    assert second["bundle"] == first["bundle"]
    assert again.state.is_completed()
    history = open_registry(mixed.home).history()
    assert len(history.entries) == 1, "nothing was written"
    assert not history.damage


def test_gate_against_the_champion_is_measured_once_there_is_one(mixed: Ran, again: Ran) -> None:
    name = "not_worse_than_champion"
    assert name not in {gate["name"] for gate in mixed.symbols["BTC-USD"]["gates"]}
    (gate,) = [gate for gate in again.symbols["BTC-USD"]["gates"] if gate["name"] == name]
    assert gate["value"] == pytest.approx(0.0, abs=1e-9), "the candidate is the champion"
    assert gate["passed"]
    test = again.symbols["BTC-USD"]["metrics"]["test"]
    assert test["against_champion"]["nll_difference"] == pytest.approx(0.0, abs=1e-9)
    assert test["against_champion"]["rows"] == again.symbols["BTC-USD"]["rows"]["test"]
    assert mixed.symbols["BTC-USD"]["metrics"]["test"]["against_champion"] is None


def test_held_symbol_is_a_completed_run_named_held(held: Ran) -> None:
    entry = held.symbols["ETH-USD"]
    assert (entry["outcome"], entry["reason"]) == ("held", "held by accuracy")
    assert held.state.is_completed()
    assert held.state.message == "0 of 1 promoted; held: ETH-USD"
    found = recorded(held.state.state_details.flow_run_id)
    child = found.children["ETH-USD"]
    assert (child.state_type.value, child.state_name) == ("COMPLETED", "Held")
    assert not {task.name for task in found.tasks["ETH-USD"]} & {"promote-ETH-USD", "deploy-ETH-USD"}
    assert "promote" not in entry["seconds"]


def test_held_candidate_is_kept_and_nobody_becomes_champion(held: Ran) -> None:
    registry = open_registry(held.home)
    assert is_sound(verify_bundle(registry.store.bundle(held.symbols["ETH-USD"]["bundle"])))
    assert registry.champion("ETH-USD") is None
    assert registry.history().entries == ()


def test_run_without_parameters_has_a_name_and_an_unwritable_home_starts_nothing(
    prefect: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from flows.train_all import train_all
    from models_lib.errors import ConfigError

    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "file"))
    state = train_all(return_state=True)
    assert isinstance(state.result(raise_on_failure=False), ConfigError)
    found = recorded(state.state_details.flow_run_id)
    assert found.flow_run.name.startswith("train-all-every-symbol-20")
    assert found.launches == []


@pytest.mark.parametrize(("state", "name"), [("mixed", "Failed"), ("again", "Promoted"), ("held", "Held")])
def test_run_is_named_by_the_worst_that_became_of_a_symbol(
    state: str, name: str, request: pytest.FixtureRequest
) -> None:
    ran: Ran = request.getfixturevalue(state)
    flow_run = recorded(ran.state.state_details.flow_run_id).flow_run
    assert flow_run.state_name == name
    assert flow_run.state_type.value == ("FAILED" if name == "Failed" else "COMPLETED"), "its colour in the UI"
