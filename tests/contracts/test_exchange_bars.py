"""Live bars from an exchange: when it is asked, by whose clock, and what is made of bars that change or come late."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from models_lib.config.exchange_section import ExchangeSection
from models_lib.errors import DataError, TransientError
from models_lib.interruption import HEARD_SECONDS
from models_lib.runtime.sources import Trouble
from tasks.adapters.exchange.ccxt_exchange import open_exchange
from tasks.adapters.exchange_bars import ExchangeBars
from tasks.adapters.polling import MACHINE_TIME
from tests.contracts.live_bars import MINUTE, BinanceWorld, ExchangeWorld, Served, run_until
from tests.exchange.faults import Fault
from tests.exchange.sample_bars import FIRST_MS


@pytest.fixture(params=[ExchangeWorld, BinanceWorld], ids=["coinbase", "binance"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ExchangeWorld]:
    with request.param(400, tmp_path, closed=10) as entered:
        yield entered


@pytest.fixture
def served(world: ExchangeWorld, tmp_path: Path) -> Served:
    served = Served(world.source(), tmp_path)
    assert served.poll().past == list(range(10))
    return served


def asked_after_close(world: ExchangeWorld, first: int) -> list[float]:
    """Of the requests for candles from the `first` on: seconds since the exchange's last minute had closed."""
    return [(request.now_ms % MINUTE) / 1e3 for request in world.exchange.requests.of()[first:]]


def test_each_minute_costs_one_request_a_moment_after_it_closed(world: ExchangeWorld, served: Served) -> None:
    """A second for the last trades, and as long as the clock is uncertain: here milliseconds, and half of Coinbase's step."""
    before = len(world.exchange.requests.of())
    assert run_until(world, served, 30).new == list(range(10, 31))
    delays = asked_after_close(world, before)
    assert len(delays) == 21
    assert min(delays) >= 1.0
    assert max(delays) < 3.0


def test_unfinished_minute_is_never_given(world: ExchangeWorld, served: Served) -> None:
    """The exchange shows it; what is given of it later is what it came to."""
    stamps, values = world.bars["BTC-USD"]
    run_until(world, served, 20)
    window = served.symbol.window
    for place, row in enumerate(zip(*window.newest(21), strict=True)):
        assert list(row) == values[place].tolist()
    assert window.last_ms == stamps[20]


@pytest.mark.parametrize("skew_ms", [25_000, -25_000])
def test_minutes_close_by_the_exchanges_clock_and_the_skew_is_told(
    world: ExchangeWorld, tmp_path: Path, skew_ms: int
) -> None:
    world.exchange.skew_ms = skew_ms
    served = Served(world.source(), tmp_path)
    first = served.poll()
    (skew,) = first.skews
    true_ms = world.exchange.now_ms + skew_ms - world.machine.epoch_ms()
    assert abs(skew.skew_ms - true_ms) < skew.uncertain_ms + 100.0  # asked a moment ago
    before = len(world.exchange.requests.of())
    newest = served.newest
    assert run_until(world, served, newest + 5).new == list(range(newest + 1, newest + 6))
    delays = asked_after_close(world, before)
    assert len(delays) == 5
    assert 1.0 <= min(delays) <= max(delays) < 3.0


def test_clock_is_measured_again_after_ten_minutes_and_when_this_machines_was_set(
    world: ExchangeWorld, served: Served
) -> None:
    assert len(run_until(world, served, 18).skews) == 0
    assert len(run_until(world, served, 22).skews) == 1
    world.machine.set_seconds = 90.0
    seen = run_until(world, served, 23)
    (skew,) = seen.skews
    true_ms = world.exchange.now_ms - world.machine.epoch_ms()
    assert abs(skew.skew_ms - true_ms) < skew.uncertain_ms + 100.0
    assert seen.new == [23], "bars come by the exchange's clock, whatever this machine's is set to"


def test_clock_that_cannot_be_measured_again_costs_no_bar(world: ExchangeWorld, served: Served) -> None:
    world.exchange.script(Fault("error", times=None, asking="time"))
    seen = run_until(world, served, 25)
    assert (seen.new, seen.skews) == (list(range(10, 26)), [])


def test_minute_that_comes_late_is_asked_for_again_soon(world: ExchangeWorld, served: Served) -> None:
    """After one second, two and four: then it is there."""
    late = FIRST_MS + 10 * MINUTE
    world.exchange.market("BTC-USD").hide(late, late + MINUTE)
    before = len(world.exchange.requests.of())
    for _ in range(3):
        assert served.poll().new == []
    world.exchange.market("BTC-USD").show(late, late + MINUTE)
    assert served.poll().new == [10]
    first, *later = asked_after_close(world, before)
    assert [round(one - first) for one in later] == [1, 3, 7]


def test_minute_that_comes_after_the_next_one_is_said_and_changes_nothing(world: ExchangeWorld, served: Served) -> None:
    late = FIRST_MS + 11 * MINUTE
    world.exchange.market("BTC-USD").hide(late, late + MINUTE)
    run_until(world, served, 12)
    world.exchange.market("BTC-USD").show(late, late + MINUTE)
    seen = run_until(world, served, 16)
    assert seen.new == [13, 14, 15, 16]
    (sentence,) = seen.refused
    assert "the bar of 2026-01-01T00:11Z comes again with other values" in sentence
    assert served.symbol.window.filled_minutes == 1


def test_bar_that_changes_after_it_was_given_is_said_once_and_the_first_counts(
    world: ExchangeWorld, served: Served
) -> None:
    stamps, values = world.bars["BTC-USD"]
    at_first = [*values[12, :4].tolist(), 77.0]
    world.exchange.market("BTC-USD").serve_at_first(int(stamps[12]), at_first)
    seen = run_until(world, served, 17)
    assert seen.new == list(range(10, 18))
    (sentence,) = seen.refused
    assert "comes again with other values" in sentence
    assert "the first one counts" in sentence
    assert served.symbol.window.newest(6)[4][0] == 77.0


