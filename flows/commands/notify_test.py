"""`crpbot notify test`: one message through every configured channel, now."""

import argparse
import json
import sys
from datetime import UTC, datetime

from flows.home import operator
from flows.plain_table import table_lines
from models_lib.config import load_config
from models_lib.errors import ConfigError
from models_lib.notifications import Notice
from models_lib.notifications.sending import send_now
from tasks.adapters.channels import APPRISE_URLS, SLACK_URL, open_channels


def execute(arguments: argparse.Namespace) -> int:
    """Prints one line a channel; 1 when one did not take the message."""
    section = load_config(arguments.config, arguments.settings).notifications
    channels = open_channels(section)
    if not channels:
        raise ConfigError(
            f"no channel is configured, so nobody would be told. Set {SLACK_URL} or {APPRISE_URLS} in the environment, "
            f"or host, sender and recipients under notifications.email in the configuration."
        )
    now = datetime.now(UTC)
    notice = Notice(
        event="progress",
        run_id=f"test-{now:%Y%m%dT%H%M%S.%f}Z",
        stage="notify test",
        reason=f"a test message from {operator()}: this channel works",
        time=now,
    )
    # Sent as it is, without the outbox: whoever asks wants to see it now, or the reason why not.
    failures = {
        name: channel if isinstance(channel, ConfigError) else send_now(channel, notice)
        for name, channel in channels.items()
    }
    if arguments.json:
        answers = {name: {"ok": not failure, "error": str(failure or "") or None} for name, failure in failures.items()}
        print(json.dumps({"message": notice.short_id, "channels": answers}, indent=2, sort_keys=True))
    else:
        rows = [(name, "error" if failure else "ok", str(failure or "")) for name, failure in failures.items()]
        print("\n".join(table_lines(("channel", "result", "why"), rows, "<<<")))
    failed = [name for name, failure in failures.items() if failure]
    if failed:
        print(f"crpbot: not everybody would be told: {', '.join(failed)} failed", file=sys.stderr)
    return 1 if failed else 0
