"""What the four dialects share: a question that was understood, a refusal, and how a number is written.

What does not belong here: what one exchange calls things (coinbase.py, binance.py, kraken.py, bybit.py).
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from tests.exchange.listed import Listed, Row

Kind = Literal["candles", "markets", "time", "other"]
Query = Mapping[str, str]
NO_END_MS = 1 << 62
"""For a span that has no end; later than any clock."""


@dataclass(frozen=True)
class Question:
    """What a request for candles asks: at most `limit` bars that open from `first_ms` to `last_ms`, both included.

    Attributes:
        symbol: of the market, as everywhere here: BTC-USD.
        from_the_end: the newest of them are given where there are more than `limit`; else the oldest.
        after_ms: of the bars so chosen only those that open later are written.
    """

    symbol: str
    first_ms: int
    last_ms: int
    limit: int
    from_the_end: bool = False
    after_ms: int = -1


class RefusedError(Exception):
    """The exchange's own answer to a question that it does not answer.

    Args:
        why: in a word or two, for the record of requests.
        status: of HTTP.
        body: its JSON.
    """

    def __init__(self, why: str, status: int, body: object) -> None:
        super().__init__(why)
        self.why, self.status, self.body = why, status, body


class Dialect(Protocol):
    """How one exchange is asked and answers."""

    name: str
    """As ccxt calls the exchange."""
    page_bars: int
    """Most bars of one answer."""

    def kind(self, path: str) -> Kind | None:
        """What a path asks for; None where it is no path of this exchange."""

    def question(self, path: str, query: Query, listed: Mapping[str, Listed], now_ms: int) -> Question:
        """What a request for candles asks; raises RefusedError."""

    def page(self, market: Listed, question: Question, rows: list[Row]) -> str:
        """The JSON of an answer with these bars; the dialect turns them round where the exchange begins with the newest."""

    def other(self, path: str, query: Query, listed: Mapping[str, Listed], now_ms: int) -> object:
        """The JSON value of an answer that is no candles; raises RefusedError."""

    def busy(self, status: int) -> object:
        """The JSON value of the body under 429 and 418."""

    def not_from_here(self) -> tuple[int, str]:
        """The status and the body, JSON or a page, for clients from countries that are not served."""


NOT_FROM_HERE_PAGE = (
    "<!DOCTYPE html><html><head><title>403 Forbidden</title></head>"
    "<body>The distribution is configured to block access from your country.</body></html>"
)
"""What stands before an exchange says so in a page for people."""


def number(value: float) -> str:
    """The value in decimal digits as exchanges write it, never 1e-05; reading it gives the same bits again."""
    text = repr(value)
    return text if "e" not in text else np.format_float_positional(value, unique=True, trim="-")


def as_json(value: Any) -> str:
    """The value without blanks, as servers write it."""
    return json.dumps(value, separators=(",", ":"))


def utc_text(time_ms: int) -> str:
    """As 2026-11-22T20:45:37Z."""
    return dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def by_market_id(listed: Mapping[str, Listed], market_id: str, separator: str) -> Listed | None:
    """The market that an exchange calls by base and quote with `separator` between them."""
    return next((one for one in listed.values() if f"{one.base}{separator}{one.quote}" == market_id), None)
