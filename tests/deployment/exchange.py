"""An exchange on loopback whose minutes pass quickly: the runtime's live source, the same bars for every symbol."""

import http.server
import json
import threading
import time
import urllib.parse
from types import TracebackType
from typing import Any, Self

from tests.bundles import walk_candles
from tests.unit.runtime.host_folders import raws_of

_BARS_PER_SECOND = 5.0
_CLOSED_AT_FIRST = 6_000
"""A rehearsal's day, and the window before it."""


class Exchange:
    """Serves closed bars from entering the context to leaving it.

    Attributes:
        url: for the runtime's configuration.
    """

    def __init__(self) -> None:
        self._bars: list[list[Any]] = raws_of(walk_candles(20_000))
        self._began = time.monotonic()
        exchange = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                body = exchange._answer(asked["symbol"][0], int(asked["after"][0]), int(asked["limit"][0]))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a runtime that ends hangs up
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/candles"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def rewind(self) -> None:
        """Begins again, for a host that remembers nothing."""
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, symbol: str, after_ms: int, limit: int) -> bytes:
        closed = _CLOSED_AT_FIRST + int((time.monotonic() - self._began) * _BARS_PER_SECOND)
        bars = [bar for bar in self._bars[max(0, closed - limit) : closed] if bar[0] > after_ms]
        return json.dumps({"symbol": symbol, "candles": bars}).encode()
