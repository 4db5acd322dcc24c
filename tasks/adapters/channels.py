"""The channels of this installation: which are configured, and the notifier of each, from configuration and environment.

Secrets come from the environment alone and stay inside the notifiers: CRPBOT_SLACK_WEBHOOK_URL, CRPBOT_SMTP_PASSWORD,
and CRPBOT_APPRISE_URLS, whose addresses hold their passwords.

What does not belong here: what is told, and when it is sent (models_lib.notifications).
"""

import os
from collections.abc import Callable, Mapping
from functools import partial

from models_lib.config import EmailSection, NotificationsSection
from models_lib.errors import ConfigError
from models_lib.notifications import Notifier

SLACK_URL, SMTP_PASSWORD, APPRISE_URLS = "CRPBOT_SLACK_WEBHOOK_URL", "CRPBOT_SMTP_PASSWORD", "CRPBOT_APPRISE_URLS"


def channel_names(section: NotificationsSection) -> tuple[str, ...]:
    """Names of the configured channels; one whose secret is missing counts, and its messages wait for it."""
    return tuple(_openers(section, os.environ))


def open_channels(section: NotificationsSection) -> dict[str, Notifier | ConfigError]:
    """Every configured channel by name: its notifier, or what must be set before it can send."""
    opened: dict[str, Notifier | ConfigError] = {}
    for name, open_channel in _openers(section, os.environ).items():
        try:
            opened[name] = open_channel()
        except ConfigError as error:
            opened[name] = error
    return opened


def _openers(section: NotificationsSection, environment: Mapping[str, str]) -> dict[str, Callable[[], Notifier]]:
    openers: dict[str, Callable[[], Notifier]] = {}
    slack_url = environment.get(SLACK_URL, "").strip()
    if section.slack == "required" or (section.slack == "auto" and slack_url):
        openers["slack"] = partial(_open_slack, slack_url, section.timeout_seconds)
    if section.email is not None:
        openers["email"] = partial(
            _open_email, section.email, environment.get(SMTP_PASSWORD, ""), section.timeout_seconds
        )
    # Each address is a channel of its own, so that one that fails does not make the others send twice.
    for number, address in enumerate(environment.get(APPRISE_URLS, "").split(), start=1):
        openers[f"apprise-{number}"] = partial(_open_apprise, f"apprise-{number}", address, section.timeout_seconds)
    return openers


def _open_slack(url: str, timeout_seconds: float) -> Notifier:
    from tasks.adapters.slack import SlackNotifier  # noqa: PLC0415 - each library is imported where its channel is used

    if not url:
        raise ConfigError(
            f"notifications.slack=required needs {SLACK_URL} in the environment, and it is not set. "
            f"Set it to the address of an incoming webhook, or set notifications.slack=auto."
        )
    return SlackNotifier(url, timeout_seconds=timeout_seconds)


def _open_email(section: EmailSection, password: str, timeout_seconds: float) -> Notifier:
    from tasks.adapters.email import EmailNotifier  # noqa: PLC0415 - as above

    if section.user is not None and not password:
        raise ConfigError(
            f"notifications.email.user is set, but {SMTP_PASSWORD} is not in the environment. "
            f"Set it, or drop the user if the server needs no log-in."
        )
    return EmailNotifier(section, password, timeout_seconds=timeout_seconds)


def _open_apprise(name: str, address: str, timeout_seconds: float) -> Notifier:
    from tasks.adapters.apprise import AppriseNotifier  # noqa: PLC0415 - as above

    return AppriseNotifier(name, address, timeout_seconds=timeout_seconds)
