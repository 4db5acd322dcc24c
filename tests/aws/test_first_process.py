"""A container's first process hears signals as in AWS, and nothing of a container outlives it; with and without namespaces."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from models_lib.orphans import descendants
from tests.aws import container
from tests.aws.container import Container

SLEEPS = "print('ready', flush=True); import time; time.sleep(600)"
HEARS = "import signal; signal.signal(signal.SIGTERM, lambda n, f: (print('heard', flush=True), exit(3)));" + SLEEPS
HAS_A_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]).wait(); print('alive')"


@pytest.fixture(params=["namespace", "group"], autouse=True)
def isolation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "group":
        monkeypatch.setattr(container, "isolation", tuple)
    elif not container.isolation():
        pytest.skip("this machine gives no process namespaces: only the fall-back was tested")


def started(script: str, folder: Path) -> tuple[Container, list[str]]:
    lines: list[str] = []
    made = Container([sys.executable, "-c", script], environment={}, folder=folder, tell=lines.append)
    until(lambda: "ready" in lines)
    return made, lines


def until(there: Callable[[], object]) -> None:
    deadline, pause = time.monotonic() + 20, threading.Event()
    while not there():
        assert time.monotonic() < deadline
        pause.wait(0.02)


def ended(made: Container) -> int:
    until(lambda: made.exit_code() is not None)
    code = made.exit_code()
    assert code is not None
    return code


def test_first_process_ignores_a_signal_that_it_does_not_handle(tmp_path: Path) -> None:
    deaf, _ = started(SLEEPS, tmp_path)
    hearing, lines = started(HEARS, tmp_path)
    deaf.terminate()
    hearing.terminate()
    assert ended(hearing) == 3
    assert "heard" in lines
    assert deaf.exit_code() is None
    deaf.kill()
    assert ended(deaf) == 137


def test_kill_takes_grandchildren_along(tmp_path: Path) -> None:
    before = set(descendants(os.getpid()))
    made, lines = started(HAS_A_CHILD, tmp_path)
    assert set(descendants(os.getpid())) > before
    made.kill()
    assert ended(made) == 137
    until(lambda: set(descendants(os.getpid())) <= before)
    assert "alive" not in lines


def test_script_that_is_killed_leaves_its_parent(tmp_path: Path) -> None:
    made, lines = started(HAS_A_CHILD, tmp_path)
    until(made.kill_script)
    assert ended(made) == 0
    assert lines[-1] == "alive"


@pytest.mark.parametrize("isolation", ["namespace"], indirect=True)
def test_container_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.aws.container import Container\n"
        f"Container([sys.executable, '-c', {SLEEPS!r}], environment={{}}, folder=Path('.'), "
        "tell=lambda line: print(line, flush=True))\n"
        "import time; time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        family = set(descendants(server.pid))
        assert len(family) >= 2
        server.send_signal(signal.SIGKILL)
        server.wait()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family))
