"""Prefect's settings for a run in this process: its database under our home, no telemetry, its console kept quiet.

They must be set before `prefect` is imported for the first time, because it reads them then. A value that the operator
set stays: with PREFECT_API_URL a run reports to that server instead of an own one.

What does not belong here: anything about our own configuration, and what only a server or a worker needs
(flows/serving/settings.py).
"""

import os
from pathlib import Path


def everywhere(home: Path) -> dict[str, str]:
    """What every process of ours that speaks to Prefect has in common."""
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "models_lib",
        # A run that was silent for longer than a few of these is taken for dead (flows/serving/automations.py).
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_CLI_PROMPT": "false",
    }


def use_home(home: Path) -> None:
    """Sets what is not set yet."""
    defaults = everywhere(home) | {
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        # The default of 20 s is too short for a first start on a busy machine: the database is migrated then.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        # Our own lines and the final verdict are what the person reads; Prefect's go to its API and the UI.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    }
    if "PREFECT_API_URL" not in os.environ:
        # A server that ends with its run shows nothing to anybody: what is only for the UI is not made.
        defaults["PREFECT_SERVER_UI_ENABLED"] = "false"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
