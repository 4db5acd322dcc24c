"""Which release a symbol has in a host folder: the links that a deployment switches.

    current/<SYMBOL>   a link to releases/<SYMBOL>/<hash>: what speaks
    shadow/<SYMBOL>    the same: a candidate that runs beside it and says nothing
    judged/<SYMBOL>/<hash>.json   when that release was last found good; a night that comes to it again renews it

What does not belong here: switching them (models_lib.host), and what is in a release.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from models_lib.config.sections import SYMBOL_PATTERN

Role = Literal["current", "shadow"]


class _Judged(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    judged_at: AwareDatetime


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


def renewed_at(folder: Path, symbol: str, bundle: str) -> datetime | None:
    """When the release was last found good, as the deployment wrote it down; None when it did not, or nobody can read it."""
    try:
        return _Judged.model_validate_json((folder / "judged" / symbol / f"{bundle}.json").read_bytes()).judged_at
    except (OSError, ValidationError):  # then the bundle's own facts count, which are older
        return None
