"""The watcher of a rented machine with a small worker in place of Prefect's: real processes, a harmless switch-off."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flows.switch_off import parse_command, switch_off
from models_lib.errors import ConfigError
from tests.flows.running import ROOT, Child, wait_for

pytestmark = [
    pytest.mark.xdist_group("gpu-worker"),
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and only Linux adopts orphans"),
]

WATCH = """
import logging, sys, time
from flows.gpu_worker import watch
from flows.watched_worker import Signals, WatchedWorker
from models_lib.idleness import StayLimits
from models_lib.orphans import adopt_orphans

logging.basicConfig(format="%(message)s")
idle, hard, off, stop, joined, *command = sys.argv[1:]
adopt_orphans()
signals = Signals()
sys.exit(watch(
    WatchedWorker(command, signals, patience_seconds=0.5), signals,
    StayLimits(idle_seconds=float(idle), hard_limit_seconds=float(hard), restart_seconds=0.05),
    command=(sys.executable, "-S", "-c", "import sys, time; open(sys.argv[1], 'w').write(str(time.monotonic()))", off),
    joined=time.monotonic() if joined == "now" else joined, off_on_stop=stop == "off", look_seconds=0.05,
))
"""

WORKER = """
import os, pathlib, signal, subprocess, sys, time
folder, run = pathlib.Path(sys.argv[1]), sys.argv[2:]
if run and not (folder / "taken").exists():
    subprocess.Popen([sys.executable, "-S", "-c", *run], cwd=folder)
    (folder / "taking").write_text(str(os.getpid()))
    (folder / "taking").rename(folder / "taken")  # whole, and only once the run is there
else:
    (folder / "idle").write_text("")
signal.pause()
"""

BRIEF = "import time; time.sleep(0.8); open('done', 'w').write(str(time.monotonic()))"
"""A flow run that ends by itself."""
ENDLESS = """
import os, signal, subprocess, sys
def told(*_):
    open("told", "w").write(str(os.getppid()))
    sys.exit()
signal.signal(signal.SIGTERM, told)
subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.signal(15, signal.SIG_IGN); open('deaf', 'w'); signal.pause()"])
signal.pause()
"""
"""A flow run that ends when told to, and leaves a child that does not."""


class Watched:
    """A running watcher and what it leaves in its folder."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.process = process
        self.folder = folder

    def end(self) -> tuple[int, str]:
        """Exit status and what it said."""
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said

    def number(self, name: str) -> float:
        return float((self.folder / name).read_text())

    @property
    def switched_off(self) -> bool:
        return (self.folder / "off").exists()


