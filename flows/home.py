"""Where this installation keeps its state, and who is asking: the two facts that come from the environment.

What does not belong here: what lies in the home, and secrets.
"""

import getpass
import os
import shutil
import socket
from pathlib import Path

from models_lib.errors import ConfigError

LEAST_FREE_BYTES = 128 * 2**20
"""Prefect's database and one symbol of 50 days fit into it; a run that needs more says so when it comes to that."""


def crpbot_home() -> Path:
    """`CRPBOT_HOME`, or `.crpbot/` in the working directory."""
    return Path(os.environ.get("CRPBOT_HOME") or ".crpbot").absolute()


def prepare_home(home: Path) -> None:
    """Makes sure that the home can be written and has some space left, before anything else is started.

    Raises:
        ConfigError: with the reason and the remedy.
    """
    probe = home / f".write-probe-{os.getpid()}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise ConfigError(
            f"{home}: the state folder cannot be written ({error.strerror}). "
            f"Point CRPBOT_HOME to a folder that this user may write, with space left."
        ) from error
    if free < LEAST_FREE_BYTES:
        raise ConfigError(
            f"{home}: {free / 2**20:.0f} MiB are free (at least {LEAST_FREE_BYTES / 2**20:.0f} are needed to start). "
            f"`crpbot clean` removes what is old; --older-than DAYS goes further. Or point CRPBOT_HOME elsewhere."
        )


def operator() -> str:
    """user@host, for the ledger."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
