"""A TCP proxy on loopback that stalls, cuts or slows down what passes through it.

with Proxy(target_port) as proxy:
proxy.stall_after(2_000_000)      # bytes from the client, from now on; connections stay open
proxy.cut_after(2_000_000)        # ... and then both sides are reset
proxy.lose_next_answer()          # what comes back next is lost, and both sides are reset
proxy.heal()                      # new connections pass as if nothing had been
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

_PIECE_BYTES = 16_384
_GO_ON = b"HTTP/1.1 100 "
"""Not an answer: the server asks for the body."""


class Proxy:
    """Passes connections on to a port of this machine.

    Attributes:
        port: where it listens on 127.0.0.1.
        happened: set when a connection was stalled or cut.

    Args:
        target_port: whom it speaks to.
        bytes_per_second: of the client's bytes; None is as fast as possible.
    """

    def __init__(self, target_port: int, *, bytes_per_second: float | None = None) -> None:
        self._target_port = target_port
        self._bytes_per_second = bytes_per_second
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.happened = threading.Event()
        self._closed = threading.Event()
        self._fault: Literal["stall", "cut"] | None = None
        self._left_bytes = 0
        self._loses_answer = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []

    def stall_after(self, num_bytes: int) -> None:
        """So many bytes of the client still pass; then nothing does, either way."""
        self._fault, self._left_bytes = "stall", num_bytes
        self.happened.clear()

    def cut_after(self, num_bytes: int) -> None:
        """So many bytes of the client still pass; then both ends are reset."""
        self._fault, self._left_bytes = "cut", num_bytes
        self.happened.clear()

    def lose_next_answer(self) -> None:
        """What the client asked arrives; instead of the next answer both ends are reset. Later connections pass."""
        self._loses_answer = True
        self.happened.clear()

    def heal(self) -> None:
        """Connections from now on pass; stalled ones stay stalled."""
        self._fault = None

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in self._pairs:
            _end(*pair)
        for thread in self._threads:
            thread.join()

    def _start(self, act: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=act, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                host = socket.create_connection(("127.0.0.1", self._target_port))
                for one in (client, host):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pairs.append((client, host))
                broken = threading.Event()
                self._start(self._pass_on, client, host, broken, True)
                self._start(self._pass_on, host, client, broken, False)

    def _pass_on(self, source: socket.socket, sink: socket.socket, broken: threading.Event, from_client: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if from_client and self._breaks(len(piece), source, sink):
                    broken.set()
                elif self._loses_answer and not from_client and not piece.startswith(_GO_ON):
                    self._loses_answer = False
                    self.happened.set()
                    _end(source, sink)
                    return
                if broken.is_set():
                    self._closed.wait()  # nothing passes any more, and nobody is told
                    return
                sink.sendall(piece)
                if from_client and self._bytes_per_second is not None:
                    self._closed.wait(len(piece) / self._bytes_per_second)
            sink.shutdown(socket.SHUT_WR)

    def _breaks(self, num_bytes: int, source: socket.socket, sink: socket.socket) -> bool:
        """Whether nothing passes from here on."""
        self._left_bytes -= num_bytes
        if self._fault is None or self._left_bytes >= 0:
            return False
        self.happened.set()  # first: whoever notices the cut may ask at once
        if self._fault == "cut":
            _end(source, sink)
        return True


class Listener:
    """A port that accepts every connection, says `banner`, and then nothing, ever."""

    def __init__(self, banner: bytes = b"") -> None:
        self._banner = banner
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for accepted in self._accepted:
            accepted.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._socket.accept()
                self._accepted.append(accepted)
                accepted.sendall(self._banner)


def _end(*sockets: socket.socket) -> None:
    """Resets connections: with no time to linger, closing sends RST."""
    for one in sockets:
        with contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.shutdown(socket.SHUT_RDWR)
        one.close()
