"""A socket on this machine for a server that inherits it.

What does not belong here: what is served (flows/prefect_server.py, flows/serving).
"""

import socket


def listen_on_loopback(port: int) -> socket.socket:
    """Listens on 127.0.0.1; port 0 takes a free one. Answers are sent at once.

    asyncio switches Nagle's algorithm off for sockets that it opened itself, but uvicorn takes an inherited one for a Unix
    socket. An answer of two segments would wait for the reader's delayed acknowledgement then: 40 ms on Linux, for every
    second request of a run.

    Raises:
        OSError: the port is in use, or not ours to use.
    """
    listening = socket.create_server(("127.0.0.1", port))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it accepts inherits this (Linux)
    return listening
