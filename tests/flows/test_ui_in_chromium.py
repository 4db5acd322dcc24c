"""A held run as a person meets it: on Prefect's own server, drawn by a real browser; skipped, loudly, without one."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flows.running import ROOT, environment
from tests.markets import LENIENT, QUICK
from tests.ports import free_port

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

_START_SECONDS = 120.0


@dataclass(frozen=True)
class Ui:
    """A server with a finished run."""

    url: str
    browser: str
    profile: Path

    def ask(self, what: str, **wanted: Any) -> list[dict[str, Any]]:
        """The server's answer to a filter."""
        request = urllib.request.Request(
            f"{self.url}/api/{what}/filter",
            data=json.dumps(wanted).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())
            return found

    def drawn(self, page: str) -> str:
        """The page as the browser has it after its scripts ran."""
        switches = (
            "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
            "disable-component-update", "disable-sync", f"user-data-dir={self.profile}", "virtual-time-budget=20000",
            "dump-dom",
        )  # fmt: skip
        command = [self.browser, *(f"--{switch}" for switch in switches), f"{self.url}/{page}"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return answer.stdout


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """Prefect's server, and a run on it that a gate held."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs a browser: install chromium (Debian: apt-get install chromium)")
    folder = tmp_path_factory.mktemp("ui")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    theirs = environment(folder / "home") | {
        "PREFECT_HOME": str(folder / "server"),
        "PREFECT_UI_API_URL": f"{url}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    start = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(start, cwd=folder, env=theirs, stdout=log, stderr=log)
    try:
        wait_until_healthy(url, server)
        run_held(folder / "home", url)
        yield Ui(url, browser, folder / "profile")
    finally:
        server.terminate()
        server.wait(30)


def wait_until_healthy(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{url}/api/health", timeout=5),
        ):
            return
        time.sleep(0.2)  # between two looks
    raise AssertionError(f"no server after {_START_SECONDS} seconds")


def run_held(home: Path, url: str) -> None:
    """One symbol of which an accuracy of 0.99 is asked."""
    settings = ("data.days=14", *QUICK, *LENIENT, "gates.accuracy.severity=blocking", "gates.accuracy.limit=0.99")
    command = [sys.executable, "-m", "flows.cli", "run", "--symbols", "ETH-USD"]
    for setting in settings:
        command += ["--set", setting]
    env = environment(home) | {"PREFECT_API_URL": f"{url}/api"}
    answer = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=200)
    assert answer.returncode == 0, answer.stderr


def test_page_of_the_run_shows_its_name_tags_and_that_it_was_held(ui: Ui) -> None:
    (run,) = (run for run in ui.ask("flow_runs") if run["name"].startswith("train-all-"))
    page = ui.drawn(f"runs/flow-run/{run['id']}")
    assert run["name"] in page
    assert ">Held<" in page
    assert "state--completed" in page, "held is a normal night, and green"
    assert ">retrain<" in page
    assert ">manual<" in page


def test_summary_is_drawn_as_a_table_with_a_link_to_the_symbol_s_run(ui: Ui) -> None:
    (table,) = (item for item in ui.ask("artifacts") if item["key"] == "retrain-summary")
    (child,) = (run for run in ui.ask("flow_runs") if run["name"].startswith("train-ETH-USD-"))
    page = ui.drawn(f"artifacts/artifact/{table['id']}")
    assert ">held<" in page, "Markdown in a cell is drawn"
    assert ">no champion yet<" in page
    assert f'href="{ui.url}/runs/flow-run/{child["id"]}"' in page
    assert "held by accuracy" in page


def test_chart_is_drawn(ui: Ui) -> None:
    (chart,) = (item for item in ui.ask("artifacts") if item["key"] == "reliability-eth-usd")
    page = ui.drawn(f"artifacts/artifact/{chart['id']}")
    assert re.search(r'<img[^>]* src="data:image/svg\+xml;base64,', page)


def test_library_s_lines_stand_at_the_task_that_said_them(ui: Ui) -> None:
    (train,) = (run for run in ui.ask("task_runs") if run["name"].startswith("train-ETH-USD-"))
    lines = ui.ask("logs", logs={"task_run_id": {"any_": [train["id"]]}})
    said = [line["message"] for line in lines if line["name"] == "models_lib.steps.train"]
    assert [line.partition(",")[0] for line in sorted(said)] == ["epoch 1 of at most 2", "epoch 2 of at most 2"]
