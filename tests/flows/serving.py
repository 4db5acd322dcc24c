"""A real `make server` on a free port that a test looks at, kills parts of and ends, and a receiver of its messages."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flows.serving.supervision import children_of
from tests.flows.running import ROOT, Child
from tests.ports import free_port

UP = "up; Ctrl-C ends it"
UP_SECONDS = 240.0
Found = TypeVar("Found")


class Receiver:
    """A Slack of our own."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        texts = self.texts

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                texts.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/services/canary"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Served:
    """One `python -m flows.serving`."""

    def __init__(self, home: Path, port: int, **more: str) -> None:
        self.home = home
        self.api_url = f"http://127.0.0.1:{port}/api"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.environment = ours | {
            "CRPBOT_HOME": str(home),
            "PREFECT_API_URL": self.api_url,
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "COLUMNS": "200",
            **more,
        }
        self.said: list[str] = []
        self.process = self._start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._heard = threading.Condition()
        self._reader.start()

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "flows.serving"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._heard:
                    self.said.append(line.rstrip())
                    self._heard.notify_all()

    def hears(self, mark: str, *, since: int = 0, seconds: float = UP_SECONDS) -> None:
        """Waits until it said a line with `mark`."""
        with self._heard:
            found = self._heard.wait_for(lambda: any(mark in line for line in self.said[since:]), seconds)
        assert found, f"{mark!r} was not said: {self.said} {self.logs()}"

    def logs(self) -> str:
        """The ends of its logs."""
        files = sorted((self.home / "logs").glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in files)

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A Python module as a person starts it beside the server."""
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env=self.environment | {"PREFECT_HOME": str(self.home / "shell")},
            capture_output=True,
            text=True,
            check=False,
            timeout=UP_SECONDS,
        )

    def run(
        self, deployment: str, params: dict[str, Any] | None = None, *more: str
    ) -> "subprocess.CompletedProcess[str]":
        """`prefect deployment run`."""
        given = [] if params is None else ["-p", f"params={json.dumps(params)}"]
        return self.command("prefect", "deployment", "run", deployment, *given, *more)

    def watch(self) -> str:
        """One night-watch from beginning to end; what its command said.

        Two at a time are one too many: while one runs that its schedule or an automation started, ours is cancelled.
        """

        def ours() -> str | None:
            answer = self.run("night-watch/every-10-minutes", None, "--watch")
            said = answer.stdout + answer.stderr
            assert answer.returncode == 0 or "finished in state 'Cancelled'" in said, said + self.logs()
            return said if answer.returncode == 0 else None

        return until(ours, "a night-watch of ours")

    def ask(self, path: str, body: dict[str, Any] | None = None, *, method: str = "POST") -> Any:
        """The answer of Prefect's API; a server that is busy, or just being replaced, is asked again."""
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(
            f"{self.api_url}/{path}", data, {"Content-Type": "application/json"}, method=method
        )
        for attempt in range(5):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    content = answer.read()
                    return json.loads(content) if content else None
            except (ConnectionError, TimeoutError, urllib.error.HTTPError) as error:
                busy = not isinstance(error, urllib.error.HTTPError) or error.code == 503  # SQLite's database is locked
                if not busy or attempt == 4:
                    raise
        raise AssertionError

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """Flow runs of that flow, the newest first."""
        asked = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC"}
        found: list[dict[str, Any]] = self.ask("flow_runs/filter", asked)
        return found

    def child(self, part: str) -> Child:
        """Its child process whose command line holds `part`."""

        def look() -> int | None:
            return next((pid for pid in children_of(self.process.pid) if part in command_of(pid)), None)

        return Child(until(look, f"a child {part}"))

    def everything(self) -> list[Child]:
        """Its children and theirs."""
        pids = children_of(self.process.pid)
        for pid in list(pids):
            pids |= children_of(pid)
        return [Child(pid) for pid in pids]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ends it; its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        self._reader.join()
        return status


@contextlib.contextmanager
def served(home: Path, **more: str) -> Iterator[Served]:
    """Brings it up for the body; whatever happens, nothing of it is left."""
    one = Served(home, free_port(), **more)
    try:
        one.hears(UP)
        yield one
    finally:
        left = one.everything() if one.process.poll() is None else []
        one.end(signal.SIGKILL)
        for child in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            child.ends(0.0)


def command_of(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def until(look: Callable[[], Found | None], what: str, *, seconds: float = UP_SECONDS, every: float = 0.3) -> Found:
    """What `look` finds, as soon as it does."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        pause.wait(every)
    raise AssertionError(f"{what}: not within {seconds:.0f} seconds")
