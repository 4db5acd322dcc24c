"""Which release a symbol has in a host folder: the links that a deployment switches.

    current/<SYMBOL>   a link to releases/<SYMBOL>/<hash>: what speaks
    shadow/<SYMBOL>    the same: a candidate that runs beside it and says nothing

What does not belong here: switching them (models_lib.host), and what is in a release.
"""

import re
from pathlib import Path
from typing import Literal

from models_lib.config.sections import SYMBOL_PATTERN

Role = Literal["current", "shadow"]
_SYMBOL = re.compile(SYMBOL_PATTERN)


def current_release(folder: Path, symbol: str, *, role: Role = "current") -> str | None:
    """The hash in the link's name; None when there is no link."""
    try:
        return (folder / role / symbol).readlink().name
    except OSError:  # not there, or no link: nothing that a deployment has put there
        return None


def release_folder(folder: Path, symbol: str, *, role: Role = "current") -> Path:
    """The bundle that the link leads to, under its own name."""
    return (folder / role / symbol).resolve()


def released_symbols(folder: Path) -> tuple[str, ...]:
    """The symbols with a current release, in order of name."""
    try:
        names = [path.name for path in (folder / "current").iterdir()]
    except OSError:
        return ()
    return tuple(sorted(name for name in names if _SYMBOL.fullmatch(name)))