@contextlib.contextmanager
def watching(
    folder: Path,
    *run: str,
    worker: tuple[str, ...] = (sys.executable, "-S", "-c", WORKER),
    idle: float = 0.4,
    hard: float = 60.0,
    off_on_stop: bool = False,
    joined: str = "now",
    server: str = "http://127.0.0.1:1/api",
) -> Iterator[Watched]:
    """Starts a watcher whose worker carries out one flow run, or none."""
    words = [str(idle), str(hard), str(folder / "off"), "off" if off_on_stop else "stay", joined]
    process = subprocess.Popen(
        [sys.executable, "-c", WATCH, *words, *worker, str(folder), *run],
        cwd=ROOT,
        env=os.environ | {"PREFECT_API_URL": server},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Watched(process, folder)
    finally:
        process.kill()
        process.communicate()


def test_idle_machine_is_switched_off_after_its_worker(tmp_path: Path) -> None:
    with watching(tmp_path) as watched:
        status, said = watched.end()
    assert (status, watched.switched_off) == (0, True)
    assert "leaving: no flow run was at work for" in said
    assert "no server answers" in said


def test_machine_stays_while_a_flow_run_is_at_work(tmp_path: Path) -> None:
    with watching(tmp_path, BRIEF) as watched:
        status, _ = watched.end()
    assert status == 0
    # It works for twice the idle limit. That is counted from the last look that saw it, a moment before its end.
    assert watched.number("off") > watched.number("done")


@pytest.mark.long
def test_hard_limit_ends_a_flow_run_while_the_worker_lives_and_leaves_nothing(tmp_path: Path) -> None:
    with watching(tmp_path, ENDLESS, hard=1.5) as watched:
        wait_for(tmp_path, "deaf")
        below = [Child(pid) for pid in descendants_of(watched.process.pid)]
        status, said = watched.end()
    assert (status, watched.switched_off) == (0, True)
    assert "hard limit" in said
    assert watched.number("told") == watched.number("taken"), "its parent, the worker, was there to report it"
    assert len(below) == 3
    assert all(child.ends() for child in below)


def descendants_of(pid: int) -> list[int]:
    from models_lib.orphans import descendants

    return list(descendants(pid))


@pytest.mark.long
def test_killed_worker_leaves_work_that_counts_and_is_started_again(tmp_path: Path) -> None:
    with watching(tmp_path, BRIEF) as watched:
        wait_for(tmp_path, "taken")
        os.kill(int(watched.number("taken")), signal.SIGKILL)
        status, said = watched.end()
    assert status == 0
    assert "the worker ended with status -9" in said
    # It works for twice the idle limit. That is counted from the last look that saw it, a moment before its end.
    assert watched.number("off") > watched.number("done")
    assert not (tmp_path / "idle").exists(), "no server answers: the next worker waits half a minute"


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    """Something that answers at PREFECT_API_URL, and refuses."""
    with HTTPServer(("127.0.0.1", 0), _Health) as answering:
        thread = threading.Thread(target=answering.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{answering.server_port}/api"
        answering.shutdown()
        thread.join()


@pytest.mark.long
def test_worker_that_cannot_start_is_a_reason_to_switch_off(tmp_path: Path, server: str) -> None:
    with watching(tmp_path, worker=("/no/such/worker",), idle=59.0, server=server) as watched:
        status, said = watched.end()
    assert (status, watched.switched_off) == (0, True)
    assert said.count("it is started again") == 5
    assert "leaving: the worker ended by itself 5 times within an hour; the server answers" in said


@pytest.mark.parametrize("off_on_stop", [False, pytest.param(True, marks=pytest.mark.long)])
def test_stopped_watcher_ends_its_worker_and_switches_off_only_when_asked_to(tmp_path: Path, off_on_stop: bool) -> None:
    with watching(tmp_path, idle=59.0, off_on_stop=off_on_stop) as watched:
        wait_for(tmp_path, "idle")
        (worker,) = [Child(pid) for pid in descendants_of(watched.process.pid)]
        watched.process.terminate()
        status, said = watched.end()
    assert (status, watched.switched_off) == (0, off_on_stop)
    assert ("this machine stays on" in said) is not off_on_stop
    assert worker.ends()


def test_killed_watcher_takes_its_worker_along(tmp_path: Path) -> None:
    with watching(tmp_path, idle=59.0) as watched:
        wait_for(tmp_path, "idle")
        (worker,) = [Child(pid) for pid in descendants_of(watched.process.pid)]
        watched.process.kill()
        assert worker.ends()
    assert not watched.switched_off


def test_fault_of_the_watcher_switches_off(tmp_path: Path) -> None:
    with watching(tmp_path, idle=59.0, joined="a time that is no number") as watched:
        status, said = watched.end()
    assert (status, watched.switched_off) == (0, True)
    assert "Traceback" in said
    assert "leaving: the watcher failed: TypeError" in said


def test_switch_off_that_fails_is_tried_again_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script = tmp_path / "off"
    script.write_text(f"#!/bin/sh\necho tried >> {tmp_path}/tries\n[ $(wc -l < {tmp_path}/tries) -ge 4 ]\n")
    script.chmod(0o700)
    pauses: list[float] = []

    def told_to_stop(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    assert switch_off((str(script), "SECRET"), told_to_stop=told_to_stop)
    assert pauses == [5, 10, 20]
    assert caplog.text.count("THIS MACHINE IS STILL RUNNING AND COSTS MONEY") == 3
    assert "SECRET" not in caplog.text


def test_switch_off_gives_up_only_when_told_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pauses: list[float] = []

    def told_to_stop(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) == 12

    assert not switch_off((str(tmp_path / "gone"),), told_to_stop=told_to_stop)
    assert pauses[-2:] == [300, 300]
    assert "ended with No such file or directory" in caplog.text


@pytest.mark.parametrize("text", ["", "no-such-program --now", "'unclosed"])
def test_switch_off_that_could_never_work_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ConfigError, match="--switch-off"):
        parse_command(text)


@pytest.mark.long
def test_default_switches_off_with_systemctl_and_arms_a_second_line_once(tmp_path: Path) -> None:
    """PATH holds nothing but two harmless programs of these names."""
    programs, joined = tmp_path / "programs", tmp_path / "joined"
    programs.mkdir()
    for name in ("systemctl", "shutdown"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/called\n')
        (programs / name).chmod(0o700)
    environment = {"PATH": str(programs), "PREFECT_API_URL": "http://127.0.0.1:1/api", "HOME": str(tmp_path)}
    assert shutil.which("systemctl", path=environment["PATH"]) == str(programs / "systemctl")
    words = ["--idle-minutes", "0.005", "--hard-limit-hours", "2", "--joined-file", str(joined)]
    for _ in range(2):
        answer = subprocess.run(
            [sys.executable, "-m", "flows.gpu_worker", *words],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert answer.returncode == 0, answer.stderr
    first, *rest = (tmp_path / "called").read_text().splitlines()
    assert first.startswith("shutdown -P +135 ")
    assert rest == ["systemctl poweroff"] * 2
    assert 0.0 < float(joined.read_text()) < time.monotonic()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--idle-minutes", "90", "--hard-limit-hours", "1"], "at most the hard limit"),
        (["--switch-off", "no-such-program"], "not a program on this machine"),
        ([], "PREFECT_API_URL is not set"),
    ],
)
def test_unsound_options_start_nothing(words: list[str], told: str) -> None:
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:1/api" if words else ""}
    answer = subprocess.run(
        [sys.executable, "-m", "flows.gpu_worker", "--switch-off", "true", *words, "--check"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 2
    assert told in answer.stderr
    assert "Traceback" not in answer.stderr
