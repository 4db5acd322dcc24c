"""The runtime's memory: one transaction a bar, numbers without a gap, no signal twice, none lost, bounded."""

import os
import signal as signals_of_the_system
import sqlite3
from collections import deque
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_lib.errors import ConfigError, DataError, TransientError
from models_lib.runtime.state import BarRecord, JudgedBar, RuntimeState
from tests.unit.runtime.examples import MINUTE, T0, long_signal, silent, spoken

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "runtime.sqlite"


def test_a_bar_and_its_signal_survive_a_restart(path: Path) -> None:
    with RuntimeState.open(path) as state:
        assert state.last_bar("BTC-USD") is None
        assert state.record(silent(0)) is None
        issued = state.record(spoken(1))
    assert issued is not None
    with RuntimeState.open(path) as state:
        assert state.last_bar("BTC-USD") == T0 + MINUTE
        assert state.last_bar("ETH-USD") is None
        assert state.signals_from(1) == [issued]
        assert issued == long_signal(1)


def test_a_bar_twice_changes_nothing(path: Path) -> None:
    with RuntimeState.open(path) as state:
        first = state.record(spoken(1))
        assert state.record(spoken(1)) is None
        assert state.record(spoken(1, bundle="b" * 64)) is None
        assert state.record(silent(1)) is None
        assert state.signals_from(1) == [first]


def test_a_bar_whose_row_was_forgotten_gives_no_second_signal(path: Path) -> None:
    with RuntimeState.open(path) as state:
        first = state.record(spoken(0))
        state.record(silent(2 * 1_440))
        assert state.prune(kept_days=1.0) == 1
        assert state.record(spoken(0)) is None
        assert state.signals_from(1) == [first]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(SYMBOLS), st.integers(0, 12), st.booleans(), st.booleans()), min_size=1, max_size=40
    )
)
def test_numbers_have_no_gap_across_symbols_and_restarts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bool, bool]]
) -> None:
    path = tmp_path_factory.mktemp("state") / "runtime.sqlite"
    state = RuntimeState.open(path)
    seen, issued = set(), []
    for symbol, bar, speaks, restarts in steps:
        if restarts:
            state.close()
            state = RuntimeState.open(path)
        answer = state.record(spoken(bar, symbol=symbol) if speaks else silent(bar, symbol=symbol))
        assert (answer is not None) == (speaks and (symbol, bar) not in seen)
        seen.add((symbol, bar))
        issued += [answer] if answer else []
    assert [signal.number for signal in issued] == list(range(1, len(issued) + 1))
    assert state.signals_from(1) == issued
    state.close()


def test_killed_between_any_two_steps_a_bar_is_there_with_its_signal_or_not_at_all(tmp_path: Path) -> None:
    """SQLite's own writes are not seen by the hook; every statement is one of its steps instead."""
    path = tmp_path / "runtime.sqlite"
    with RuntimeState.open(path) as state:
        state.record(spoken(0))
    for statement in range(1, 12):
        pid = os.fork()
        if pid == 0:
            _die_at_statement(path, statement)
        _, status = os.waitpid(pid, 0)
        with RuntimeState.open(path) as state:
            numbers = [signal.number for signal in state.signals_from(1)]
            bars = {signal.bar_at for signal in state.signals_from(1)}
            assert numbers == list(range(1, len(numbers) + 1))
            assert (state.last_bar("BTC-USD") == T0 + MINUTE) == (T0 + MINUTE in bars)
        if os.WIFEXITED(status):
            break
    assert os.WIFEXITED(status)
    assert statement > 5
    assert len(numbers) == 2


def _die_at_statement(path: Path, statement: int) -> None:
    state = RuntimeState.open(path)
    seen = 0

    def count(_: str) -> None:
        nonlocal seen
        seen += 1
        if seen == statement:
            os.kill(os.getpid(), signals_of_the_system.SIGKILL)

    state._connection.set_trace_callback(count)
    state.record(spoken(1))
    os._exit(0)


def test_a_bar_without_signal_and_without_reason_is_a_fault() -> None:
    with pytest.raises(ValueError, match="either a signal or a refusal"):
        BarRecord("BTC-USD", T0, None, None, None)
    with pytest.raises(ValueError, match="must be of the bar"):
        BarRecord("BTC-USD", T0, None, None, None, long_signal(1))


def test_a_damaged_file_is_refused_and_left_alone(path: Path) -> None:
    with RuntimeState.open(path) as state:
        for bar in range(200):
            state.record(spoken(bar))
    content = bytearray(path.read_bytes())
    content[4_096:] = b"\x5a" * (len(content) - 4_096)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"runtime\.sqlite: the runtime's state is damaged .* Move it aside"):
        RuntimeState.open(path)
    assert path.read_bytes() == content
    path.write_bytes(b"this was never a database, whatever its name says" * 100)
    with pytest.raises(DataError, match="damaged"):
        RuntimeState.open(path)


def test_a_newer_layout_is_refused(path: Path) -> None:
    RuntimeState.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(ConfigError, match="layout 9, this runtime reads up to 1"):
        RuntimeState.open(path)


def test_a_full_disk_loses_the_bar_and_nothing_else(path: Path) -> None:
    with RuntimeState.open(path) as state:
        state.record(spoken(0))
        pages = state._connection.execute("PRAGMA page_count").fetchone()[0]
        state._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(TransientError, match=r"full.*Free space"):
            deque(map(state.record, map(spoken, range(1, 500))), maxlen=0)
        state._connection.execute("PRAGMA max_page_count = 100000")
        state.record(spoken(1_000))
        numbers = [signal.number for signal in state.signals_from(1)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_pruning_keeps_the_file_bounded_and_every_signal(path: Path) -> None:
    with RuntimeState.open(path) as state:
        for day in range(30):
            for hour in range(24):
                state.record((spoken if hour == 0 else silent)(day * 1_440 + hour * 60))
            state.prune()
        bars = state._connection.execute("SELECT count(*), min(bar_ms) FROM bars").fetchone()
        assert bars[0] == 14 * 24
        assert bars[1] > (T0 + timedelta(days=15)).timestamp() * 1_000
        assert len(state.signals_from(1)) == 30


def test_bars_are_judged_once_and_come_back_in_order(path: Path) -> None:
    with RuntimeState.open(path) as state:
        for bar in range(4):
            state.record(silent(bar))
        state.record(BarRecord("BTC-USD", T0 + 4 * MINUTE, None, None, "warming_up"))
        until = T0 + 2 * MINUTE
        unjudged = state.unjudged("BTC-USD", until=until)
        assert [bar.bar_ms for bar in unjudged] == [int((T0 + bar * MINUTE).timestamp()) * 1_000 for bar in range(3)]
        state.judge(
            "BTC-USD",
            [
                JudgedBar(unjudged[0].bar_ms, 1, -0.25),
                JudgedBar(unjudged[1].bar_ms, None, None),
                JudgedBar(unjudged[2].bar_ms, 2, 0.5),
            ],
        )
        assert state.unjudged("BTC-USD", until=until) == []
        judged = state.judged("BTC-USD")
        assert judged.classes.tolist() == [1, 2]
        assert judged.forward_return.tolist() == [-0.25, 0.5]
        assert judged.probabilities.tolist() == [[0.2, 0.6, 0.2]] * 2
        assert state.judged("ETH-USD").probabilities.shape == (0, 3)
        assert state.label_of("BTC-USD", T0 + MINUTE) == JudgedBar(unjudged[1].bar_ms, None, None)
        assert state.label_of("BTC-USD", T0 + 3 * MINUTE) is None
