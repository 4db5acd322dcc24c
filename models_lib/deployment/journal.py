"""The journal of switches: what was about to be changed is written down first, so that a kill -9 leaves no half.

`<home>/journal/<SYMBOL>.json` exists exactly while a promotion with its deployment is under way, and its lock is held by
the process that does it. A file whose lock is free belongs to a process that died.

What does not belong here: what is done about it (models_lib.steps.release).
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from models_lib.bundle.parsing import Sha256
from models_lib.config import DeploymentSection
from models_lib.config.sections import SymbolName
from models_lib.errors import RecordError
from models_lib.files import fsync_folder, write_text

_FOLDER = "journal"


class Switch(BaseModel):
    """A change of champion and release that is under way, and the way back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: SymbolName
    run_id: str
    who: str
    started_at: AwareDatetime
    bundle: Sha256
    champion_before: Sha256 | None
    release_before: Sha256 | None
    deployment: DeploymentSection


class Journal:
    """One symbol's entry.

    Args:
        home: the state folder.
        symbol: whose.
    """

    def __init__(self, home: Path, symbol: str) -> None:
        self._path = home / _FOLDER / f"{symbol}.json"
        self._lock_path = home / _FOLDER / f"{symbol}.lock"

    @contextlib.contextmanager
    def held(self, *, wait: bool) -> Iterator[bool]:
        """Holds the symbol's lock during the body; yields whether it could be had, which is certain when waiting."""
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock_path.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def read(self) -> Switch | None:
        """The entry; None when nothing is under way.

        Raises:
            RecordError: it cannot be read.
        """
        try:
            return Switch.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValidationError, OSError) as error:
            raise RecordError(
                f"{self._path}: the journal of an unfinished switch cannot be read. Compare `crpbot history` with what the "
                f"target runs, put right what differs, then remove the file."
            ) from error

    def write(self, switch: Switch) -> None:
        """Writes the entry, durably."""
        write_text(self._path, switch.model_dump_json(indent=2) + "\n")

    def clear(self) -> None:
        """Removes the entry: the switch is done, or undone."""
        self._path.unlink(missing_ok=True)
        fsync_folder(self._path.parent)


def symbols_under_way(home: Path) -> tuple[str, ...]:
    """Symbols with an entry, in order."""
    return tuple(sorted(path.stem for path in (home / _FOLDER).glob("*.json") if not path.name.startswith(".")))
