"""Saying: a line exactly once a number whatever dies when, people at least once, and never too late."""

import contextlib
import resource
import signal as signal_module
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_lib.errors import DataError, NotificationError, TransientError
from models_lib.runtime.speaking import ChannelHealth, Speaker, read_signals
from models_lib.runtime.state import RuntimeState
from models_lib.signals.signal import Signal
from tests.killed import killed_at_each
from tests.unit.runtime.examples import MINUTE, T0, long_signal, spoken

NOW = T0 + 5 * MINUTE


class People:
    """A channel that fails as told, first with the first failure; and that says when it was asked."""

    name = "people"

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.told: list[int] = []

    def send(self, signal: Signal) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.told.append(signal.number)


class Silence:
    """A channel whose other side accepts and never answers, until the test ends."""

    name = "silence"

    def __init__(self) -> None:
        self.asked, self.over = threading.Event(), threading.Event()

    def send(self, signal: Signal) -> None:
        self.asked.set()
        self.over.wait(20)
        raise TransientError(f"signal {signal.number} was never answered.")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[RuntimeState]:
    with RuntimeState.open(tmp_path / "runtime.sqlite") as opened:
        yield opened


def numbers(folder: Path) -> list[int]:
    return [signal.number for signal in read_signals(folder / "signals.jsonl")]


def speaker(folder: Path, state: RuntimeState, *channels: object, echo: object = lambda signal: None) -> Speaker:
    return Speaker(folder, state, echo=echo, channels=channels)  # type: ignore[arg-type]


def test_a_signal_is_shown_written_and_sent_once(tmp_path: Path, state: RuntimeState) -> None:
    shown: list[int] = []
    people = People()
    speaking = speaker(tmp_path, state, people, echo=lambda signal: shown.append(signal.number))
    for bar in range(3):
        state.record(spoken(bar))
        speaking.speak(NOW)
        speaking.close()
    again = speaker(tmp_path, state, people, echo=lambda signal: shown.append(signal.number))
    again.speak(NOW)
    again.close()
    assert numbers(tmp_path) == shown == people.told == [1, 2, 3]
    assert list(read_signals(tmp_path / "signals.jsonl")) == state.signals_from(1)
    assert again.health() == {"people": ChannelHealth(sent=3)}


def test_killed_at_any_step_no_line_is_lost_or_written_twice(tmp_path: Path) -> None:
    """Every fork records one more bar and speaks; it dies one step later than the one before."""

    def folder_of(step: int) -> Path:
        folder = tmp_path / f"step{step}"
        folder.mkdir(exist_ok=True)
        return folder

    def run(step: int) -> None:
        with RuntimeState.open(folder_of(step) / "runtime.sqlite") as state:
            speaking = speaker(folder_of(step), state)
            for bar in range(2):
                state.record(spoken(bar))
                speaking.speak(NOW)

    kills = 0
    for step, killed in killed_at_each(1, run):
        kills += killed
        run(step)
        assert numbers(folder_of(step)) == [1, 2]
    assert kills > 5


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(torn=st.integers(min_value=0, max_value=10_000))
def test_a_torn_last_line_is_completed_or_written_again(tmp_path_factory: pytest.TempPathFactory, torn: int) -> None:
    folder = tmp_path_factory.mktemp("torn")
    path = folder / "signals.jsonl"
    with RuntimeState.open(folder / "runtime.sqlite") as state:
        for bar in range(3):
            state.record(spoken(bar))
        speaker(folder, state).speak(NOW)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) - 1 - torn % len(whole)])
        speaker(folder, state).speak(NOW)
    assert path.read_bytes() == whole


def test_a_last_line_that_is_no_signal_stops_the_start(tmp_path: Path, state: RuntimeState) -> None:
    state.record(spoken(0))
    (tmp_path / "signals.jsonl").write_text('{"number": 7}\n')
    with pytest.raises(DataError, match=r"the last line is no signal .* Remove that line"):
        speaker(tmp_path, state)
    (tmp_path / "signals.jsonl").write_text("")
    speaker(tmp_path, state).speak(NOW)
    assert numbers(tmp_path) == [1]


