"""Slack's incoming webhook, and the runtime's signals to it. The trading host has this module without any notices.

What does not belong here: how a notice is laid out (slack.py), waiting and trying again.
"""

import http.client
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from slack_sdk.errors import SlackClientError
from slack_sdk.webhook import WebhookClient, WebhookResponse

from models_lib.errors import NotificationError, TransientError
from models_lib.signals.signal import Signal
from tasks.adapters.addresses import check_web_address, connection_failure

HEADER, SECTION, FIELD = 150, 3_000, 2_000
"""Slack's limits, in characters."""

_SILENT = logging.Logger("silent", level=logging.CRITICAL + 1)  # noqa: LOG001 - outside the tree on purpose
"""slack_sdk writes the webhook's address into its log records; this logger drops them."""


class Webhook:
    """An incoming webhook.

    Args:
        url: its address, a secret.
        timeout_seconds: the longest silence of the endpoint.

    Raises:
        ConfigError: no address, or one that is not encrypted.
    """

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        check_web_address(url, variable="CRPBOT_SLACK_WEBHOOK_URL")
        # No retry handlers: they sleep. The time-out is an int by its annotation alone; urllib takes both.
        self._client = WebhookClient(url, timeout=timeout_seconds, logger=_SILENT, retry_handlers=[])  # type: ignore[arg-type]

    def post(self, text: str, laid_out: list[dict[str, Any]]) -> None:
        """Posts blocks with a plain text beside them, once; errors as the protocols of channels say."""
        failure = self._failure(text, laid_out)
        if failure is not None:
            raise failure  # outside of any `except`, so that no context carries the address

    def _failure(self, text: str, laid_out: list[dict[str, Any]]) -> TransientError | NotificationError | None:
        try:
            answer = self._client.send(text=text, blocks=laid_out, unfurl_links=False)
        except (OSError, http.client.HTTPException, ValueError, LookupError, SlackClientError) as error:
            return connection_failure(
                error,
                whom="the webhook's server",
                remedy="Correct the address, or make this machine trust the certificate's authority.",
            )
        return _refusal(answer)


class SlackSignals:
    """Sends the runtime's signals to an incoming webhook.

    Args:
        url: the webhook's address, a secret.
        timeout_seconds: the longest silence of the endpoint.
        text_of: a signal for people; its first line is what a phone shows.

    Raises:
        ConfigError: no address, or one that is not encrypted.
    """

    name = "slack"

    def __init__(self, url: str, *, timeout_seconds: float, text_of: Callable[[Signal], str]) -> None:
        self._webhook = Webhook(url, timeout_seconds=timeout_seconds)
        self._text_of = text_of

    def send(self, signal: Signal) -> None:
        """Posts the text, and in small the number by which one signal that comes twice is known."""
        text = self._text_of(signal)
        small = f"signal {signal.number:,}; seen twice, it is one signal"
        laid_out: list[dict[str, Any]] = [
            {"type": "section", "text": marked(escaped(text, SECTION))},
            {"type": "context", "elements": [marked(small)]},
        ]
        self._webhook.post(escaped(text.partition("\n")[0], HEADER * 5), laid_out)


def escaped(text: str, limit: int) -> str:
    """`text` in which nothing is markup or a mention, with at most `limit` characters, never cut inside an entity."""
    entities = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    told: list[str] = []
    room = limit - 1
    for character in text:
        piece = entities.get(character, character)
        if len(piece) > room:
            return "".join((*told, "…"))
        told.append(piece)
        room -= len(piece)
    return "".join(told)


def marked(text: str) -> dict[str, Any]:
    """A text object of Slack's markup; never empty, because that refuses the whole message."""
    return {"type": "mrkdwn", "text": text, "verbatim": True} if text else {"type": "mrkdwn", "text": " "}


def _refusal(answer: WebhookResponse) -> TransientError | NotificationError | None:
    """None when the endpoint took the message."""
    status = answer.status_code
    if 200 <= status < 300:
        if not answer.body.lstrip().startswith("<"):
            return None
        return NotificationError(
            "the address answers with a web page and takes no message. Check the webhook's address."
        )
    if status in (408, 425, 429) or status >= 500:
        return TransientError(
            f"the endpoint answers with status {status}.", retry_after_seconds=_asked_pause(answer.headers)
        )
    # A page of an unknown server may repeat the address: only Slack's own words are passed on.
    word = f" ({answer.body.strip()})" if re.fullmatch(r"\s*[a-z_]{2,40}\s*", answer.body or "") else ""
    return NotificationError(f"the endpoint refuses with status {status}{word}. Check the webhook, or make a new one.")


def _asked_pause(headers: dict[str, Any]) -> float | None:
    """Seconds of a Retry-After, which is a number or a date; None without a readable one."""
    said = next((str(value) for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if re.fullmatch(r"\d{1,9}", said):
        return float(said)
    try:
        when = parsedate_to_datetime(said)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
