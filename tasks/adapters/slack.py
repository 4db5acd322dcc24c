"""The Slack channel of notices: an incoming webhook, which is a secret address; anything that speaks its form will do.

What does not belong here: waiting and trying again, which the outbox does.
"""

from typing import Any

from models_lib.notifications import Notice
from models_lib.notifications.message import cut
from tasks.adapters.slack_webhook import FIELD, HEADER, SECTION, Webhook, escaped, marked


class SlackNotifier:
    """Sends notices to an incoming webhook.

    Args:
        url: the webhook's address, a secret.
        timeout_seconds: the longest silence of the endpoint.

    Raises:
        ConfigError: no address, or one that is not encrypted.
    """

    name = "slack"

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._webhook = Webhook(url, timeout_seconds=timeout_seconds)

    def send(self, notice: Notice) -> None:
        """Posts blocks with a plain text beside them, as the protocol says."""
        self._webhook.post(fallback(notice), blocks(notice))


def blocks(notice: Notice) -> list[dict[str, Any]]:
    """Header, reason with the numbers that failed, facts, and in small the id."""
    reason = "\n".join((notice.told_reason(), *(f"• {line}" for line in notice.figure_lines()))) or "no reason given"
    parts: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(notice.title(), HEADER), "emoji": False}},
        {"type": "section", "text": marked(escaped(reason, SECTION))},
        {"type": "section", "fields": [marked(f"*{name}*\n{escaped(fact, 500)}") for name, fact in notice.facts()]},
    ]
    if notice.link:
        parts.append({"type": "section", "text": marked(_linked(notice.link))})
    small = f"message {notice.short_id}; seen twice, it is one message"
    return [*parts, {"type": "context", "elements": [marked(small)]}]


def fallback(notice: Notice) -> str:
    """What a phone's notification shows."""
    return escaped(notice.title(), HEADER * 5)


def _linked(link: str) -> str:
    """A web address as a link; a path of a file as text."""
    said = escaped(link, FIELD)
    return f"<{said.replace('|', '%7C')}|Read on>" if link.startswith(("https://", "http://")) else said
