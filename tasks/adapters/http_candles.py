"""Closed candles over HTTP: a `BarSource` that asks a server again and again. Standard library only.

    GET <url>?symbol=BTC-USD&after=<ms>&limit=<n>
    200 {"symbol": "BTC-USD", "candles": [[open_ms, open, high, low, close, volume], ...]}

`candles` are the closed bars with an open time above `after`, oldest first, at most `limit` of them, the newest when there
are more; open times in milliseconds since 1970 UTC, the rest numbers. Any other answer is trouble, and is asked for again.

What does not belong here: what a bar can be (models_lib.runtime.bars), and any particular exchange.
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from threading import Event
from time import monotonic
from typing import Final

from models_lib.errors import DataError, TransientError
from models_lib.features import SERVING_BARS
from models_lib.runtime.sources import Given, Trouble

_LONGEST_PAUSE_SECONDS: Final = 60.0
_LARGEST_ANSWER_BYTES: Final = 4 * 2**20
"""Four thousand bars need a tenth of it."""
_NOTHING_BEFORE: Final = 0


@dataclass
class _Asked:
    """How far one symbol is.

    Attributes:
        newest_ms: open time of the newest bar that was given.
        begun: whether the bars of the first window were given.
        failures: questions in a row without a usable answer.
        next_seconds: monotonic time of the next question.
    """

    newest_ms: int = _NOTHING_BEFORE
    begun: bool = False
    failures: int = 0
    next_seconds: float = field(default=-float("inf"))


class HttpCandles:
    """Closed bars from a server.

    Args:
        url: without a query.
        poll_seconds: between two questions about a symbol; after trouble twice as long each time, up to a minute.
        timeout_seconds: of one answer.
    """

    def __init__(self, url: str, *, poll_seconds: float, timeout_seconds: float) -> None:
        self._url = url
        self._poll_seconds = poll_seconds
        self._timeout_seconds = timeout_seconds

    def bars(self, decided: Mapping[str, int | None], stop: Event) -> Iterator[Given | Trouble | None]:
        """The newest bars for the windows, then what closes, until `stop` is set."""
        asked = {symbol: _Asked() for symbol in decided}
        while not stop.is_set():
            for symbol, at in asked.items():
                if not stop.is_set() and at.next_seconds <= monotonic():
                    yield from self._ask(symbol, at, decided[symbol])
            yield None
            due = min((at.next_seconds for at in asked.values()), default=monotonic() + self._poll_seconds)
            stop.wait(max(0.0, due - monotonic()))

    def newest(self, symbol: str, bars: int) -> list[object]:
        """The newest closed bars that the server has."""
        return self.fetch(symbol, after_ms=_NOTHING_BEFORE, limit=bars)

    def _ask(self, symbol: str, at: _Asked, decided_ms: int | None) -> Iterator[Given | Trouble]:
        try:
            candles = self.fetch(symbol, after_ms=at.newest_ms, limit=SERVING_BARS)
        except (TransientError, DataError) as error:
            at.failures += 1
            at.next_seconds = monotonic() + min(self._poll_seconds * 2 ** min(at.failures, 10), _LONGEST_PAUSE_SECONDS)
            yield Trouble(symbol, str(error))
            return
        at.failures = 0
        at.next_seconds = monotonic() + self._poll_seconds
        yield from self._given(symbol, at, candles, decided_ms)

    @staticmethod
    def _given(symbol: str, at: _Asked, candles: list[object], decided_ms: int | None) -> Iterator[Given]:
        """The first answer fills the window; of it, only what an earlier process has not decided on is decided on."""
        first = not at.begun
        at.begun = True
        for raw in candles:
            opened = raw[0] if isinstance(raw, list) and raw and type(raw[0]) is int else None
            if opened is not None:
                at.newest_ms = max(at.newest_ms, opened)
            known = decided_ms is None or opened is None or opened <= decided_ms
            yield Given(symbol, raw, past=first and known)

    def fetch(self, symbol: str, *, after_ms: int, limit: int) -> list[object]:
        """The closed bars after a time, as the server gave them, unchecked.

        Raises:
            TransientError: no answer, or one that asks to come again.
            DataError: the answer is none of ours.
        """
        query = urllib.parse.urlencode({"symbol": symbol, "after": after_ms, "limit": limit})
        content = self._answer(f"{self._url}?{query}", symbol)
        try:
            tree = json.loads(content)
        except (ValueError, RecursionError) as error:  # the latter: brackets without end
            raise DataError(f"{symbol}: the answer of {self._url} is no JSON ({error}).") from error
        if not isinstance(tree, dict) or tree.get("symbol") != symbol or not isinstance(tree.get("candles"), list):
            raise DataError(f'{symbol}: the answer of {self._url} must be {{"symbol": "{symbol}", "candles": [...]}}.')
        candles: list[object] = tree["candles"]
        return candles[-limit:]

    def _answer(self, address: str, symbol: str) -> bytes:
        request = urllib.request.Request(address, headers={"Accept": "application/json"})  # noqa: S310 - http or https, by the configuration
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_seconds) as answer:  # noqa: S310
                content: bytes = answer.read(_LARGEST_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise TransientError(f"{symbol}: {self._url} answers with status {error.code}.") from error
        except (OSError, HTTPException) as error:
            raise TransientError(f"{symbol}: {self._url} does not answer ({error}).") from error
        if len(content) > _LARGEST_ANSWER_BYTES:
            raise DataError(f"{symbol}: the answer of {self._url} exceeds {_LARGEST_ANSWER_BYTES:,} bytes.")
        return content
