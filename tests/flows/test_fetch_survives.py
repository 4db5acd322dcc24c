"""Two years of two symbols through every fault and several kills end as the source file has them, to the bit.

The candles are the real ones, moved by whole days so that their last day is yesterday: a hole is asked for again on a later
day of the same clock by which the answer came.
"""

import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from models_lib.candles.bars import Bars, Span
from models_lib.candles.schema import BAR_MS
from tests.exchange.faults import Fault, Storm, outage
from tests.exchange.ledger import least_requests
from tests.exchange.local_exchange import LocalExchange
from tests.exchange.sample_bars import bars_of
from tests.flows.fetching import archive_of, kill_after, settings_of
from tests.flows.running import crpbot

BTC, ETH, UNKNOWN = "BTC-USD", "ETH-USD", "SOL-USD"
DAY_MS = 1_440 * BAR_MS
PAGE_BARS = {"coinbase": 300, "binance": 1_000}
"""What each serves at once; the fewest requests are the minutes through these."""
KILLS = 5
FAULTS = (
    Fault("busy", after=40, retry_after=1),
    Fault("busy", status=418, after=300, retry_after=2, as_date=True),
    Fault("error", times=6, after=90),
    Fault("error", status=500, times=3, after=500),
    Fault("hang", times=2, after=150),
    Fault("slow", times=3, after=200),
    Fault("reset", times=3, after=250),
    Fault("cut_json", times=3, after=350),
    Fault("cut_body", times=2, after=400),
    Fault("html", after=450),
    Fault("empty", times=2, after=470),
    Fault("contradicting", times=2, after=550),
    Fault("shuffled", times=5, after=600),
    Fault("overlapping", times=5, after=650),
    Fault("duplicated", times=5, after=700),
)
HIDDEN = ((200_000, 1), (200_150, 3), (500_000, 45), (800_000, 300))
"""First minute and length of what the exchange has no bars of at first, the longest an outage of five hours."""
NUM_HOLE_PAGES = {"coinbase": 3, "binance": 3}
"""The first two holes fit into one page; the last one is a whole page of Coinbase."""


@pytest.fixture(scope="module")
def markets(real_candles: Path) -> dict[str, Bars]:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    read = {symbol: bars_of(real_candles / "spot-2y" / f"{symbol}.parquet") for symbol in (BTC, ETH)}
    end_ms = max(int(stamps[-1]) for stamps, _ in read.values()) + BAR_MS
    moved_ms = int(today.timestamp() * 1000) - end_ms
    assert moved_ms % DAY_MS == 0, "the files end with a day"
    return {symbol: Bars(stamps + moved_ms, values) for symbol, (stamps, values) in read.items()}


@pytest.mark.long
@pytest.mark.candles
@pytest.mark.parametrize("wire", PAGE_BARS)
def test_two_years_end_bit_equal_whatever_happens(wire: str, markets: dict[str, Bars], tmp_path: Path) -> None:
    draw = random.Random(f"20261122 {wire}")
    first_ms, end_ms = int(markets[BTC].stamps[0]), int(markets[BTC].stamps[-1]) + BAR_MS
    whole, minutes = Span(first_ms, end_ms), (end_ms - first_ms) // BAR_MS
    least = 2 * least_requests(minutes, PAGE_BARS[wire])
    # Half a minute into a day: the bar of that minute is unfinished, and not there.
    served = {symbol: (bars.stamps, bars.values) for symbol, bars in markets.items()}
    with LocalExchange(served, now_ms=end_ms + BAR_MS // 2) as exchange:
        since = f"{datetime.fromtimestamp(first_ms / 1000, UTC):%Y-%m-%d}"
        words = ["--since", since, *settings_of(exchange, wire)]
        both = ["--symbols", f"{BTC},{ETH}", *words]
        hidden = [Span(first_ms + at * BAR_MS, first_ms + (at + n) * BAR_MS) for at, n in HIDDEN]
        for span in hidden:
            exchange.market(BTC).hide(*span)
        young_ms = end_ms - 4 * BAR_MS
        exchange.market(ETH).serve_at_first(young_ms, [10.0, 12.0, 9.0, 11.0, 1.0])

        exchange.script(*FAULTS)
        exchange.storm(Storm(seed=7, share=0.005))
        for at in sorted(draw.sample(range(60, int(least * 0.7)), KILLS)):
            kill_after(tmp_path, both, exchange, at, draw)
        assert {fault.kind for fault in FAULTS} <= set(exchange.requests.faults), "a fault never came"
        exchange.storm(None)
        exchange.script(outage())
        away = crpbot(tmp_path, "fetch", *both, "--set", "exchange.patience_minutes=0.05")
        assert away.returncode == 3, away.stderr
        exchange.heal()

        done = crpbot(tmp_path, "fetch", "--symbols", f"{BTC},{ETH},{UNKNOWN}", *words)
        assert done.returncode == 1, done.stderr
        assert "1 of 3 symbols could not be brought up to date" in done.stderr
        asked = exchange.requests.of()
        # Counted: every request for candles that came, whether it was answered, spoiled, refused or its sender killed.
        print(
            f"{wire}: {len(asked):,} requests, {least:,} at least, {len(exchange.requests.spoiled):,} of them spoiled"
        )
        assert least <= len(asked) <= 1.05 * least, f"{len(asked):,} requests, {least:,} were needed"
        assert not exchange.requests.impatient()
        archive = archive_of(tmp_path, wire)
        record = archive.record(BTC)
        assert record is not None
        assert [hole.span for hole in record.holes] == hidden
        # What is missing right behind a failure may be an outage, however short: where the storm hit is not foretold.
        failed = [one.question for one in exchange.requests.spoiled if one.question and one.question.symbol == BTC]
        for hole in record.holes:
            hit = any(one.first_ms < hole.span.end_ms and hole.span.start_ms <= one.last_ms for one in failed)
            expected = {"outage"} if hole.minutes >= 60 else {"no trades", "outage"} if hit else {"no trades"}
            assert hole.cause in expected, hole
        shown = ~np.isin(markets[BTC].stamps, [at for span in hidden for at in range(*span, BAR_MS)])
        assert archive.bars(BTC, whole).same_as(Bars(markets[BTC].stamps[shown], markets[BTC].values[shown]))

        # Two days on: the exchange has mended its history. Only the tail and what is missing is asked for.
        for span in hidden:
            exchange.market(BTC).show(*span)
        exchange.advance(minutes=2 * 1_440)
        exchange.requests.clear()
        assert crpbot(tmp_path, "fetch", *both).returncode == 0
        tail = least_requests(2 * 1_440 + 10, PAGE_BARS[wire])
        assert len(exchange.requests.of()) == 2 * tail + NUM_HOLE_PAGES[wire]
    for symbol, bars in markets.items():
        assert archive.bars(symbol, whole).same_as(bars), f"{symbol} differs from its file"
        record = archive.record(symbol)
        assert record is not None
        assert record.holes == ()
    assert [one.stamp_ms for one in record.corrections] == [young_ms]