@pytest.mark.parametrize("room", [0, 500, -1], ids=["nothing", "a part", "all but the line end"])
def test_a_full_disk_repeats_no_line_and_tears_none(
    tmp_path: Path, state: RuntimeState, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A process goes on when there is room again; `room` is what was left, from the end of the line where below 0."""
    path = tmp_path / "signals.jsonl"
    speaking = speaker(tmp_path, state)
    state.record(spoken(0))
    speaking.speak(NOW)
    whole = path.stat().st_size
    state.record(spoken(1))
    with files_end_at(whole + room % whole), pytest.raises(OSError, match="too large"):
        speaking.speak(NOW)
    state.record(spoken(2))
    speaking.speak(NOW)
    assert list(read_signals(path)) == state.signals_from(1)
    assert ("torn" in caplog.text) == (room == 500)


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond; stands for a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal_module.getsignal(signal_module.SIGXFSZ)
    signal_module.signal(signal_module.SIGXFSZ, signal_module.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal_module.signal(signal_module.SIGXFSZ, handler)


def test_a_line_that_stands_twice_is_one_signal_and_two_that_differ_stop_the_start(tmp_path: Path) -> None:
    path = tmp_path / "signals.jsonl"
    with RuntimeState.open(tmp_path / "runtime.sqlite") as lost:
        for bar in range(2):
            lost.record(spoken(bar))
        speaker(tmp_path, lost).speak(NOW)
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(first + second + second)
    with RuntimeState.open(tmp_path / "fresh.sqlite") as fresh:
        speaker(tmp_path, fresh)
        assert fresh.last_number() == 2
    path.write_text(first + second.replace('"number":2', '"number":1') + second)
    with RuntimeState.open(tmp_path / "other.sqlite") as other:
        with pytest.raises(DataError, match=r"signal 1, BTC-USD of 2026-01-01T00:01Z.* Remove the line that is wrong"):
            speaker(tmp_path, other)
        path.write_text(first + second)
        speaker(tmp_path, other)
        assert other.last_number() == 2


def test_a_state_that_was_moved_aside_goes_on_with_the_numbers_and_bars_of_the_file(tmp_path: Path) -> None:
    with RuntimeState.open(tmp_path / "runtime.sqlite") as lost:
        for bar in range(3):
            lost.record(spoken(bar))
        speaker(tmp_path, lost).speak(NOW)
    with RuntimeState.open(tmp_path / "fresh.sqlite") as fresh:
        speaking = speaker(tmp_path, fresh)
        assert fresh.record(spoken(2)) is None
        issued = fresh.record(spoken(3))
        speaking.speak(NOW)
        assert issued is not None
        assert issued.number == 4
    assert numbers(tmp_path) == [1, 2, 3, 4]


def test_a_dead_channel_delays_no_bar_and_no_other_channel(tmp_path: Path, state: RuntimeState) -> None:
    people, silence = People(), Silence()
    speaking = speaker(tmp_path, state, silence, people)
    state.record(spoken(0))
    speaking.speak(NOW)
    assert silence.asked.wait(60)
    state.record(spoken(1))
    speaking.speak(NOW)
    assert numbers(tmp_path) == [1, 2]
    silence.over.set()
    speaking.close()
    speaking.speak(NOW)
    speaking.close()
    assert people.told == [1, 2]
    health = speaking.health()["silence"]
    assert (health.waiting, health.sent) == (2, 0)
    assert "never answered" in str(health.last_error)


def test_a_channel_that_recovers_is_told_what_it_missed_in_order(tmp_path: Path, state: RuntimeState) -> None:
    people = People(TransientError("the endpoint answers with status 503."))
    speaking = speaker(tmp_path, state, people)
    state.record(spoken(0))
    state.record(spoken(1))
    for now in (NOW, NOW + MINUTE):
        speaking.speak(now)
        speaking.close()
    assert people.told == [1, 2]
    assert speaking.health()["people"] == ChannelHealth(sent=2)


def test_a_channel_that_fails_is_tried_by_the_clock_and_not_by_the_bar(tmp_path: Path, state: RuntimeState) -> None:
    """Ten symbols' bars come within a second of each minute, as after a pause; the signal is good for 26 minutes."""
    people = People(*[TransientError("connection refused.")] * 1_000)
    speaking = speaker(tmp_path, state, people)
    state.record(spoken(0))
    tries = []
    for minute in range(28):
        before = len(people.failures)
        for bar in range(10):
            speaking.speak(NOW + minute * MINUTE + bar * timedelta(milliseconds=50))
            speaking.close()
        tries.append(before - len(people.failures))
    assert tries == [1] * 26 + [0, 0]
    assert speaking.health()["people"] == ChannelHealth(missed=1, last_error="connection refused.")


def test_a_channel_that_refuses_a_signal_for_good_is_asked_once_for_each(tmp_path: Path, state: RuntimeState) -> None:
    people = People(NotificationError("no such webhook."))
    speaking = speaker(tmp_path, state, people)
    state.record(spoken(0))
    state.record(spoken(1))
    for _ in range(3):
        speaking.speak(NOW)
        speaking.close()
    assert people.told == [2]
    assert speaking.health()["people"] == ChannelHealth(sent=1, given_up=1)


def test_an_asked_pause_is_kept(tmp_path: Path, state: RuntimeState) -> None:
    people = People(TransientError("too many.", retry_after_seconds=300.0))
    speaking = speaker(tmp_path, state, people)
    state.record(spoken(0))
    told = []
    for minute in (0, 1, 5, 6):
        speaking.speak(NOW + minute * MINUTE)
        speaking.close()
        told.append(list(people.told))
    assert told == [[], [], [], [1]]


def test_an_expired_signal_is_written_down_and_sent_to_nobody(tmp_path: Path, state: RuntimeState) -> None:
    shown: list[int] = []
    people = People()
    state.record(spoken(0))
    speaking = speaker(tmp_path, state, people, echo=lambda signal: shown.append(signal.number))
    speaking.speak(T0 + timedelta(hours=1))
    speaking.close()
    assert (shown, people.told, numbers(tmp_path)) == ([], [], [1])
    assert speaking.health()["people"] == ChannelHealth(missed=1)


def test_an_unexpected_fault_of_a_channel_names_no_secret(tmp_path: Path, state: RuntimeState) -> None:
    people = People(RuntimeError("https://hooks.example/secret"))
    speaking = speaker(tmp_path, state, people)
    state.record(spoken(0))
    speaking.speak(NOW)
    speaking.close()
    assert speaking.health()["people"].last_error == (
        "unexpected RuntimeError. This is a fault of the channel: report it."
    )


def test_a_terminal_that_is_gone_loses_no_line(
    tmp_path: Path, state: RuntimeState, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(_: Signal) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    state.record(spoken(0))
    speaker(tmp_path, state, echo=gone).speak(NOW)
    assert numbers(tmp_path) == [1]
    assert "signal 1 could not be shown (Broken pipe)" in caplog.text


def test_a_line_is_the_signal_as_json(tmp_path: Path, state: RuntimeState) -> None:
    state.record(spoken(0))
    speaker(tmp_path, state).speak(NOW)
    assert (tmp_path / "signals.jsonl").read_text() == long_signal(0).to_json() + "\n"
