"""A deployment that was killed, undone by the runtime itself: nobody else may come for hours.

The runtime serves what it loaded at its start, and is silent about a symbol whose link leads elsewhere. While a deployment
is at work its lock is held, and the restart that follows ends the silence. When nobody holds the lock and the journal is
there, its process is dead: the links go back to what was, where that is what is loaded, or nothing is loaded yet.

Where something else is loaded (the deployment died on its way back, or was a return) only a restart helps. A runtime that
ends itself may have nobody who starts it again, so all stays for the deployer's next command.

What does not belong here: what that command does about it, restart included (transaction.py).
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from models_lib.errors import CrpbotError, TransientError
from models_lib.host.transaction import undo_links
from models_lib.host.work import Host
from models_lib.runtime.health import runtime_lives

if TYPE_CHECKING:
    import pandas as pd

    from models_lib.bundle import Bundle

_log = logging.getLogger(__name__)


def undo_at_start(folder: Path) -> None:
    """As `undo_abandoned`, before anything is loaded; beside a runtime that serves the folder already it does nothing."""
    if not runtime_lives(folder):
        _undo(folder, None)


def undo_abandoned(folder: Path, loaded: Mapping[str, str | None]) -> None:
    """Puts the links back that a killed deployment left; does nothing while one is at work, or when there is none.

    Called by the runtime, which is told of no error: what cannot be undone stays as it is, and is logged.

    Args:
        folder: the host folder.
        loaded: symbol -> hash of the release that the runtime serves.
    """
    _undo(folder, loaded)


def _undo(folder: Path, loaded: Mapping[str, str | None] | None) -> None:
    host = Host(folder, _no_candles, _log.info)
    try:
        if host.journal.read() is None:
            return
        with host.alone(within_seconds=0.0):
            outcome = undo_links(host, loaded)
    except TransientError:
        return  # the deployment is at work
    except (CrpbotError, OSError) as error:
        _log.error("a killed deployment cannot be undone: %s", error)
        return
    if outcome is not None:
        _log.warning("a killed deployment was undone: %s", "; ".join(fate.reason for fate in outcome.fates))


def _no_candles(bundle: "Bundle", minutes: int) -> "pd.DataFrame":
    raise AssertionError(f"nothing is rehearsed here: {bundle.hash}, {minutes}")
