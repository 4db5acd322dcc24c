"""`make server`: brings everything up, in order, and watches over it until it is told to end.

The server's port is opened here and stays open, so a request waits while a server that died is replaced; one that hangs
is killed and replaced. Where a server of somebody else answers already, at PREFECT_API_URL, none is started; what stands
on it is seen to, and a worker is started where it has none.

What does not belong here: how children are watched (supervision.py), and what must stand on the server (standing.py).
"""

import argparse
import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from flows.home import crpbot_home, make_home
from flows.loopback import listen_on_loopback
from flows.serving import prefect_api
from flows.serving.health import Silence, answers, wait_until_healthy
from flows.serving.one_process import in_one_line
from flows.serving.settings import (
    API_URL,
    PARENT_POOL,
    SYMBOL_POOL,
    Address,
    address,
    client_environment,
    server_environment,
)
from flows.serving.supervision import ChildPlan, Children, Due, Ended, Stop, Told, end_processes, how_it_ended
from models_lib.errors import ConfigError, CrpbotError, TransientError
from models_lib.orphans import adopt_orphans

_POOLS = (PARENT_POOL, SYMBOL_POOL)
_FIRST_LOOK_SECONDS = 5.0
_TRIES = 3
"""So often what never worked is tried: a server's first start, and the ensure-script."""
_RUN_SECONDS = 10.0
"""A run that was told to end says so to the server; one that does not in time is killed."""
_LOOK_SECONDS = 30.0
_LOOKS_IN_VAIN = 6
"""Three minutes of silence; a database under load is slow for a minute."""
_ANSWER_SECONDS = 5.0
_HEALTHY = "healthy"


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or Ctrl-C; 0 then, and where another one serves this home already."""
    parser = argparse.ArgumentParser(prog="python -m flows.serving", description=__doc__)
    parser.parse_args(arguments)
    return in_one_line(_serve)


def _serve() -> int:
    home = crpbot_home()
    make_home(home)
    with _only_one(home) as other:
        if other is not None:
            _say(f"{home} is served already, by process {other}; looking at what must stand on its server")
            return subprocess.run(_module("ensure"), env=client_environment(home), check=False).returncode  # noqa: S603
        _Serving(home).serve()
    return 0


class _Serving:
    """One `make server`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._logs = home / "logs"
        self._where: Address = address()
        self._client = client_environment(home)
        self._children = Children(_say)
        self._ended = threading.Event()
        self._silence = Silence(self._where.api_url, looks=_LOOKS_IN_VAIN, seconds=_ANSWER_SECONDS)
        self._healthy = False
        self._stands = False
        self._elsewhere: set[str] = set()
        """Pools that have a worker of somebody else."""

    def serve(self) -> None:
        """Returns when it was told to end and everything of it is gone.

        Raises:
            CrpbotError: it never came up.
        """
        self._children.listen_to_signals()
        adopt_orphans()  # a run outlives its worker
        try:
            with self._server():
                threading.Thread(target=self._tell_when_healthy, daemon=True).start()
                while not isinstance(event := self._children.next_event(look_every=_LOOK_SECONDS), Stop):
                    self._answer(event)
                self._end()
        finally:
            self._ended.set()
            self._children.end(*_POOLS, "ensure", "server")
        _say("ended")

    @contextlib.contextmanager
    def _server(self) -> Iterator[None]:
        """Starts the server, unless one answers."""
        if answers(self._where.api_url, seconds=_FIRST_LOOK_SECONDS):
            _say(f"a server answers at {self._where.api_url}; none is started")
            yield
            return
        with _listening(self._where) as port:
            descriptor = port.fileno()
            command = [*_module("server"), "--socket", str(descriptor)]
            environment = server_environment(self._home)
            plan = ChildPlan("server", command, environment, self._logs / "server.log", (descriptor,))
            self._children.start(plan)
            _say(f"server: started, its log is {plan.log}")
            yield

    def _tell_when_healthy(self) -> None:
        try:
            wait_until_healthy(self._where.api_url, ended=self._ended)
        except CrpbotError as error:
            self._children.tell(Told(_HEALTHY, error))
        else:
            self._children.tell(Told(_HEALTHY))

    def _answer(self, event: Ended | Told | Due) -> None:
        self._children.bury_adopted()
        match event:
            case Told(error=Exception() as error):
                raise error
            case Told():
                self._healthy = True
                _say(f"server: answers; the pages are at {self._where.ui_url}")
                self._children.start(ChildPlan("ensure", _module("ensure"), self._client, self._logs / "ensure.log"))
            case Ended(name="ensure", status=0):
                _say("pools, deployments and automations stand")
                self._stands = True
                self._start_workers()
                _say("up; Ctrl-C ends it")
            case Due():
                self._look()
            case Ended(name="server" | "ensure"):
                self._start_again(event, tries=None if event.name == "server" and self._healthy else _TRIES)
            case Ended():
                self._start_again(event, tries=None)

    def _look(self) -> None:
        """A server of ours that hangs is killed; on somebody else's a worker may have gone away."""
        if self._children.works("server"):
            if self._healthy and self._silence.lasts_too_long():
                _say(f"server: has not answered for {_LOOKS_IN_VAIN * _LOOK_SECONDS:.0f} s; killed")
                self._children.kill("server")
        elif self._stands:
            self._start_workers()

    def _start_workers(self) -> None:
        for pool in _POOLS:
            if self._children.works(pool) or self._has_another(pool):
                continue
            log = self._logs / f"worker-{pool}.log"
            self._children.start(ChildPlan(pool, [*_module("worker"), pool], self._client, log))
            _say(f"worker {pool}: started, its log is {log}")

    def _has_another(self, pool: str) -> bool:
        """Whether somebody else's worker is there; the sign of life of one that was killed is seen for a minute or two."""
        if self._children.works("server"):
            return False  # nobody else's: it is what an earlier `make server` left in the database
        try:
            there = prefect_api.has_worker(self._where.api_url, pool)
        except TransientError as error:
            _say(f"worker {pool}: whether one is there cannot be asked: {error}")
            return False
        if there and pool not in self._elsewhere:
            self._elsewhere.add(pool)
            _say(f"worker {pool}: one is there already; started when that goes away")
        return there

    def _start_again(self, event: Ended, *, tries: int | None) -> None:
        delay = self._children.start_again_later(event.name)
        if tries is not None and self._children.deaths(event.name) >= tries:
            log = self._logs / f"{event.name}.log"
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise CrpbotError(f"{event.name} {how_it_ended(event.status)}, {tries} times. {log} ends with: {last}")
        _say(f"{event.name}: {how_it_ended(event.status)}; started again in {delay:.0f} s")

    def _end(self) -> None:
        """Runs first, then workers: the server still learns what became of them."""
        _say("ending ...")
        runs = self._children.grandchildren(*_POOLS)
        end_processes(runs, seconds=_RUN_SECONDS)
        self._children.end(*_POOLS, "ensure")
        if not runs:
            return
        try:
            for name in prefect_api.crash_runs_of(self._where.api_url, runs, pools=_POOLS):
                _say(f"{name}: ended with its worker")
        except TransientError as error:
            _say(f"runs that were killed may stand as running until their sign of life is missed: {error}")


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[int | None]:
    """Locks the home for the body; gives the process id of another one that holds the lock."""
    file = home / "serving.lock"
    with file.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            yield json.loads(stream.read() or "0")
            return
        stream.truncate(0)
        stream.write(json.dumps(os.getpid()))
        stream.flush()
        yield None


@contextlib.contextmanager
def _listening(where: Address) -> Iterator[socket.socket]:
    if not where.is_here:
        raise ConfigError(
            f"{API_URL}={where.api_url}: no server answers, and one can be started on this machine's loopback only. "
            f"Start that server, or unset {API_URL}."
        )
    try:
        port = listen_on_loopback(where.port)
    except OSError as error:
        raise ConfigError(
            f"{API_URL}={where.api_url}: port {where.port} cannot be used ({error.strerror}), and what listens there "
            f"is no Prefect server. End it, or set {API_URL} to another port."
        ) from error
    with port:
        yield port


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"flows.serving.{name}"]


def _say(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)
