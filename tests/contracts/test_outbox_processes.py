"""The outbox among real processes: two that deliver at once, and one that is killed between sending and noting it."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from models_lib.notifications import Notice, deliver, post
from tasks.adapters.slack import SlackNotifier
from tests.contracts.endpoints import HttpEndpoint, Mood

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
DELIVERS = """
import os, sys
from datetime import datetime
from pathlib import Path
from models_lib.notifications import deliver
from tasks.adapters.slack import SlackNotifier
notifier = SlackNotifier(os.environ["CRPBOT_SLACK_WEBHOOK_URL"], timeout_seconds=60)
print("ready", flush=True)
sys.stdin.readline()
print(deliver(Path(sys.argv[1]), [notifier], datetime.fromisoformat(sys.argv[2]), send_seconds=60).sent, flush=True)
"""


def start(home: Path, endpoint: HttpEndpoint) -> "subprocess.Popen[str]":
    """A process that is ready to deliver."""
    process = subprocess.Popen(
        [sys.executable, "-c", DELIVERS, str(home), NOW.isoformat()],
        cwd=ROOT,
        env={**os.environ, "CRPBOT_SLACK_WEBHOOK_URL": endpoint.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


class Holding(HttpEndpoint):
    """Has the message, and keeps its answer back until `go_on` is set."""

    def __init__(self, mood: Mood = "healthy") -> None:
        super().__init__(mood)
        self.mood = "holding"  # type: ignore[assignment]


def notices(*symbols: str) -> list[Notice]:
    return [Notice(event="held", run_id="r1", symbol=symbol, reason="why", time=NOW) for symbol in symbols]


def test_two_processes_that_deliver_at_once_send_each_message_once(tmp_path: Path) -> None:
    endpoint = Holding()
    post(tmp_path, notices("A", "B", "C"), ["slack"], now=NOW)
    first, second = start(tmp_path, endpoint), start(tmp_path, endpoint)
    try:
        go(first)
        assert endpoint.came.wait(60), "the first is in the middle of its first message"
        go(second)
        endpoint.go_on.set()
        answers = [int(process.communicate(timeout=60)[0]) for process in (first, second)]
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
        endpoint.close()
    assert answers == [3, 0]
    assert [body["text"].split()[0] for body in endpoint.requests] == ["A", "B", "C"]


def test_process_killed_between_sending_and_noting_sends_once_more_under_the_same_id(tmp_path: Path) -> None:
    """At least once: nobody can know whether the message got through. After a pause, and recognisable."""
    endpoint = Holding()
    post(tmp_path, notices("A"), ["slack"], now=NOW)
    process = start(tmp_path, endpoint)
    try:
        go(process)
        assert endpoint.came.wait(60)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        endpoint.mend()
        notifier = SlackNotifier(endpoint.url, timeout_seconds=5)
        assert deliver(tmp_path, [notifier], NOW).sent == 0, "not at once: it could die of this message"
        assert deliver(tmp_path, [notifier], NOW + timedelta(minutes=1)).sent == 1
        assert deliver(tmp_path, [notifier], NOW + timedelta(days=1)).sent == 0
    finally:
        process.kill()
        process.communicate()
        endpoint.close()
    assert len(endpoint.requests) == 2
    assert all(notices("A")[0].short_id in str(body["blocks"]) for body in endpoint.requests)