@pytest.mark.parametrize(
    "kind", ["cut_json", "cut_body", "html", "empty", "reset", "shuffled", "overlapping", "duplicated"]
)
def test_damaged_or_odd_answer_costs_no_bar_and_changes_none(world: ExchangeWorld, served: Served, kind: str) -> None:
    world.exchange.script(Fault(kind, after=1))  # type: ignore[arg-type]
    seen = run_until(world, served, 15)
    assert (seen.new, seen.refused) == (list(range(10, 16)), [])
    assert len(seen.troubles) == (kind in {"cut_json", "cut_body", "html", "empty", "reset"})


def test_symbol_that_the_exchange_does_not_know_is_trouble_of_its_own(world: ExchangeWorld, tmp_path: Path) -> None:
    served = Served(world.source(), tmp_path, symbols=("BTC-USD", "XXX-USD"))
    seen = served.poll()
    assert seen.past == list(range(10))
    (trouble,) = seen.troubles
    assert "XXX-USD" in trouble


def test_rehearsals_candles_are_asked_for_again_where_it_may_help(world: ExchangeWorld) -> None:
    world.fail(2, symbol="BTC-USD")
    assert len(world.source().newest("BTC-USD", 10)) == 10
    world.fail(20, symbol="BTC-USD")
    with pytest.raises(TransientError, match=world.name):
        world.source().newest("BTC-USD", 10)
    with pytest.raises(DataError, match="XXX-USD"):
        world.source().newest("XXX-USD", 10)


@pytest.mark.long
def test_exchange_that_wants_to_be_left_alone_is_and_all_symbols_wait(world: ExchangeWorld, tmp_path: Path) -> None:
    """In real time, beginning two seconds before a minute has settled; two seconds are asked for."""
    exchange = world.exchange
    exchange.be_at(FIRST_MS + 11 * MINUTE - 1_000, speed=1.0)
    section = ExchangeSection(name=world.name, base_url=exchange.url, requests_per_second=1000.0)
    asked = open_exchange(section, pace_folder=tmp_path / "paced", longest_wait_seconds=1.0)
    served = Served(ExchangeBars(asked, connections=1), tmp_path, symbols=("BTC-USD", "ETH-USD"))
    assert served.poll().past == list(range(10))
    exchange.script(Fault("busy", retry_after=2))
    began = time.monotonic()
    seen = run_until(world, served, 10)
    assert 3.0 < time.monotonic() - began < 10.0
    assert seen.new == [10]
    assert len(seen.troubles) <= 2
    assert exchange.requests.impatient() == []


def test_signal_whose_handler_is_slow_keeps_nobody_from_ending(tmp_path: Path) -> None:
    """It outlasts the moment for which an answer is waited; a SimpleQueue then waits for the answer itself, ten seconds here."""
    with ExchangeWorld(20, tmp_path, closed=10) as world:
        world.hang()
        served = Served(world.source(), tmp_path)
        told: list[float] = []

        def handle(*_: object) -> None:
            time.sleep(0.06)  # it is the subject of the test
            if world.exchange.requests.of() and not told:
                told.append(time.monotonic())
            if told and time.monotonic() - told[0] > 0.5:
                served.stop.set()

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.08, 0.08)
        try:
            assert [event for event in served.events if event is not None] == []
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
        assert time.monotonic() - told[0] < 2.0


def test_main_thread_looks_around_while_it_waits_for_the_next_minute() -> None:
    """A signal that comes just before it falls asleep does not wake it."""

    class Watched(Event):
        def __init__(self) -> None:
            super().__init__()
            self.waits: list[float | None] = []

        def wait(self, timeout: float | None = None) -> bool:
            self.waits.append(timeout)
            if len(self.waits) == 3:
                self.set()
            return self.is_set()

    stop = Watched()
    MACHINE_TIME.wait(stop, 60.0)
    assert stop.waits == [HEARD_SECONDS] * 3


def test_clock_that_was_set_and_cannot_be_measured_does_not_hold_up_every_question(
    world: ExchangeWorld, tmp_path: Path
) -> None:
    served = Served(world.source(), tmp_path, symbols=("BTC-USD", "ETH-USD"))
    served.poll()
    before = len(world.exchange.requests.of("time"))
    world.exchange.script(Fault("error", times=None, asking="time"))
    world.machine.set_seconds = 90.0
    run_until(world, served, 15)
    assert 1 <= len(world.exchange.requests.of("time")) - before <= 7, "once a minute, whatever the number of symbols"


def test_no_symbols_are_nothing_to_ask_about(world: ExchangeWorld) -> None:
    """A new host waits for its first release."""
    events = world.source().bars({}, Event())
    assert [next(events) for _ in range(3)] == [None] * 3
    assert len(world.exchange.requests) == 0


def test_fault_of_a_reader_is_trouble_and_is_asked_again(world: ExchangeWorld, tmp_path: Path) -> None:
    """Whatever an adapter raises, a live source never ends by it."""

    class Faulty:
        name, page_bars, history_minutes = "coinbase", 300, None

        def clock(self) -> object:
            raise KeyError("time")

    stop = Event()
    served = Served(ExchangeBars(Faulty(), connections=1, machine=world.machine), tmp_path)  # type: ignore[arg-type]
    events = iter(served.events)
    first = next(events)
    assert isinstance(first, Trouble)
    assert "unexpected KeyError" in first.sentence
    stop.set()
