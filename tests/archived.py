"""Bars made by hand, pages of them as an exchange would answer, and archives to put them into."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.page import Page
from models_lib.candles.archive.places import LocalPlace
from models_lib.candles.bars import Bars, Span
from models_lib.candles.exchange import Answer, Market
from models_lib.candles.schema import BAR_MS
from models_lib.config import ExchangeSection

SYMBOL = "BTC-USD"
MARKET = Market(SYMBOL, "BTC/USD", "BTC")
EXCHANGE = ExchangeSection(name="coinbase")
NEW_YEAR_MS = 1_767_225_600_000
"""2026-01-01T00:00Z"""
START_MS = NEW_YEAR_MS - 100 * BAR_MS
"""2025-12-31T22:20Z: a hundred minutes before a month ends"""
NIGHT_MS = 86_400_000


def at(minute: int) -> int:
    """The open time of a minute after START_MS."""
    return START_MS + minute * BAR_MS


def span(first: int, end: int) -> Span:
    return Span(at(first), at(end))


def row(minute: int, change: float = 0.0) -> list[object]:
    """A bar whose five values say which minute it is; `change` moves close and volume."""
    base = 1_000.0 + minute / 7.0
    return [at(minute), base, base + 3.0, base - 2.0, base + 1.0 + change, 5.0 + minute / 3.0 + change]


def bars(minutes: Iterable[int], change: float = 0.0) -> Bars:
    rows = [row(minute, change) for minute in sorted(minutes)]
    stamps = np.array([one[0] for one in rows], dtype=np.int64)
    return Bars(stamps, np.array([one[1:] for one in rows], dtype=np.float64).reshape(-1, 5))


def page(
    first: int,
    end: int,
    minutes: Iterable[int] | None = None,
    *,
    closed: float = 10_000,
    received: float | None = None,
    change: float = 0.0,
    troubled: bool = False,
) -> Page:
    """The answer about [first, end) with the bars of `minutes` (all of them), asked when minute `closed` began."""
    told = range(first, end) if minutes is None else minutes
    closed_ms = START_MS + int(closed * BAR_MS)
    received_ms = closed_ms + 80 if received is None else START_MS + int(received * BAR_MS)
    answer = Answer(span(first, end), [row(minute, change) for minute in told], closed_ms, received_ms)
    return Page.of(SYMBOL, answer, troubled=troubled)


def local_archive(folder: Path) -> CandleArchive:
    return CandleArchive(LocalPlace(folder / "candles"), folder / "staging")


def filled(archive: CandleArchive, *pages: Page, exchange: ExchangeSection = EXCHANGE) -> CandleArchive:
    """The archive after one writer added the pages."""
    with archive.writer(SYMBOL, market=MARKET, exchange=exchange) as writer:
        for one in pages:
            writer.add(one)
    return archive


def everything(archive: CandleArchive) -> Bars:
    return archive.bars(SYMBOL, span(-100_000, 100_000))


Opener = Callable[[Path], CandleArchive]
