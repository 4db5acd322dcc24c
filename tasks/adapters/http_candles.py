"""Closed candles over HTTP: a `BarSource` that asks a server again and again. Standard library only.

    GET <url>?symbol=BTC-USD&after=<ms>&limit=<n>
    200 {"symbol": "BTC-USD", "candles": [[open_ms, open, high, low, close, volume], ...]}

`candles` are the closed bars with an open time above `after`, oldest first, at most `limit` of them, the newest when there
are more; open times in milliseconds since 1970 UTC, the rest numbers. Any other answer is trouble, and is asked for again.
So is a bar that the window refused, until the window has a later one: the clock may be right by then, or the bar mended.

What does not belong here: what a bar can be (models_lib.runtime.bars), when it is asked (polling.py), and any particular
exchange (exchange_bars.py).
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from functools import partial
from http.client import HTTPException
from threading import Event
from time import monotonic
from typing import Final

from models_lib.attempts import ended_within
from models_lib.errors import DataError, TransientError
from models_lib.features import SERVING_BARS
from models_lib.runtime.sources import Given, Reached, Trouble
from tasks.adapters.polling import MACHINE_TIME, Polling, Time

_LARGEST_ANSWER_BYTES: Final = 4 * 2**20
"""Four thousand bars need a tenth of it."""
_PIECE_BYTES: Final = 2**16
_NOTHING_BEFORE: Final = 0


class HttpCandles:
    """Closed bars from a server.

    Args:
        url: without a query.
        poll_seconds: between two questions about a symbol; after trouble twice as long each time, up to a minute.
        timeout_seconds: of one whole answer, however slowly it comes.
        machine: its clocks.
    """

    def __init__(self, url: str, *, poll_seconds: float, timeout_seconds: float, machine: Time = MACHINE_TIME) -> None:
        self._url = url
        self._poll_seconds = poll_seconds
        self._timeout_seconds = timeout_seconds
        self._machine = machine

    def bars(self, reached: Mapping[str, Reached], stop: Event) -> Iterator[Given | Trouble | None]:
        """The newest bars for the windows, then what closes, until `stop` is set."""
        # One connection: a server of our own form is near, and answers one symbol after the other in the order of the names.
        polling = Polling(self, connections=1, again_seconds=self._poll_seconds, machine=self._machine)
        return polling.bars(reached, stop)

    def newest(self, symbol: str, bars: int) -> list[object]:
        """The newest closed bars that the server has."""
        return self.fetch(symbol, after_ms=_NOTHING_BEFORE, limit=bars)

    def ask(self, symbol: str, after_ms: int | None, _stop: Event) -> list[object]:
        """The closed bars after a time."""
        return self.fetch(symbol, after_ms=_NOTHING_BEFORE if after_ms is None else after_ms, limit=SERVING_BARS)

    def pause_seconds(self, _symbol: str, _newest_ms: int | None) -> float:
        """The same after every answer."""
        return self._poll_seconds

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
        try:
            answer = ended_within(self._timeout_seconds, partial(_read, address, self._timeout_seconds))
        except TransientError as error:
            raise TransientError(
                f"{symbol}: {self._url} does not answer within {self._timeout_seconds:g} s."
            ) from error
        if isinstance(answer, urllib.error.HTTPError):
            raise TransientError(f"{symbol}: {self._url} answers with status {answer.code}.") from answer
        if isinstance(answer, Exception):
            raise TransientError(f"{symbol}: {self._url} does not answer ({answer}).") from answer
        if len(answer) > _LARGEST_ANSWER_BYTES:
            raise DataError(f"{symbol}: the answer of {self._url} exceeds {_LARGEST_ANSWER_BYTES:,} bytes.")
        return answer


def _read(address: str, seconds: float) -> bytes | OSError | HTTPException | ValueError:
    """What the server answers, or why there is nothing; it gives up a slow body itself, when nobody waits for it any more."""
    ends = monotonic() + seconds
    request = urllib.request.Request(address, headers={"Accept": "application/json"})  # noqa: S310 - http or https, by the configuration
    content = b""
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
            while len(content) <= _LARGEST_ANSWER_BYTES and (piece := answer.read1(_PIECE_BYTES)):
                content += piece
                if monotonic() > ends:
                    return TimeoutError("the answer takes too long")
    except urllib.error.HTTPError as error:
        error.close()  # it is an answer too, and holds its connection
        return error
    except (OSError, HTTPException, ValueError) as error:
        return error
    return content
