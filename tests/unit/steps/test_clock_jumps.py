"""A clock that was set back or forward between two runs changes no order, no champion and no finished step.

The time is injected where the steps take it; a real clock is not touched.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models_lib.config import RunConfig
from models_lib.config.sections import RetentionSection
from models_lib.files import write_text
from models_lib.registry import LocalStore, open_registry
from models_lib.retention import clean_home
from models_lib.steps.finished import done_once
from models_lib.steps.plan import plan_run
from models_lib.steps.refs import FileRef, ScalerRef
from models_lib.steps.shared_results import NotShared
from tests.judged import at, judged

NOW = datetime(2026, 1, 15, 2, tzinfo=UTC)
JUMPS = [timedelta(days=-400), timedelta(hours=-3), timedelta(days=400)]


@pytest.mark.parametrize("jump", JUMPS)
def test_ledger_goes_by_its_order_and_not_by_the_times_in_it(tmp_path: Path, jump: timedelta) -> None:
    registry = open_registry(tmp_path)
    a = judged("A", tmp_path / "a")
    b = judged("B", tmp_path / "b", champion=a, judged_at=at(0) + jump)
    for name in ("a", "b"):
        registry.store.put(tmp_path / name)
    registry.promote("BTC-USD", a, expected_champion=None, who="test", why="first", now=NOW)
    registry.promote("BTC-USD", b, expected_champion=a, who="test", why="after the jump", now=NOW + jump)
    again = open_registry(tmp_path)
    champion = again.champion("BTC-USD")
    assert champion is not None
    assert (champion.bundle, champion.previous, champion.since) == (b, a, NOW + jump)
    assert not again.history().damage
    again.undo_promotion("BTC-USD", b, who="test", why="back", now=NOW)
    back = open_registry(tmp_path).champion("BTC-USD")
    assert back is not None
    assert back.bundle == a


@pytest.mark.parametrize("jump", JUMPS)
def test_finished_step_is_taken_over_whatever_the_clock_says(tmp_path: Path, jump: timedelta) -> None:
    worked = 0

    def work(folder: Path) -> ScalerRef:
        nonlocal worked
        worked += 1
        write_text(folder / "scaler", "1")
        return ScalerRef(scaler=FileRef.of(folder / "scaler"))

    for now in (NOW, NOW + jump, NOW):
        plan = plan_run(RunConfig(), home=tmp_path, symbols=None, who="test", now=now)
        done_once(plan, "BTC-USD", "scaler", ScalerRef, work, shared=NotShared(), rows=3)
    assert worked == 1


@pytest.mark.parametrize("jump", JUMPS)
def test_cleaning_after_a_jump_keeps_champion_and_predecessor(tmp_path: Path, jump: timedelta) -> None:
    registry = open_registry(tmp_path)
    a = judged("A", tmp_path / "a")
    b = judged("B", tmp_path / "b", champion=a)
    for name in ("a", "b"):
        registry.store.put(tmp_path / name)
    registry.promote("BTC-USD", a, expected_champion=None, who="test", why="first", now=NOW)
    registry.promote("BTC-USD", b, expected_champion=a, who="test", why="second", now=NOW)
    for path in (tmp_path / "store").rglob("*"):
        os.utime(path, (NOW.timestamp(),) * 2)
    clean_home(tmp_path, RetentionSection(), store=LocalStore(tmp_path), now=NOW + jump)
    registry = open_registry(tmp_path)
    assert set(registry.store.find("")) == {a, b}
    registry.rollback("BTC-USD", who="test", why="back", now=NOW + jump)
    back = registry.champion("BTC-USD")
    assert back is not None
    assert back.bundle == a
