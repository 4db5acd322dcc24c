"""Prefect's API for one run in this process, as a child that cannot outlive it.

Prefect would start such a server by itself, but that one is left behind when this process is killed, and goes away
first when Ctrl-C is pressed in a terminal. This one has a session of its own and dies with its parent (Linux).

What does not belong here: Prefect's settings (prefect_environment.py), and servers that other runs share.
"""

import argparse
import atexit
import gc
import http.client
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from flows.loopback import listen_on_loopback
from models_lib.errors import ConfigError, CrpbotError
from models_lib.orphans import die_with_parent

_START_SECONDS = 180.0
"""The first start in a home migrates the database; on a busy machine that takes half a minute."""
_PATIENCE_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
_LIVES = 5
"""How often a server that died is replaced; one that cannot live must not be started for ever."""
_LOG_FILE = "server.log"
_NAMES_AN_ERROR = re.compile(r"[\w.]+(Error|Exception): ")


def start_own_server(home: Path) -> "OwnServer | None":
    """Starts a server and names it in PREFECT_API_URL; None when the operator named one there, which answers.

    Must be called in the main thread, before `prefect` is imported, which reads the environment then. The server
    answers later: until `wait_until_it_answers` there is time to load what is needed.

    Raises:
        ConfigError: the operator's server does not answer.
    """
    if given := os.environ.get("PREFECT_API_URL"):
        _check_answers(given)
        return None
    log = home / "prefect" / _LOG_FILE
    log.parent.mkdir(parents=True, exist_ok=True)
    server = OwnServer(log)
    # At exit, not at the end of the run: Prefect sends its last log lines when the interpreter ends.
    atexit.register(server.end)
    os.environ["PREFECT_API_URL"] = server.url
    return server


class OwnServer:
    """The child, and another one in its place when it dies: what the first had stored is in the home's database.

    This process keeps the port open as long as there is a next life, so nobody can take it, and a request waits until a
    server answers it.
    """

    def __init__(self, log: Path, settings: Mapping[str, str] | None = None) -> None:
        """Starts the first child.

        Args:
            log: what the child prints; emptied.
            settings: Prefect's, by the names of the environment, over those that this process has there.
        """
        self._log = log
        self._settings = dict(settings or {})
        self._log.write_bytes(b"")
        self._listening = listen_on_loopback(0)
        self._port = self._listening.getsockname()[1]
        self._ending = threading.Event()
        self._process = self._start()
        self._guard = threading.Thread(target=self._replace_the_dead, name="prefect-server-guard", daemon=True)
        self._guard.start()

    @property
    def url(self) -> str:
        """Of the API, as PREFECT_API_URL names it."""
        return f"http://127.0.0.1:{self._port}/api"

    def wait_until_it_answers(self) -> None:
        """Returns when a request was answered.

        Raises:
            CrpbotError: the server did not start.
        """
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=_START_SECONDS):  # noqa: S310  our own address
                pass
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            raise CrpbotError(
                f"Prefect's server did not start: {_last_error(self._log) or error}. Its log is {self._log}. If its "
                f"database is damaged, move {self._log.with_name('prefect.db')} away: it holds records of runs and no model."
            ) from error

    def end(self) -> None:
        """Ends the child for good."""
        self._ending.set()
        self._process.terminate()
        self._guard.join(_PATIENCE_SECONDS)
        self._process.kill()
        self._process.wait()
        self._listening.close()

    def _replace_the_dead(self) -> None:
        for _ in range(_LIVES):
            self._process.wait()
            if self._ending.is_set():
                return
            self._process = self._start()
            if self._ending.is_set():  # between the two lines above `end` spoke to the dead one
                self._process.terminate()
        self._process.wait()  # a child dies with the thread that started it, so this one stays
        self._listening.close()  # who waits for an answer learns that none will come

    def _start(self) -> "subprocess.Popen[bytes]":
        number = self._listening.fileno()
        command = [sys.executable, "-m", "flows.prefect_server", str(number), "--parent", str(os.getpid())]
        with self._log.open("ab") as stream:
            return subprocess.Popen(  # noqa: S603  our own interpreter and module
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                pass_fds=(number,),
                env=os.environ | self._settings,
                start_new_session=True,
            )


def _last_error(log: Path) -> str | None:
    """The last line of the log that names an exception."""
    lines = log.read_text(errors="replace").splitlines()
    return next((line.strip().rstrip(".") for line in reversed(lines) if _NAMES_AN_ERROR.match(line)), None)


def _check_answers(url: str) -> None:
    """Refuses a server that the operator named and that is not there, before anything is started."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=_ANSWER_SECONDS):  # noqa: S310  the operator's own address
            pass
    except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
        raise ConfigError(
            f"PREFECT_API_URL={url}: no Prefect server answers there ({error}). Start it, or unset PREFECT_API_URL: "
            f"`crpbot run` then brings its own."
        ) from error


def main(arguments: list[str] | None = None) -> None:
    """Serves Prefect's API on an inherited socket until this process or its parent ends."""
    parser = argparse.ArgumentParser(prog="python -m flows.prefect_server", description=__doc__)
    parser.add_argument("socket", type=int, help="file descriptor of the listening socket")
    parser.add_argument("--parent", type=int, required=True, help="process id of the parent; this process ends with it")
    chosen = parser.parse_args(arguments)
    die_with_parent(chosen.parent)

    gc.disable()  # what is loaded here stays
    import uvicorn  # noqa: PLC0415  the parent must not wait for these
    from prefect.server.api.server import create_app  # noqa: PLC0415

    from flows.route_order import ASKED_BY_RUNS, put_first  # noqa: PLC0415
    from flows.sqlite_writers import let_writers_wait  # noqa: PLC0415

    let_writers_wait()
    app = create_app(ephemeral=True, final=True)
    put_first(app, ASKED_BY_RUNS)
    gc.freeze()
    gc.enable()
    uvicorn.run(app, fd=chosen.socket, log_level="error", lifespan="on")


if __name__ == "__main__":
    main()
