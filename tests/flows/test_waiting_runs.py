"""What waits for a person, asked of a server that answers as Prefect's does in the moments that are hard to hit."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest

from flows.waiting_runs import the_one, waiting_runs
from models_lib.errors import CrpbotError, TransientError

RUN = "d8797d68-3801-438f-acb4-4378d64748ba"
FORM = {"properties": {"decision": {}, "symbols": {"items": {"enum": ["BTC-USD"]}}}}


class _Server(BaseHTTPRequestHandler):
    """One suspended run; `form` is the status and the text at its form's address."""

    form: ClassVar[tuple[int, str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        details = {"run_input_keyset": {"schema": "asked-schema"}, "pause_timeout": "2026-11-22T12:00:00+00:00"}
        state = {"type": "PAUSED", "name": "Suspended", "message": None, "state_details": details}
        self._answer(200, json.dumps([{"id": RUN, "name": "train-all-night", "state": state}]))

    def do_GET(self) -> None:
        assert self.path == f"/api/flow_runs/{RUN}/input/asked-schema"
        self._answer(*self.form)

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as answering:
        thread = Thread(target=answering.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{answering.server_port}/api"
        answering.shutdown()
        thread.join()


def test_run_with_a_form_waits(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Server, "form", (200, json.dumps(FORM)), raising=False)
    (run,) = waiting_runs(server)
    assert run.line() == f"train-all-night  {RUN}  BTC-USD  until 2026-11-22T12:00Z"
    assert the_one(server, RUN) == run


def test_run_whose_form_is_not_stored_yet_cannot_be_answered_yet(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect suspends a run first, and stores the run's form a moment later."""
    monkeypatch.setattr(_Server, "form", (404, '{"detail": "Flow run input not found"}'), raising=False)
    assert waiting_runs(server) == []
    with pytest.raises(CrpbotError, match="its question is not at the server yet"):
        the_one(server, RUN)


def test_server_that_fails_is_not_taken_for_one_where_nothing_waits(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Server, "form", (500, "{}"), raising=False)
    with pytest.raises(TransientError, match="HTTP Error 500"):
        waiting_runs(server)
