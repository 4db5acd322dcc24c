"""Holds: a symbol that shall say nothing and get no new champion until a person releases it.

    holds/<SYMBOL>.json   the hold: since when, by whom, why. It is there, or the symbol is not on hold
    holds.jsonl           every hold and every release, appended, with time and who

A hold is placed by a person or by the system itself (`placed_by` is then `crpbot`), and only a person's release ends it.
The record is a file of its own: the ledger tells who is champion, its chain is what promotions compare and set against,
and a hold must work at once, also while the ledger is damaged or busy.

A hold that cannot be read is a hold: what is unclear keeps the symbol silent.

What does not belong here: obeying a hold (promotion, deployment, runtime) and which symbols there are.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from models_lib.config.sections import SYMBOL_PATTERN, SymbolName
from models_lib.errors import ConfigError
from models_lib.files import append_line, canonical_json, fsync_folder, write_json

BY_THE_SYSTEM = "crpbot"
"""Who placed a hold that no person placed."""
_LONGEST_REASON = 500
_SYMBOL = re.compile(SYMBOL_PATTERN)


class Hold(BaseModel):
    """A symbol on hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: SymbolName
    since: AwareDatetime
    placed_by: str
    """user@host, or `crpbot`."""
    reason: Annotated[str, Field(min_length=1, max_length=_LONGEST_REASON)]

    def sentence(self) -> str:
        """Since when, by whom and why, to follow the symbol's name."""
        return f"on hold since {self.since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} by {self.placed_by}: {self.reason}"


@dataclass(frozen=True)
class HoldChange:
    """What became of placing or releasing a hold.

    Attributes:
        hold: the symbol's hold now; None when it is not on hold.
        changed: False when there was nothing to do and nothing was written.
        message: one sentence.
    """

    hold: Hold | None
    changed: bool
    message: str


def held(home: Path, symbol: str) -> Hold | None:
    """The symbol's hold; None when it is not on hold. One that is damaged holds like any other, and says so."""
    path = _path(home, symbol)
    try:
        hold = Hold.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        return _unreadable(symbol, path)
    return hold if hold.symbol == symbol else _unreadable(symbol, path)


def held_symbols(home: Path) -> tuple[str, ...]:
    """The symbols that are on hold, in order of name."""
    names = (path.stem for path in (home / "holds").glob("*.json"))
    return tuple(sorted(name for name in names if _SYMBOL.fullmatch(name)))


def place_hold(home: Path, symbol: str, *, placed_by: str, reason: str, now: datetime) -> HoldChange:
    """Puts the symbol on hold. Doing it twice is doing it once: an earlier hold stays, with its own reason.

    Args:
        home: the state folder.
        symbol: a known one.
        placed_by: user@host, or `BY_THE_SYSTEM`.
        reason: one sentence for whoever finds the symbol silent.
        now: aware.

    Raises:
        ConfigError: no reason was given, or one that is too long.
    """
    earlier = held(home, symbol)
    if earlier is not None:
        return HoldChange(earlier, False, f"{symbol}: already {earlier.sentence()}")
    try:
        hold = Hold(symbol=symbol, since=now, placed_by=placed_by, reason=" ".join(reason.split()))
    except ValidationError as error:
        raise ConfigError(
            f"{symbol}: the reason of a hold must be 1 to {_LONGEST_REASON} characters of text, was {reason[:40]!r}. "
            f"Say in a sentence why it shall be silent."
        ) from error
    # The hold first: it shall work at once, and it carries its own facts. The release records it again.
    write_json(_path(home, symbol), hold.model_dump(mode="json"))
    _record(home, "hold", now, placed_by, hold)
    return HoldChange(hold, True, f"{symbol}: {hold.sentence()}")


def release_hold(home: Path, symbol: str, *, who: str, now: datetime) -> HoldChange:
    """Ends the symbol's hold, whoever placed it. Doing it twice is doing it once."""
    hold = held(home, symbol)
    if hold is None:
        return HoldChange(None, False, f"{symbol}: was not on hold")
    _record(home, "release", now, who, hold)
    path = _path(home, symbol)
    path.unlink(missing_ok=True)
    fsync_folder(path.parent)
    return HoldChange(None, True, f"{symbol}: released; it was {hold.sentence()}")


def _path(home: Path, symbol: str) -> Path:
    return home / "holds" / f"{symbol}.json"


def _unreadable(symbol: str, path: Path) -> Hold:
    since = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
    reason = f"holds/{path.name} is damaged, and what cannot be read counts as a hold"
    return Hold(symbol=symbol, since=since, placed_by="unknown", reason=reason)


def _record(home: Path, action: str, now: datetime, who: str, hold: Hold) -> None:
    line: Mapping[str, Any] = {
        "time": now.isoformat(),
        "action": action,
        "who": who,
        "hold": hold.model_dump(mode="json"),
    }
    append_line(home / "holds.jsonl", canonical_json(line))
