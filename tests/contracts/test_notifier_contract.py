"""What every channel must do, against real endpoints on loopback; and that the outbox carries a message over any fault."""

import logging
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models_lib.errors import CrpbotError, NotificationError, TransientError
from models_lib.notifications import Figure, Notice, deliver, post
from tests.contracts.endpoints import (
    CHANNELS,
    MOODS,
    RETRY_AFTER_SECONDS,
    SECRETS,
    Authority,
    Channel,
    Mood,
    opened,
    trust,
)

NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
NOTICE = Notice(
    event="held",
    run_id="20261121T020000Z-abc123",
    symbol="BTC-USD",
    stage="judge",
    reason="by calibration_error & <!channel>: no edge after costs measured",
    figures=(Figure(name="calibration_error", value=0.081, limit=0.05),),
    link="http://127.0.0.1:4200/runs/flow-run/1",
    time=NOW,
)

# Apprise imports it for the pictures of one of its plug-ins.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")


@pytest.fixture(params=CHANNELS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=MOODS)
def mood(request: pytest.FixtureRequest) -> Mood:
    chosen: Mood = request.param
    return chosen


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def channel(kind: str, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    trust(authority, monkeypatch)
    with opened(kind, "healthy", authority) as channel:
        yield channel


@pytest.fixture
def faulty(kind: str, mood: Mood, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    if mood != "untrusted":
        trust(authority, monkeypatch)
    with opened(kind, mood, authority) as channel:
        yield channel


def ours(records: list[logging.LogRecord]) -> str:
    """What the clients logged; the servers of the tests may say what they like."""
    return "\n".join(f"{r.getMessage()}{r.exc_text or ''}" for r in records if r.name != "mail.log")


def has_secret(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def test_notice_arrives_with_all_that_people_ask_for(channel: Channel, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    channel.notifier().send(NOTICE)
    (text,) = channel.arrived()
    wanted = ("BTC-USD", "held", "judge", "calibration_error: 0.081 (limit 0.05)", "no edge after costs measured")
    for said in (*wanted, NOTICE.run_id, NOTICE.link, NOTICE.short_id, "2026-11-21 02:30 UTC"):
        assert said is not None
        assert said in text
    assert has_secret(ours(caplog.records)) == []
    assert has_secret(repr(channel.notifier())) == []


def test_fault_is_one_of_two_errors_in_time_and_without_secrets(
    faulty: Channel, mood: Mood, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    began = time.monotonic()
    with pytest.raises(CrpbotError) as raised:
        faulty.notifier().send(NOTICE)
    assert time.monotonic() - began < 10
    error = raised.value
    assert type(error) is (NotificationError if mood in faulty.refusals else TransientError)
    assert faulty.arrived() == []
    told = "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error.args)
    assert has_secret(told + ours(caplog.records)) == []
    assert error.__cause__ is None
    assert error.__context__ is None


def test_pause_that_the_endpoint_asks_for_is_handed_on(authority: Authority) -> None:
    with opened("slack", "busy", authority) as channel, pytest.raises(TransientError) as raised:
        channel.notifier().send(NOTICE)
    assert raised.value.retry_after_seconds == RETRY_AFTER_SECONDS


def test_message_outlives_the_fault_and_arrives_once(
    faulty: Channel,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    name = faulty.notifier().name
    post(tmp_path, [NOTICE], [name], now=NOW)
    report = deliver(tmp_path, [faulty.notifier()], NOW)
    assert (report.sent, report.waiting, len(report.failures)) == (0, 1, 1)
    kept = "".join(path.read_text() for path in (tmp_path / "outbox").rglob("*") if path.is_file())
    assert has_secret(kept + repr(report) + ours(caplog.records)) == []

    faulty.endpoint.mend()
    trust(authority, monkeypatch)
    assert deliver(tmp_path, [faulty.notifier()], NOW + timedelta(seconds=1)).sent == 0, "it pauses first"
    later = NOW + timedelta(hours=7)
    assert deliver(tmp_path, [faulty.notifier()], later).sent == 1
    post(tmp_path, [NOTICE], [name], now=later)
    assert deliver(tmp_path, [faulty.notifier()], later + timedelta(days=1)).sent == 0
    (text,) = faulty.arrived()
    assert NOTICE.short_id in text
