"""What an exchange is to us: one market a symbol, one page of closed bars a request, and a clock.

What does not belong here: how an exchange is spoken to (tasks.adapters.exchange), what is asked for when (fetching.py) and
where the answers are kept (archive).
"""

from dataclasses import dataclass
from typing import Protocol

from models_lib.candles.bars import Span


@dataclass(frozen=True)
class Market:
    """What a symbol is at an exchange.

    Attributes:
        symbol: as everywhere here, BTC-USD.
        name: as the exchange's side of ccxt names it, BTC/USDT.
        volume_unit: what volume is counted in, the base coin: BTC.
    """

    symbol: str
    name: str
    volume_unit: str


@dataclass(frozen=True)
class Answer:
    """What an exchange said about one span, not yet checked.

    Attributes:
        span: what it was asked for.
        rows: as ccxt gives them: [open ms, open, high, low, close, volume], in any order.
        asked_ms: when it was asked, by the exchange's clock as far as it is known: bars that close later are not closed.
        received_ms: when the answer was there, by this machine's clock.
    """

    span: Span
    rows: list[list[object]]
    asked_ms: int
    received_ms: int


@dataclass(frozen=True)
class Clock:
    """The exchange's clock beside this machine's.

    Attributes:
        skew_ms: exchange minus machine; positive where the machine is behind.
        uncertain_ms: half of the time that the question took: the skew is known to within so much.
    """

    skew_ms: float
    uncertain_ms: float


class Exchange(Protocol):
    """Public candles of one exchange. Safe to use from several threads at once; waits as the exchange demands.

    Every method raises TransientError where the exchange gives no usable answer now (busy, away, slow, damaged; its
    `retry_after_seconds` says how long it asked for, where it did), ConfigError where it refuses this machine or these
    settings, DataError where it does not know the symbol's market.
    """

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def page_bars(self) -> int:
        """Most bars of one answer."""

    @property
    def history_minutes(self) -> int | None:
        """How far back it can be asked; None: as far as it has traded."""

    def market(self, symbol: str) -> Market:
        """What the symbol is there."""

    def page(self, symbol: str, span: Span) -> Answer:
        """The bars of a span of at most `page_bars` minutes, by one request; bars beside the span are possible."""

    def clock(self) -> Clock:
        """Its clock, by one request."""
