"""Candles of an exchange for a training: the archive is brought up to date, then the newest days are read from it.

What does not belong here: how it is brought up to date (models_lib.candles.fetching), and what the checks mean
(models_lib.candles.cross_checks).
"""

import logging
import threading
import time
from typing import Final

import numpy as np
import pandas as pd

from models_lib.candles.archive.archive import CandleArchive
from models_lib.candles.archive.page import Page
from models_lib.candles.bars import Bars, Span, Spans
from models_lib.candles.cross_checks import Checks, cross_check
from models_lib.candles.exchange import Exchange
from models_lib.candles.fetch_facts import FetchFacts, KnownHole
from models_lib.candles.fetching import Progress, bring_up_to_date, newest_days
from models_lib.candles.pages import pages_of
from models_lib.candles.schema import BAR_MS, DAY_MS
from models_lib.candles.symbol_fetch import Fetched
from models_lib.config import ExchangeSection
from models_lib.errors import ConfigError, CrpbotError, DataError, TransientError

_PAST_DAYS: Final = 28
"""What the newest day is held against."""
_TOLD_EVERY_SECONDS: Final = 5.0
_log = logging.getLogger("models_lib.candles")


class ExchangeCandles:
    """The newest days of one exchange; a CandleSource.

    The exchange is asked once for each symbol, by whatever comes first: `content` and `fetch` speak of the same minutes.
    These end at a whole multiple of `round_minutes`, so that they are the same for whoever asks before the next one: the
    steps of a run that was killed are taken over, and a paid training is not paid again.

    Args:
        exchange: is asked for what the archive does not have.
        archive: keeps what came.
        section: of the exchange.
        days: so many are handed over.
        round_minutes: they end at a whole multiple of so many minutes by the exchange's clock (UTC).
        second: whose newest day is held against the first one's; None: nobody's.
    """

    def __init__(
        self,
        exchange: Exchange,
        archive: CandleArchive,
        section: ExchangeSection,
        *,
        days: int,
        round_minutes: int,
        second: Exchange | None = None,
    ) -> None:
        self._exchange, self._archive, self._section, self._second = exchange, archive, section, second
        self._days, self._round_minutes = days, round_minutes
        self._fetched: dict[str, Fetched] = {}
        self._facts: dict[str, FetchFacts] = {}
        self._asking = threading.Lock()

    def fetch(self, symbol: str) -> pd.DataFrame:
        """The newest days of the symbol; minutes without a bar are left out.

        Raises:
            DataError: the exchange has no candles of it.
            ConfigError: the exchange or the archive's place refuses.
            TransientError: one of them gives no usable answer now.
        """
        fetched = self._up_to_date(symbol)
        frame = self._archive.frame(symbol, self._handed_over(fetched))
        if frame.empty:
            raise DataError(
                f"{symbol}: {self._exchange.name} has no candles of {fetched.market} in the newest {self._days} days. Correct "
                f"exchange.markets, or leave the symbol out."
            )
        self._facts[symbol] = self._look(symbol, fetched)
        return frame

    def origin(self, symbol: str) -> str:
        """As in "BTC/USD of coinbase, kept in /home/crpbot/.crpbot/candles/coinbase"."""
        return f"{self._section.market(symbol)} of {self._exchange.name}, kept in {self._archive.place.name}"

    def content(self, symbol: str) -> str | None:
        """A hash over what `fetch` gives; None when there is nothing.

        Raises:
            DataError, ConfigError, TransientError: as `fetch`.
        """
        return self._archive.content(symbol, self._handed_over(self._up_to_date(symbol)))

    def facts(self, symbol: str) -> FetchFacts | None:
        """What is known beside the candles; None before `fetch`."""
        return self._facts.get(symbol)

    def remarks(self, symbol: str) -> tuple[str, ...]:
        """What a person should read of it."""
        facts = self._facts.get(symbol)
        return () if facts is None else facts.remarks

    def _up_to_date(self, symbol: str) -> Fetched:
        with self._asking:
            if symbol not in self._fetched:
                wanted = {
                    symbol: newest_days(self._days, time.time_ns() // 1_000_000, round_minutes=self._round_minutes)
                }
                told = bring_up_to_date(self._exchange, self._archive, wanted, self._section, on_progress=_Teller())
                self._fetched[symbol] = _or_raise(told[symbol])
            return self._fetched[symbol]

    def _handed_over(self, fetched: Fetched) -> Span:
        end_ms = fetched.span.end_ms - fetched.span.end_ms % (self._round_minutes * BAR_MS)
        return Span(max(fetched.span.start_ms, end_ms - self._days * DAY_MS), max(fetched.span.start_ms, end_ms))

    def _look(self, symbol: str, fetched: Fetched) -> FetchFacts:
        manifest = self._archive.record(symbol)
        assert manifest is not None, "candles were read from it"
        return FetchFacts(
            exchange=manifest.exchange,
            market=manifest.market,
            volume_unit=manifest.volume_unit,
            holes=tuple(
                KnownHole(one.start_ms, one.minutes, one.cause) for one in manifest.missing(self._handed_over(fetched))
            ),
            checks=self._checked(symbol, fetched),
            corrections=fetched.corrections,
            skew_ms=fetched.skew_ms,
        )

    def _checked(self, symbol: str, fetched: Fetched) -> Checks:
        day = Span(max(fetched.span.start_ms, fetched.span.end_ms - DAY_MS), fetched.span.end_ms)
        past = Span(day.start_ms - _PAST_DAYS * DAY_MS, day.start_ms)
        return cross_check(
            symbol,
            self._archive.bars(symbol, day),
            self._of_second(symbol, day),
            self._archive.bars(symbol, past),
            self._section,
            changed=fetched.changed,
        )

    def _of_second(self, symbol: str, day: Span) -> Bars | None:
        """The second exchange's bars; None where it gives none, which stops nothing."""
        if self._second is None:
            return None
        try:
            return newest_bars(self._second, symbol, day)
        except (TransientError, DataError, ConfigError) as error:
            _log.warning("the candles could not be held against a second exchange: %s", error, extra={"symbol": symbol})
            return None


def newest_bars(exchange: Exchange, symbol: str, span: Span) -> Bars:
    """The bars of a short span as the exchange tells them now; nothing is kept.

    Raises:
        CrpbotError: as the exchange does.
    """
    if exchange.history_minutes is not None:
        span = Span(max(span.start_ms, span.end_ms - exchange.history_minutes * BAR_MS), span.end_ms)
    pages = [
        Page.of(symbol, exchange.page(symbol, page)).bars.within(page)
        for page in pages_of(Spans.of([span]), exchange.page_bars)
    ]
    return Bars(np.concatenate([page.stamps for page in pages]), np.concatenate([page.values for page in pages]))


class _Teller:
    """Says now and then how far a long fetch is."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._told < _TOLD_EVERY_SECONDS:
            return
        self._told = time.monotonic()
        _log.info(
            "%s", progress.words(), extra={"symbol": progress.symbol, "done": progress.done, "total": progress.total}
        )


def _or_raise(told: Fetched | CrpbotError) -> Fetched:
    if isinstance(told, CrpbotError):
        raise told
    return told
