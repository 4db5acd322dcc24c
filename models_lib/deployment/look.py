"""What a target is seen to be doing: which releases it runs, what is on hold there, how its runtime reports itself.

What does not belong here: judging it (models_lib.status, models_lib.retention).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models_lib.holds import Hold, held, held_symbols
from models_lib.host.releases import Releases
from models_lib.runtime.health import Health, read_health


@dataclass(frozen=True)
class Look:
    """One look at a target.

    Attributes:
        current: symbol -> hash of the release that is in use there, of all symbols that have one.
        holds: symbol -> its hold there.
        health: what its runtime reported last, however old; None: nothing, or no runtime reports there.
    """

    current: Mapping[str, str]
    holds: Mapping[str, Hold]
    health: Health | None


def look_at_folder(folder: Path) -> Look:
    """A look at a folder of this machine; nothing is written."""
    holds = {symbol: held(folder, symbol) for symbol in held_symbols(folder)}
    return Look(
        current=Releases(folder).all_current(),
        holds={symbol: hold for symbol, hold in holds.items() if hold is not None},
        health=read_health(folder),
    )
