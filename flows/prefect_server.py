"""Prefect's API for one run in this process, as a child that cannot outlive it.

Prefect would start such a server by itself, but that one is left behind when this process is killed, and goes away
first when Ctrl-C is pressed in a terminal. This one has a session of its own and dies with its parent (Linux).

What does not belong here: Prefect's settings (prefect_environment.py), and servers that other runs share.
"""

import argparse
import atexit
import contextlib
import http.client
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from models_lib.errors import CrpbotError
from models_lib.orphans import die_with_parent

_START_SECONDS = 180.0
"""The first start in a home migrates the database; on a busy machine that takes half a minute."""
_PATIENCE_SECONDS = 5.0
_LOG_FILE = "server.log"


@contextlib.contextmanager
def own_server(home: Path) -> Iterator[None]:
    """A server for the body, named by PREFECT_API_URL; none is started when the operator names one there.

    Must be entered in the main thread, before `prefect` is imported, which reads the environment then.

    Raises:
        CrpbotError: the server did not start.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    # The parent opens the port: nobody can take it in between, and a request waits until the server answers it.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        log = home / "prefect" / _LOG_FILE
        log.parent.mkdir(parents=True, exist_ok=True)
        server = _start(listening, log)
    # At exit, not at the end of the body: Prefect sends its last log lines when the interpreter ends.
    atexit.register(_end, server)
    _wait_for(url, log)
    os.environ["PREFECT_API_URL"] = url
    yield


def _start(listening: socket.socket, log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "flows.prefect_server", str(listening.fileno()), "--parent", str(os.getpid())]
    with log.open("wb") as stream:
        return subprocess.Popen(  # noqa: S603  our own interpreter and module
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            pass_fds=(listening.fileno(),),
            start_new_session=True,
        )


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_for(url: str, log: Path) -> None:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=_START_SECONDS):  # noqa: S310  our own loopback address
            pass
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        raise CrpbotError(f"Prefect's server did not start ({error}). Its log is {log}.") from error


def main(arguments: list[str] | None = None) -> None:
    """Serves Prefect's API on an inherited socket until this process or its parent ends."""
    parser = argparse.ArgumentParser(prog="python -m flows.prefect_server", description=__doc__)
    parser.add_argument("socket", type=int, help="file descriptor of the listening socket")
    parser.add_argument("--parent", type=int, required=True, help="process id of the parent; this process ends with it")
    chosen = parser.parse_args(arguments)
    die_with_parent(chosen.parent)

    import uvicorn  # noqa: PLC0415  the parent must not wait for these
    from prefect.server.api.server import create_app  # noqa: PLC0415

    app = create_app(ephemeral=True, final=True)
    uvicorn.run(app, fd=chosen.socket, log_level="error", lifespan="on")


if __name__ == "__main__":
    main()
