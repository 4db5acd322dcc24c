"""The restart command: what it leaves in the background is the runtime, and what is out of time ends with its children."""

import os
import signal
import time
from pathlib import Path

import pytest

from models_lib.errors import DeployError
from models_lib.host.messages import Service
from models_lib.host.service import RuntimeService
from tests.contracts.test_host_link import has_ended


def restart(folder: Path, script: str, *, seconds: float) -> None:
    """Runs the shell script as the restart command."""
    how = Service(restart=("sh", "-c", script), restart_seconds=seconds, health=None, health_seconds=1)
    RuntimeService(folder, how).restart()


def test_restart_may_leave_the_runtime_in_the_background_with_its_own_output(tmp_path: Path) -> None:
    began = time.monotonic()
    restart(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid", seconds=30)
    assert time.monotonic() - began < 30
    runtime = int((tmp_path / "pid").read_text())
    assert not has_ended(runtime, seconds=0.0)
    os.kill(runtime, signal.SIGKILL)


def test_restart_out_of_time_is_gone_with_its_children(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"the restart command sh took longer than 0\.5 s"):
        restart(tmp_path, f"sleep 60 & echo $$ $! > {tmp_path}/pids; wait", seconds=0.5)
    assert all(has_ended(int(pid)) for pid in (tmp_path / "pids").read_text().split())


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo fine; echo no unit >&2; exit 5", r"ended with status 5 \(no unit\)"),
        ("echo no unit; exit 5", r"ended with status 5 \(no unit\)"),
        ("exit 5", r"ended with status 5 \(no word\)"),
    ],
    ids=["stderr", "stdout", "nothing"],
)
def test_failed_restart_is_told_in_its_own_words(tmp_path: Path, script: str, told: str) -> None:
    with pytest.raises(DeployError, match=told):
        restart(tmp_path, script, seconds=30)
