"""What must hold of every live source of bars, run over each of them: our own form of HTTP, and exchanges through ccxt."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest

from models_lib.candles.fill import fill_no_trade_minutes
from models_lib.candles.schema import CANDLE_COLUMNS, TIMESTAMP_DTYPE, epoch_ms
from models_lib.features import NEWEST_ROW_BARS, WARM_UP_BARS, compute_features, newest_features
from models_lib.runtime.newest import newest_candles
from tests.contracts.live_bars import MINUTE, SYMBOLS, WORLDS, Served, World, run_until

Enter = Callable[..., World]


@pytest.fixture(params=WORLDS)
def enter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Enter]:
    """Makes the world; the test says how many of its minutes have closed when it begins."""
    entered: list[World] = []

    def make(minutes: int = 60, *, closed: int = 10) -> World:
        world: World = WORLDS[request.param](minutes, tmp_path, closed=closed)
        entered.append(world.__enter__())
        return world

    yield make
    for world in entered:
        world.__exit__(None, None, None)


def test_what_was_there_fills_the_window_and_what_closes_is_decided_on(enter: Enter, tmp_path: Path) -> None:
    world = enter()
    served = Served(world.source(), tmp_path)
    assert served.poll().past == list(range(10))
    seen = run_until(world, served, 14)
    assert (seen.past, seen.new, seen.refused, seen.troubles) == ([], [10, 11, 12, 13, 14], [], [])


def test_bars_missed_while_down_are_to_be_decided_on(enter: Enter, tmp_path: Path) -> None:
    first = Served(enter().source(), tmp_path, decided=6).poll()
    assert (first.past, first.new) == (list(range(7)), [7, 8, 9])


def test_window_that_takes_many_pages_is_filled_before_anything_is_decided_on(enter: Enter, tmp_path: Path) -> None:
    """4,096 bars are fourteen pages of Coinbase and five of Binance; one of them fails, and the next question goes on."""
    world = enter(4_300, closed=4_200)
    world.fail(1, symbol="BTC-USD")
    served = Served(world.source(), tmp_path)
    seen = served.poll()
    while not seen.past:
        seen.add(served.poll())
    assert seen.past[:4_096] == list(range(seen.past[0], seen.past[0] + 4_096))
    assert seen.new == []
    assert len(seen.troubles) == 1


def test_disconnect_of_some_minutes_is_trouble_and_then_filled_up(enter: Enter, tmp_path: Path) -> None:
    world = enter()
    served = Served(world.source(), tmp_path)
    served.poll()
    world.cut_off(7)
    seen = run_until(world, served, 20)
    assert seen.new == list(range(10, seen.new[-1] + 1))
    assert len(seen.troubles) >= 3
    assert served.symbol.window.hole is None


def test_missing_minutes_are_filled_or_a_hole_as_their_number_says(enter: Enter, tmp_path: Path) -> None:
    world = enter()
    world.leave_out(12, 3)
    world.leave_out(20, 9)
    served = Served(world.source(), tmp_path)
    served.poll()
    seen = run_until(world, served, 32)
    assert seen.new == [10, 11, *range(15, 20), *range(29, 33)]
    assert served.symbol.window.filled_minutes == 3
    hole = served.symbol.window.hole
    assert hole is not None
    assert (hole.minutes, hole.spoiled) == (9, False)


def test_one_symbol_in_trouble_does_not_keep_the_other(enter: Enter, tmp_path: Path) -> None:
    world = enter()
    served = Served(world.source(), tmp_path, symbols=("ETH-USD", "BTC-USD"))
    world.fail(1_000, symbol="BTC-USD")
    seen = served.poll()
    assert seen.past == list(range(10))
    assert "BTC-USD" in seen.troubles[0]
    assert served.symbols["BTC-USD"].newest_ms is None


def test_question_that_hangs_keeps_nobody_from_ending(enter: Enter, tmp_path: Path) -> None:
    world = enter()
    world.hang()
    served = Served(world.source(), tmp_path)
    began: list[float] = []

    def end() -> None:
        began.append(time.monotonic())
        served.stop.set()

    Thread(target=lambda: (time.sleep(0.5), end())).start()  # the question is under way by then
    assert [event for event in served.events if event is not None] == []
    assert time.monotonic() - began[0] < 1.0


def test_newest_bars_are_given_by_number(enter: Enter) -> None:
    world = enter(closed=20)
    stamps, values = world.bars["BTC-USD"]
    expected = [[stamp, *row] for stamp, row in zip(stamps[16:20].tolist(), values[16:20].tolist(), strict=True)]
    assert world.source().newest("BTC-USD", 4) == expected


def test_newest_candles_of_a_rehearsal_are_those_of_the_market(enter: Enter) -> None:
    world = enter(4_400, closed=4_300)
    frame = newest_candles(world.source(), "ETH-USD", 100, fill_no_trade_minutes_up_to=5)
    pd.testing.assert_frame_equal(frame, candles(world, "ETH-USD").iloc[4_300 - 4_196 : 4_300].reset_index(drop=True))


def candles(world: World, symbol: str) -> pd.DataFrame:
    """The market's bars as the archive gives them."""
    stamps, values = world.bars[symbol]
    frame = pd.DataFrame({"timestamp": pd.to_datetime(stamps, unit="ms", utc=True).astype(TIMESTAMP_DTYPE)})
    return frame.join(pd.DataFrame(values, columns=list(CANDLE_COLUMNS[1:])))


def test_live_equals_batch(enter: Enter, tmp_path: Path) -> None:
    """The newest bar's features, to the bit, of every bar that closes, with minutes missing before and meanwhile."""
    closed = WARM_UP_BARS + 300
    world = enter(closed + 60, closed=closed)
    gone = [(closed - 200, 3), (closed + 12, 4)]
    for first, minutes in gone:
        world.leave_out(first, minutes)
    served = Served(world.source(), tmp_path, symbols=SYMBOLS)
    run_until(world, served, closed - 1)
    batch = {}
    for symbol in SYMBOLS:
        frame = candles(world, symbol)
        kept = frame.drop(index=[row for first, minutes in gone for row in range(first, first + minutes)])
        filled, _ = fill_no_trade_minutes(kept.reset_index(drop=True), longest_run_minutes=5)
        batch[symbol] = dict(zip(epoch_ms(filled).tolist(), compute_features(filled), strict=True))
    compared = 0
    for minute in range(closed, closed + 30):
        if closed + 12 <= minute < closed + 16:
            continue
        run_until(world, served, minute)
        for symbol in SYMBOLS:
            window = served.symbols[symbol].window
            assert window.last_ms is not None
            assert window.warm
            live = newest_features(window.last_ms // MINUTE, window.newest(NEWEST_ROW_BARS))
            np.testing.assert_array_equal(live.view(np.uint32), batch[symbol][window.last_ms].view(np.uint32))
            compared += 1
    assert compared == 2 * 26
    assert served.zero_ms + (closed + 29) * MINUTE == served.symbol.newest_ms
