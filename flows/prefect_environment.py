"""Prefect's settings for a run in this process: its database under our home, no telemetry, its console kept quiet.

They must be set before `prefect` is imported for the first time, because it reads them then. A value that the operator
set stays: with PREFECT_API_URL a run reports to that server instead of an own one.

What does not belong here: anything about our own configuration, and what only a server or a worker needs
(flows/serving/settings.py).
"""

import os
from pathlib import Path

_OF_A_SERVER_THAT_ENDS_WITH_ITS_RUN = {
    # It shows nothing to anybody: what is only for the UI is not made.
    "PREFECT_SERVER_UI_ENABLED": "false",
    # No automation acts on it, and no block is made there. Its start would load every installed integration to list them.
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
    # It has no CSRF protection: no browser speaks to it. Each client would ask first.
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
}


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


def of_a_run(home: Path, *, own_server: bool) -> dict[str, str]:
    """Prefect's settings of a run in this process, by the names of the environment.

    Args:
        home: the state folder.
        own_server: whether its server ends with it.
    """
    settings = everywhere(home) | {
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        # The default of 20 s is too short for a first start on a busy machine: the database is migrated then.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        # Our own lines and the final verdict are what the person reads; Prefect's go to its API and the UI.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    }
    return settings | (_OF_A_SERVER_THAT_ENDS_WITH_ITS_RUN if own_server else {})


def use_home(home: Path) -> None:
    """Sets what is not set yet."""
    for name, value in of_a_run(home, own_server="PREFECT_API_URL" not in os.environ).items():
        os.environ.setdefault(name, value)
