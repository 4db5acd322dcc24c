"""An exchange in memory, for what asks exchanges: no network, no ccxt, and a clock that stands still until it is moved.

fake = FakeExchange({"BTC-USD": made_up_bars(3000)}, page_bars=300)
fake.market_of("BTC-USD").hide(first_ms, end_ms)    # minutes that are never served
fake.befall(TransientError("away"), None)           # the next page fails, the one after it does not
fake.advance(minutes=5)
fake.asked                                          # the spans asked for, in order

It keeps to the same contract as the real ones: tests/contracts/test_exchange_contract.py.

What does not belong here: wire formats and faults of HTTP (local_exchange.py).
"""

import threading
import time
from collections import deque
from collections.abc import Mapping

from models_lib.candles.bars import Span, floor_minute
from models_lib.candles.exchange import Answer, Clock, Market
from models_lib.errors import CrpbotError, DataError, TransientError
from tests.exchange.listed import MINUTE_MS, Listed
from tests.exchange.sample_bars import Arrays


class FakeExchange:
    """Serves these markets. For any number of threads.

    Attributes:
        now_ms: what the time is there; set it, or `advance` it.
        asked: (symbol, span) of every page asked for, also of those that failed.

    Args:
        markets: open times in ms [N], and open, high, low, close, volume [N, 5], by symbol.
        newest_bars: no more than so many of the newest bars are served, the unfinished one among them; None: all.
        now_ms: the moment at which it begins; without one, when the newest bar of all markets has just closed.
    """

    def __init__(
        self,
        markets: Mapping[str, Arrays],
        *,
        name: str = "fake",
        page_bars: int = 300,
        newest_bars: int | None = None,
        now_ms: int | None = None,
    ) -> None:
        self.name = name
        self.page_bars = page_bars
        self.history_minutes = None if newest_bars is None else newest_bars - 1
        self._listed = {symbol: Listed(symbol, *bars) for symbol, bars in markets.items()}
        newest_ms = max((one.last_ms for one in self._listed.values() if one.last_ms is not None), default=0)
        self.now_ms = newest_ms + MINUTE_MS if now_ms is None else now_ms
        self.asked: list[tuple[str, Span]] = []
        self._fates: deque[CrpbotError | None] = deque()
        self._left_alone_until = -float("inf")
        self._lock = threading.Lock()

    def market_of(self, symbol: str) -> Listed:
        """What this market holds: to hide, show and revise its bars."""
        return self._listed[symbol]

    def advance(self, *, minutes: float = 0, ms: int = 0) -> None:
        """So much time passes at once."""
        self.now_ms += round(minutes * MINUTE_MS) + ms

    def befall(self, *fates: CrpbotError | None) -> None:
        """What the next pages end with, in this order; None is an answer as usual."""
        with self._lock:
            self._fates.extend(fates)

    def busy(self, seconds: float) -> None:
        """For so long every question is answered by the wish to be left alone."""
        self._left_alone_until = time.monotonic() + seconds

    def market(self, symbol: str) -> Market:
        """What the symbol is here."""
        self._known(symbol)
        return Market(symbol=symbol, name=symbol.replace("-", "/"), volume_unit=symbol.split("-", maxsplit=1)[0])

    def page(self, symbol: str, span: Span) -> Answer:
        """The bars of a span, the unfinished one of the running minute as well."""
        assert 0 < span.minutes <= self.page_bars, span
        with self._lock:
            self.asked.append((symbol, span))
            fate = self._fates.popleft() if self._fates else None
        if fate is not None:
            raise fate
        self._refuse_when_busy()
        listed, now_ms = self._known(symbol), self.now_ms
        served = self._served(symbol, span, now_ms)
        rows = listed.rows(served.start_ms, served.end_ms - MINUTE_MS, self.page_bars, now_ms, from_the_end=False)
        rows = listed.as_seen_first(rows, now_ms)
        return Answer(span=served, rows=rows, asked_ms=now_ms, received_ms=now_ms)

    def clock(self) -> Clock:
        """Its clock beside this machine's."""
        self._refuse_when_busy()
        return Clock(skew_ms=self.now_ms - time.time() * 1000, uncertain_ms=1.0)

    def _known(self, symbol: str) -> Listed:
        if symbol not in self._listed:
            raise DataError(f"{symbol}: {self.name} has no spot market {symbol}. Drop the symbol.")
        return self._listed[symbol]

    def _refuse_when_busy(self) -> None:
        left = self._left_alone_until - time.monotonic()
        if left > 0:
            raise TransientError(f"{self.name} is asked too often. Try again later.", retry_after_seconds=left)

    def _served(self, symbol: str, span: Span, now_ms: int) -> Span:
        if self.history_minutes is None:
            return span
        oldest_ms = floor_minute(now_ms) - self.history_minutes * MINUTE_MS
        if span.end_ms <= oldest_ms:
            raise DataError(f"{symbol}: {self.name} serves only its newest {self.history_minutes} minutes.")
        return Span(max(span.start_ms, oldest_ms), span.end_ms)
