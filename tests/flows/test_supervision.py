"""Children that are started again, and the settings with which they are started; without Prefect."""

import base64
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flows.serving import prefect_api
from flows.serving.health import Silence
from flows.serving.settings import address, client_environment, server_environment, silent_seconds
from flows.serving.supervision import (
    ChildPlan,
    Children,
    Due,
    Ended,
    Event,
    Stop,
    Told,
    children_of,
    end_processes,
    how_it_ended,
)
from models_lib.errors import ConfigError, TransientError

SECRET = "canary-5f2b"
WAITS = "import signal, sys; print('here', flush=True); signal.pause()"


@pytest.fixture
def children() -> Children:
    return Children(lambda _line: None)


def plan(tmp_path: Path, code: str) -> ChildPlan:
    return ChildPlan("child", [sys.executable, "-c", code], os.environ, tmp_path / "logs" / "child.log")


def next_event(children: Children) -> Event:
    """With a limit, so that a fault fails the test instead of hanging."""
    guard = threading.Timer(30.0, lambda: children.tell(Stop()))
    guard.start()
    try:
        return children.next_event(look_every=60.0)
    finally:
        guard.cancel()


def test_child_that_died_is_started_again_later_and_later(children: Children, tmp_path: Path) -> None:
    children.start(plan(tmp_path, "import sys; sys.exit(3)"))
    delays = []
    for _ in range(2):
        assert next_event(children) == Ended("child", 3)
        delays.append(children.start_again_later("child"))
    assert delays == [1.0, 2.0]
    assert children.deaths("child") == 2


def test_ended_child_is_gone_and_what_it_said_is_in_its_log(children: Children, tmp_path: Path) -> None:
    children.start(plan(tmp_path, "print('said')"))
    assert next_event(children) == Ended("child", 0)
    before = children_of(os.getpid())
    children.start(plan(tmp_path, WAITS))
    (pid,) = children_of(os.getpid()) - before
    children.end("child", "never there")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert (tmp_path / "logs" / "child.log").read_text().splitlines()[0] == "said"


def test_look_is_due_whatever_else_happens_and_a_child_that_hangs_is_killed(children: Children, tmp_path: Path) -> None:
    children.start(plan(tmp_path, WAITS))
    began = time.monotonic()
    children.tell(Told("something"))
    events = [children.next_event(look_every=0.2) for _ in range(3)]
    assert events == [Told("something"), Due(), Due()]
    assert time.monotonic() - began >= 0.3
    assert children.works("child")
    children.kill("child")
    assert next_event(children) == Ended("child", -signal.SIGKILL)


def test_server_that_hangs_is_noticed_after_so_many_looks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        silence = Silence(f"http://127.0.0.1:{hanging.getsockname()[1]}/api", looks=3, seconds=0.05)
        looks = [silence.lasts_too_long() for _ in range(4)]
    assert looks == [False, False, True, False]


def test_question_to_the_server_carries_the_password_and_a_lost_one_is_passing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b'[{"status": "ONLINE"}]'
            allowed = self.headers["Authorization"] == f"Basic {base64.b64encode(SECRET.encode()).decode()}"
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/api"
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", SECRET)
        assert prefect_api.has_worker(url, "crpbot")
        monkeypatch.delenv("PREFECT_API_AUTH_STRING")
        with pytest.raises(TransientError, match="401"):
            prefect_api.has_worker(url, "crpbot")
        server.shutdown()


def test_configuration_is_named_by_its_whole_path_to_whoever_works_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CRPBOT_CONFIG", "here.yaml")
    assert client_environment(tmp_path)["CRPBOT_CONFIG"] == str(Path("here.yaml").absolute())


def test_end_of_a_child_is_told_in_words() -> None:
    assert how_it_ended(-signal.SIGKILL) == "was ended by SIGKILL"
    assert how_it_ended(2) == "ended with status 2"


def test_process_that_does_not_listen_is_killed() -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); signal.pause()"
    processes = []
    for code in (WAITS, deaf):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        process.stdout.close()
        processes.append(process)
    end_processes({process.pid for process in processes}, seconds=0.5)
    assert [process.wait(timeout=60) for process in processes] == [-signal.SIGTERM, -signal.SIGKILL]


def test_database_is_one_setting_that_only_the_server_gets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CRPBOT_DATABASE_URL", f"postgresql://crpbot:{SECRET}@db:5432/prefect")
    server, client = server_environment(tmp_path), client_environment(tmp_path)
    assert server["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == f"postgresql+asyncpg://crpbot:{SECRET}@db:5432/prefect"
    assert [name for name, value in client.items() if SECRET in value] == []
    assert [name for name, value in server.items() if SECRET in value] == ["PREFECT_SERVER_DATABASE_CONNECTION_URL"]


def test_database_that_is_no_postgresql_is_refused_without_a_word_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CRPBOT_DATABASE_URL", f"mysql://crpbot:{SECRET}@db/prefect")
    with pytest.raises(ConfigError, match="CRPBOT_DATABASE_URL must be postgresql://") as refused:
        server_environment(tmp_path)
    assert SECRET not in str(refused.value)


def test_server_tells_nobody_and_forgets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from prefect.settings import Settings

    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    for name, value in server_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert not settings.server.analytics_enabled
    assert {"events", "flow_runs"} <= settings.server.services.db_vacuum.enabled_vacuum_types
    assert settings.server.services.db_vacuum.retention_period.days == 90
    assert settings.server.concurrency.lease_storage.endswith("filesystem"), "a run outlives a restart of the server"
    assert settings.home == tmp_path / "prefect"
    assert settings.flows.heartbeat_frequency == 30


def test_what_the_operator_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD", "7200")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4999/api/")
    environment = server_environment(tmp_path)
    assert environment["PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"] == "7200"
    assert environment["PREFECT_SERVER_API_PORT"] == "4999"
    assert address().ui_url == "http://127.0.0.1:4999"


@pytest.mark.parametrize(("given", "fits"), [("", True), ("60", True), ("59", False), ("soon", False)])
def test_limit_of_silence_is_longer_than_a_heartbeat(monkeypatch: pytest.MonkeyPatch, given: str, fits: bool) -> None:
    monkeypatch.setenv("CRPBOT_SILENT_SECONDS", given)
    if fits:
        assert silent_seconds() == int(given or 150)
        return
    with pytest.raises(ConfigError, match="CRPBOT_SILENT_SECONDS must be a number"):
        silent_seconds()


@pytest.mark.parametrize("url", ["127.0.0.1:4200", "ftp://host/api", "http://host:4200", "http://:99999/api"])
def test_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(ConfigError, match="PREFECT_API_URL must be"):
        address()
