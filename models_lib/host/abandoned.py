"""A deployment that was killed, undone by the runtime itself: nobody else may come for hours.

The runtime serves what it loaded at its start, and is silent about a symbol whose link leads elsewhere. While a deployment
is at work its lock is held, and the restart that follows ends the silence. When nobody holds the lock and the journal is
there, its process is dead: the links go back to what was, which is what is loaded.

What does not belong here: what a deployer's next command does about it, restart included (transaction.py).
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from models_lib.errors import CrpbotError, TransientError
from models_lib.host.transaction import undo_links
from models_lib.host.work import Host

if TYPE_CHECKING:
    import pandas as pd

    from models_lib.bundle import Bundle

_log = logging.getLogger(__name__)


def undo_abandoned(folder: Path) -> None:
    """Puts the links back that a killed deployment left; does nothing while one is at work, or when there is none.

    Called by the runtime, which is told of no error: what cannot be undone stays as it is, and is logged.
    """
    host = Host(folder, _no_candles, _log.info)
    try:
        if host.journal.read() is None:
            return
        with host.alone(within_seconds=0.0):
            outcome = undo_links(host)
    except TransientError:
        return  # the deployment is at work
    except (CrpbotError, OSError) as error:
        _log.error("a killed deployment cannot be undone: %s", error)
        return
    if outcome is not None:
        _log.warning("a killed deployment was undone: %s", "; ".join(fate.reason for fate in outcome.fates))


def _no_candles(bundle: "Bundle", minutes: int) -> "pd.DataFrame":
    raise AssertionError(f"nothing is rehearsed here: {bundle.hash}, {minutes}")
