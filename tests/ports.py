"""A port for a server that can only be told a number, and binds it seconds later."""

import os
import random
import socket

_BELOW_WHAT_THE_KERNEL_GIVES = range(15_000, 32_000)
"""Linux gives "any port" and the near end of a connection from 32768 on, so nobody gets one of these by chance."""
_given: set[int] = set()


def free_port() -> int:
    """A port on loopback that nothing else of these tests will get, in this process of pytest or in the one beside it."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ours = [port for port in _BELOW_WHAT_THE_KERNEL_GIVES if port % workers == worker and port not in _given]
    for port in random.SystemRandom().sample(ours, len(ours)):
        try:
            with socket.create_server(("127.0.0.1", port)):
                _given.add(port)
                return port
        except OSError:
            continue  # somebody else on this machine serves there
    raise AssertionError("no free port")
