"""The Slack channel's own: Slack's limits, nothing of a message acts as markup, and what its answers mean."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from models_lib.errors import ConfigError, NotificationError
from models_lib.notifications import Figure, Notice
from models_lib.notifications.sending import send_now
from tasks.adapters.slack import SlackNotifier, blocks, fallback
from tasks.adapters.slack_webhook import SlackSignals, _asked_pause, escaped
from tests.contracts.endpoints import CANARY, HttpEndpoint
from tests.unit.runtime.examples import long_signal

NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)


def notice(**changes: Any) -> Notice:
    return Notice.model_validate(
        {"event": "held", "run_id": "r1", "symbol": "BTC-USD", "reason": "why", "time": NOW} | changes
    )


def texts(part: Any) -> list[dict[str, Any]]:
    """Every text object of some blocks."""
    if isinstance(part, list):
        return [text for child in part for text in texts(child)]
    if isinstance(part, dict):
        own = [part] if part.get("type") in ("mrkdwn", "plain_text") else []
        return own + texts(list(part.values()))
    return []


@pytest.mark.parametrize("character", ["x", "&", "<", "\n", "é", "🙂"])
def test_longest_notice_keeps_within_the_limits(character: str) -> None:
    long = character * 50_000
    figures = tuple(Figure(name="accuracy", value=0.1, limit=0.68, note="n" * 900) for _ in range(60))
    laid = blocks(
        notice(reason=long, figures=figures, symbol="S" * 900, run_id="r" * 900, link="https://ui/" + "l" * 900)
    )
    assert len(laid) <= 50
    for block in laid:
        if block["type"] == "header":
            assert 0 < len(block["text"]["text"]) <= 150
        elif "fields" in block:
            assert len(block["fields"]) <= 10
            assert all(0 < len(field["text"]) <= 2_000 for field in block["fields"])
        elif block["type"] == "section":
            assert 0 < len(block["text"]["text"]) <= 3_000


def test_no_text_is_empty() -> None:
    """Slack refuses the whole message for one empty text."""
    assert all(text["text"].strip() for text in texts(blocks(notice(reason="", symbol=None))))


def test_nothing_in_a_notice_mentions_or_links() -> None:
    evil = "<!channel> <@U1> <https://evil|click> & more"
    message = notice(reason=evil, symbol=evil, stage=evil, link=evil)
    marked = [text["text"] for text in texts(blocks(message)) if text["type"] == "mrkdwn"]
    assert all("<" not in text and "@U1" not in text.replace("&lt;@U1", "") for text in [*marked, fallback(message)])
    assert any("&lt;!channel&gt; &lt;@U1&gt;" in text and "&amp; more" in text for text in marked)


def test_run_is_linked_and_a_path_is_text() -> None:
    assert any(
        text["text"] == "<http://ui/run?a=1&amp;b=%7C2|Read on>"
        for text in texts(blocks(notice(link="http://ui/run?a=1&b=|2")))
    )
    assert any(
        text["text"] == "/home/runs/r1/report.html" for text in texts(blocks(notice(link="/home/runs/r1/report.html")))
    )


@pytest.mark.parametrize("limit", range(2, 14))
def test_cut_never_splits_an_entity(limit: int) -> None:
    told = escaped("a&b<c>d", limit)
    assert len(told) <= limit
    assert told.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").count("&") == 0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("30", 30.0),
        (" 7 ", 7.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(said: str, seconds: float | None) -> None:
    assert _asked_pause({"retry-after": said}) == seconds


def test_no_retry_after_is_no_pause() -> None:
    assert _asked_pause({}) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.slack.com/x",
        "ftp://host/x",
        "http://hooks.slack.com/x",
        "https:///",
        "https://[::1",
        "https://h:99999/",
    ],
)
def test_address_that_is_none_or_not_encrypted_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        SlackNotifier(url and f"{url}{CANARY}", timeout_seconds=1)
    assert "CRPBOT_SLACK_WEBHOOK_URL" in str(raised.value)
    assert CANARY not in str(raised.value)


class Answering(HttpEndpoint):
    """Answers every POST with one status and body."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__("healthy")
        self._answer = status, said

    def answer(self, handler: Any, body: dict[str, Any]) -> None:
        status, said = self._answer
        handler.send_response(status)
        if status in (301, 302, 307):
            handler.send_header("Location", "/login")
        handler.send_header("Content-Length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said.encode())
        self._answer = 200, "<html>log in</html>"


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (404, "no_service", "status 404 (no_service)"),
        (404, f"<p>/hook/{CANARY} not found</p>", "status 404. "),
        (200, "<!doctype html><title>Log in to the network</title>", "web page"),
        (302, "", "web page"),
        (307, "", "status 307"),
    ],
)
def test_answer_that_is_no_yes_is_a_refusal(status: int, said: str, words: str) -> None:
    endpoint = Answering(status, said)
    try:
        failure = send_now(SlackNotifier(endpoint.url, timeout_seconds=2), notice())
    finally:
        endpoint.close()
    assert isinstance(failure, NotificationError)
    assert words in str(failure)
    assert CANARY not in str(failure)


def test_dripping_answer_ends_at_the_hard_limit() -> None:
    """One byte at a time resets every time-out of the socket."""

    class Dripping(HttpEndpoint):
        def answer(self, handler: Any, body: dict[str, Any]) -> None:
            for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1_000:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if self._closed.wait(0.05):
                    return

    endpoint = Dripping("healthy")
    try:
        failure = send_now(SlackNotifier(endpoint.url, timeout_seconds=0.3), notice(), seconds=0.8)
    finally:
        endpoint.close()
    assert "not done after 0.8 s" in str(failure)


def test_body_is_json_with_a_plain_text_beside_the_blocks() -> None:
    endpoint = HttpEndpoint("healthy")
    try:
        SlackNotifier(endpoint.url, timeout_seconds=2).send(notice())
    finally:
        endpoint.close()
    (body,) = endpoint.requests
    assert body["text"] == "BTC-USD held: why"
    assert json.dumps(body["blocks"][0]["text"]) == json.dumps(
        {"type": "plain_text", "text": "BTC-USD held: why", "emoji": False}
    )


def test_a_signal_comes_as_its_text_with_its_number_and_no_markup() -> None:
    endpoint = HttpEndpoint("healthy")
    channel = SlackSignals(
        endpoint.url, timeout_seconds=2, text_of=lambda signal: f"LONG {signal.symbol}\n<!channel> & more"
    )
    try:
        channel.send(long_signal(number=1234))
    finally:
        endpoint.close()
    (body,) = endpoint.requests
    assert body["text"] == "LONG BTC-USD"
    assert [text["text"] for text in texts(body["blocks"])] == [
        "LONG BTC-USD\n&lt;!channel&gt; &amp; more",
        "signal 1,234; seen twice, it is one signal",
    ]


def test_a_webhook_that_refuses_a_signal_is_told_as_the_channels_error_without_its_address() -> None:
    endpoint = HttpEndpoint("forbidding")
    channel = SlackSignals(endpoint.url, timeout_seconds=2, text_of=lambda signal: signal.symbol)
    try:
        with pytest.raises(NotificationError) as caught:
            channel.send(long_signal())
    finally:
        endpoint.close()
    assert CANARY not in str(caught.value)
