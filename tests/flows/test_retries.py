"""A step that asks somebody else tries again when the fault passes by itself, and only then."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models_lib.candles.simulated import simulate_candles
from models_lib.candles.sources import OnlyCandles
from models_lib.config import DataSection, RunConfig
from models_lib.errors import ConfigError, DataError, OutOfPatienceError, TransientError
from models_lib.steps.plan import RunPlan, plan_run

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect")]


class FaultySource(OnlyCandles):
    """Answers with the given faults, one a call, then with candles."""

    def __init__(self, *faults: Exception) -> None:
        self._faults = list(faults)
        self.calls = 0

    def fetch(self, symbol: str) -> pd.DataFrame:
        self.calls += 1
        if self._faults:
            raise self._faults.pop(0)
        return simulate_candles(symbol, market="default", seed=7, days=1)

    def origin(self, symbol: str) -> str:
        return f"a faulty source of {symbol}"

    def content(self, symbol: str) -> str | None:
        return None


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    config = RunConfig(data=DataSection(days=1))
    return plan_run(config, home=tmp_path, symbols=None, who="test", now=datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture
def fetch(prefect: None, plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> Callable[[FaultySource], Any]:
    """Runs the real task in a flow, with its real retry rule and no delay; returns its final state."""
    from prefect import flow

    from tasks.candles import fetch_candles

    at_once = fetch_candles.with_options(retry_delay_seconds=0, retry_jitter_factor=None)

    @flow
    def only_candles() -> Any:
        return at_once("BTC-USD", plan, return_state=True)

    def run(source: FaultySource) -> Any:
        def open_source(_config: RunConfig, *, home: Path) -> FaultySource:
            return source

        monkeypatch.setattr("tasks.candles.open_source", open_source)
        return only_candles(return_state=True)

    return run


@pytest.mark.parametrize("fault", [TransientError("throttled"), ConnectionError("reset"), TimeoutError("slow")])
def test_passing_fault_is_tried_again(fetch: Callable[[FaultySource], Any], fault: Exception) -> None:
    source = FaultySource(fault, fault)
    state = fetch(source)
    assert state.is_completed()
    assert source.calls == 3


def test_passing_fault_that_stays_ends_after_four_more_tries(fetch: Callable[[FaultySource], Any]) -> None:
    source = FaultySource(*[TransientError("throttled")] * 9)
    state = fetch(source)
    assert state.is_failed()
    assert source.calls == 5


@pytest.mark.parametrize(
    "fault",
    [DataError("two bars a minute"), ConfigError("no such folder"), MemoryError(), OutOfPatienceError("still away")],
)
def test_lasting_fault_is_not_tried_again(fetch: Callable[[FaultySource], Any], fault: Exception) -> None:
    source = FaultySource(fault)
    state = fetch(source)
    assert state.is_failed()
    assert source.calls == 1
