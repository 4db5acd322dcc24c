"""A server of HTTP/1.1 on loopback: answers GETs over connections that stay open, and can break every rule of it on demand.

Python's own handler builds an e-mail message of each request's header, which costs more than the rest of a page together.

What does not belong here: what is answered (local_exchange.py).
"""

import contextlib
import email.utils
import http
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing throws away what is left, and tells the other side so."""


@dataclass(frozen=True)
class Reply:
    """What goes back.

    Attributes:
        headers: lines besides Date, Content-Type and Content-Length.
        sent: "half" of the body is followed by the end of the connection; "reset" and "never" send nothing at all.
        after_seconds: how long it takes.
        date: what the server thinks the time is, seconds since 1970; None as this machine does.
    """

    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[str, ...] = ()
    sent: Literal["whole", "half", "reset", "never"] = "whole"
    after_seconds: float = 0.0
    date: float | None = None


class Loopback:
    """Serves from entering the context to leaving it, which ends every connection.

    Attributes:
        url: scheme and host.

    Args:
        answer: what is answered to the target of a GET; called from a thread a connection.
    """

    def __init__(self, answer: Callable[[str], Reply]) -> None:
        self._server = _Server(answer)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.closed.set()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()
        if self._server.wrong and error is None:
            raise self._server.wrong[0]


class _Server(socketserver.ThreadingTCPServer):
    """A thread a connection; the end of the server waits for all of them."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[str], Reply]) -> None:
        self.answer = answer
        self.closed = threading.Event()
        self.wrong: list[BaseException] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Closes without a farewell of its own: one that is to be reset must not end in order."""
        with self._lock:
            self._open.discard(request)
        self.close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A mistake of ours must not pass for one more fault of the exchange: leaving the context raises it."""
        error = sys.exception()
        assert error is not None
        self.wrong.append(error)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        # Clients are killed and hang up: that is what this server is for.
        with contextlib.suppress(ConnectionError):
            while self._send(self._reply()):
                pass

    def _reply(self) -> Reply | None:
        """What is answered to the next request; None at the end of the connection."""
        line = self.rfile.readline()
        while line and self.rfile.readline() not in (b"\r\n", b"\n", b""):
            pass
        if not line:
            return None
        method, target = line.decode("latin-1").split(" ")[:2]
        return self.server.answer(target) if method == "GET" else Reply(405, b"", "text/plain")

    def _send(self, reply: Reply | None) -> bool:
        """Whether the connection can go on."""
        if reply is None:
            return False
        if reply.after_seconds:
            self.server.closed.wait(reply.after_seconds)
        match reply.sent:
            case "whole":
                self.request.sendall(_head(reply) + reply.body)
                return True
            case "half":
                self.request.sendall(_head(reply) + reply.body[: len(reply.body) // 2])
            case "reset":
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            case "never":
                self.server.closed.wait()
        return False


def _head(reply: Reply) -> bytes:
    date = email.utils.formatdate(time.time() if reply.date is None else reply.date, usegmt=True)
    lines = (
        f"HTTP/1.1 {reply.status} {_reason(reply.status)}",
        f"Date: {date}",
        f"Content-Type: {reply.content_type}",
        f"Content-Length: {len(reply.body)}",
        *reply.headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"  # 520 and its like are nobody's standard
