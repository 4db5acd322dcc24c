"""Where this installation keeps its state, how it is configured, and who is asking: what comes from the environment.

What does not belong here: what lies in the home, and secrets.
"""

import getpass
import os
import shutil
import socket
from pathlib import Path

from models_lib.errors import ConfigError

CONFIG = "CRPBOT_CONFIG"
LEAST_FREE_BYTES = 128 * 2**20
"""Prefect's database and one symbol of 50 days fit into it; a run that needs more says so when it comes to that."""


def crpbot_home() -> Path:
    """`CRPBOT_HOME`, or `.crpbot/` in the working directory."""
    return Path(os.environ.get("CRPBOT_HOME") or ".crpbot").absolute()


def config_file(given: Path | None = None) -> Path | None:
    """The file that was named for this one run or command, else `CRPBOT_CONFIG`; None: the built-in defaults."""
    lasting = os.environ.get(CONFIG)
    return given or (Path(lasting).absolute() if lasting else None)


def make_home(home: Path) -> None:
    """Makes the state folder; on a full disk too, where the server must come back and people must be told.

    Raises:
        ConfigError: with the reason and the remedy.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(home, error) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise _not_writable(home, None)


def prepare_home(home: Path) -> None:
    """Makes the state folder and sees that a run has space in it, before anything else is started.

    Raises:
        ConfigError: with the reason and the remedy.
    """
    make_home(home)
    probe = home / f".write-probe-{os.getpid()}"
    try:
        probe.write_bytes(b"")
        probe.unlink()
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise _not_writable(home, error) from error
    if free < LEAST_FREE_BYTES:
        raise ConfigError(
            f"{home}: {free / 2**20:.0f} MiB are free (at least {LEAST_FREE_BYTES / 2**20:.0f} are needed to start). "
            f"`crpbot clean` removes what is old; --older-than DAYS goes further. Or point CRPBOT_HOME elsewhere."
        )


def _not_writable(home: Path, error: OSError | None) -> ConfigError:
    return ConfigError(
        f"{home}: the state folder cannot be written ({error.strerror if error else 'permission denied'}). "
        f"Point CRPBOT_HOME to a folder that this user may write, with space left."
    )


def operator() -> str:
    """user@host, for the ledger."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
