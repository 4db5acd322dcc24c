"""`make server` on a real PostgreSQL from Debian's package, which is one setting."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.serving.supervision import children_of
from tests.flows.postgresql import PASSWORD, cluster, programs
from tests.flows.serving import command_of, served, until
from tests.ports import free_port

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("serving"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture
def database() -> Iterator[str]:
    """The address of a fresh cluster on loopback."""
    where = programs()
    if where is None:
        pytest.skip("needs Debian's package postgresql: PostgreSQL was NOT tested")
    with cluster(where) as address:
        yield address


def environment_of(pid: int) -> bytes:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def test_server_schedules_and_runs_on_postgresql_and_tells_its_password_to_nobody(
    database: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with served(home, CRPBOT_DATABASE_URL=database) as up:
        assert not (home / "prefect" / "prefect.db").exists(), "the data are in PostgreSQL"

        def scheduled() -> list[dict[str, Any]] | None:
            nightly = [run for run in up.runs("train-all") if run["auto_scheduled"]]
            return nightly if len(nightly) >= 3 else None

        # The scheduler is a service of its own, which looks every few seconds.
        nightly = until(scheduled, "the server's scheduler made the next nights")
        assert [run["expected_start_time"][10:16] for run in nightly[:3]] == ["T02:00"] * 3
        answer = up.watch()

        pids = children_of(up.process.pid)
        with_password = [command_of(pid) for pid in pids if PASSWORD.encode() in environment_of(pid)]
        assert len(with_password) == 1
        assert "flows.serving.server" in with_password[0]
        shown = str(up.ask("admin/settings", method="GET")) + "\n".join(up.said) + answer
        assert up.end() == 0
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert PASSWORD not in shown
    assert PASSWORD.encode() not in written


def test_database_that_is_not_there_is_said_without_its_password(tmp_path: Path) -> None:
    environment = os.environ | {
        "CRPBOT_HOME": str(tmp_path / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
        "CRPBOT_DATABASE_URL": f"postgresql://crpbot:{PASSWORD}@127.0.0.1:{free_port()}/postgres",
    }
    answer = subprocess.run(
        [sys.executable, "-m", "flows.serving"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 1
    assert "server ended with status" in answer.stderr
    log = (tmp_path / "home" / "logs" / "server.log").read_text()
    assert PASSWORD not in answer.stdout + answer.stderr + log
