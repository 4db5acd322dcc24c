"""ccxt's class of one exchange, made strict: one question at a time, each of them exactly one request.

What ccxt forgives and a store of candles must not: JSON that is cut short becomes no answer at all, and then a page
without bars, which would be recorded as a hole; an answer without its list of bars becomes one without bars; and of a page
with repeated rows only so many are returned as were asked for.

What does not belong here: the pace, threads, and what an error means (faults.py).
"""

import re
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

import ccxt
import requests
import urllib3

from models_lib.candles.bars import Span
from tasks.adapters.exchange.catalogue import MARKET, Listing, Tree
from tasks.adapters.exchange.faults import Heard

CcxtError: Final[type[Exception]] = ccxt.BaseError
LARGEST_ANSWER_BYTES: Final = 64 * 2**20
"""The list of all markets of Binance has about a quarter of it."""
_EARLIEST_MS: Final = 1_230_940_800_000  # 2009-01-03, the first block of Bitcoin, as in candles/checks.py
_LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01
_PIECE_BYTES: Final = 2**16
_HOST: Final = re.compile(r"^[a-z]+://[^/]+")


class _Strict:
    """Mixed in before ccxt's class; the names are ccxt's."""

    heard = Heard()

    def on_rest_response(self, *answer: Any) -> str:
        """The body, as ccxt wants it; status and headers are kept."""
        status, _reason, _url, _method, headers, body = answer[:6]
        self.heard = Heard(status, headers.get("Retry-After"), headers.get("Date"))
        return str(body).strip()

    def parse_json(self, http_response: str) -> object:
        """The answer; None for an error's page, of which the status says enough."""
        try:
            return self.on_json_response(http_response)  # type: ignore[attr-defined]
        except (ValueError, RecursionError) as error:
            if self.heard.status is None or self.heard.status >= 400:
                return None
            raise ccxt.BadResponse(f"the answer is no JSON: {error}") from error

    def parse_ohlcvs(self, ohlcvs: list[object], market: Tree, *_: Any, **__: Any) -> list[list[object]]:
        """Every row, as it came: ccxt would cut them to a number, whether or not some are repeated."""
        return [self.parse_ohlcv(row, market) for row in ohlcvs]  # type: ignore[attr-defined]


class _Session(requests.Session):
    """Reads an answer whole within a time: that of `requests` begins anew with every byte.

    Args:
        longest_seconds: from the first line of the answer to its last byte.
    """

    def __init__(self, longest_seconds: float) -> None:
        super().__init__()
        self._longest_seconds = longest_seconds
        self.hooks["response"].append(self._read)

    def request(self, *question: Any, **settings: Any) -> requests.Response:
        """The answer; what `requests` raises besides its own errors becomes one of them."""
        try:
            return super().request(*question, **settings)
        except requests.exceptions.RequestException:
            raise
        except OSError as error:
            if type(error) is OSError and error.errno is None:  # REQUESTS_CA_BUNDLE names a file that is not there
                raise requests.exceptions.SSLError(str(error)) from error
            raise requests.exceptions.ConnectionError(f"Connection broken: {error}") from error
        except ValueError as error:  # a redirection to what is no address
            raise requests.exceptions.InvalidURL(type(error).__name__) from error

    def _read(self, response: requests.Response, *_: Any, **__: Any) -> None:
        ends, content = monotonic() + self._longest_seconds, bytearray()
        try:
            while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):
                content += piece
                if monotonic() > ends or len(content) > LARGEST_ANSWER_BYTES:
                    response.close()
                    raise requests.exceptions.Timeout(f"{len(content):,} bytes came, and no end")
        except urllib3.exceptions.HTTPError as error:
            raise requests.exceptions.ConnectionError(f"Connection broken: {error}") from error
        response._content, response._content_consumed = bytes(content), True  # noqa: SLF001 - where `requests` itself keeps it


class Speaker:
    """One instance of ccxt's class. Not for two threads at once.

    Args:
        listing: the exchange.
        base_url: scheme and host instead of its own; None: its own.
        timeout_seconds: to connect, and between two pieces of an answer.
        longest_seconds: until an answer is whole. Whoever waits may give up earlier; this ends the thread that asks.
    """

    def __init__(
        self, listing: Listing, base_url: str | None, *, timeout_seconds: float, longest_seconds: float
    ) -> None:
        self._listing = listing
        self._markets: dict[str, Tree] = {}
        kind = type(listing.name, (_Strict, getattr(ccxt, listing.name)), {})
        self._api: Any = kind(
            {
                "timeout": round(timeout_seconds * 1000),
                "enableRateLimit": False,  # the pace is kept for all processes together
                "enableLastJsonResponse": True,
                "session": _Session(longest_seconds),  # trusts the environment: proxies and certificates
                "options": dict(listing.options),
                "headers": dict(listing.headers),
            }
        )
        if base_url is not None:
            self._api.urls["api"] = _elsewhere(self._api.urls["api"], base_url)

    @property
    def heard(self) -> Heard:
        """What the last answer said beside its content; nothing when there was none."""
        heard: Heard = self._api.heard
        return heard

    def markets(self) -> list[Tree]:
        """All spot markets."""
        self._api.heard = Heard()
        return self._listing.markets(self._api)

    def time_ms(self) -> int:
        """The exchange's time, rounded down to its step."""
        self._api.heard = Heard()
        time_ms = self._listing.time_ms(self._api)
        if not _EARLIEST_MS <= time_ms < _LATEST_MS:
            raise ccxt.BadResponse(f"the time is told as {time_ms:.3g} ms since 1970")
        return time_ms

    def rows(self, market: Tree, span: Span) -> list[list[object]]:
        """The bars of a span, unchecked, in the order in which they came."""
        self._api.heard = Heard()
        name = market["symbol"]
        if self._markets.get(name) is not market:
            self._markets[name] = market
            self._api.set_markets(list(self._markets.values()))
        # The last millisecond that is meant: a bar that opens later is not asked for.
        until = {"until": span.end_ms - 1} if self._listing.newest_bars is None else {}
        rows: list[list[object]] = self._api.fetch_ohlcv(
            name, "1m", since=span.start_ms, limit=span.minutes, params=until
        )
        answered = self._api.last_json_response
        for key in self._listing.rows_at:
            answered = answered[market["id"] if key is MARKET else key]
        if not isinstance(answered, list) or len(answered) != len(rows):
            raise ccxt.BadResponse("the answer has no list of bars")
        return rows


def _elsewhere(urls: Any, base_url: str) -> Any:
    """The same addresses, with another scheme and host."""
    if isinstance(urls, Mapping):
        return {name: _elsewhere(url, base_url) for name, url in urls.items()}
    return _HOST.sub(base_url, urls) if isinstance(urls, str) else urls
