"""The host's journal: what is being changed is written down first, so that a kill -9 leaves no half.

journal.json exists exactly while releases are being moved, and whoever moves them holds the folder's lock. A journal whose
lock is free was left by a process that died. deployments.jsonl keeps what every order came to, one line each.

What does not belong here: what is done about a journal that was left (transaction.py).
"""

from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from models_lib.errors import RecordError
from models_lib.files import append_line, fsync_folder, write_text
from models_lib.host.messages import Activation, Outcome, Return

_JOURNAL = "journal.json"
_RECORD = "deployments.jsonl"


class HostJournal:
    """The journal and the record of one host folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _JOURNAL
        self._record = folder / _RECORD

    def write(self, order: Activation | Return) -> None:
        """Writes down what is about to be moved, durably."""
        write_text(self._path, order.model_dump_json(indent=2) + "\n")

    def read(self) -> Activation | Return | None:
        """What was being moved; None when nothing is.

        Raises:
            RecordError: it cannot be read.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        for kind in (Activation, Return):
            try:
                return kind.model_validate_json(content)
            except ValidationError:
                continue
        raise RecordError(
            f"{self._path}: the journal of an unfinished deployment cannot be read, and nothing is moved on this host while "
            f"it is there. Remove the file, then `crpbot deploy` or `crpbot rollback` to the release that current/ shall "
            f"link to."
        )

    def clear(self) -> None:
        """The move is done, or undone."""
        self._path.unlink(missing_ok=True)
        fsync_folder(self._path.parent)

    def record(self, outcome: Outcome) -> None:
        """Keeps what an order came to."""
        append_line(self._record, outcome.model_dump_json().encode())

    def outcome_or_void(self, token: str) -> Outcome | None:
        """As `outcome`; an order that is unknown is recorded without fates, and stays None for whoever asks again.

        Whoever is told None takes it that nothing was moved and nothing will be: an order whose token is in the record must
        not begin. It may still come, when its deployer's link was cut off and not closed.
        """
        outcome = self.outcome(token)
        if outcome is None:
            self.record(Outcome(token=token, at=datetime.now(UTC), who="nobody", fates=(), seconds={}))
            return None
        return outcome if outcome.fates else None

    def outcome(self, token: str) -> Outcome | None:
        """What the order of that token came to; None when it is unknown; without fates when it is void. The latest line counts."""
        try:
            lines = self._record.read_bytes().splitlines()
        except FileNotFoundError:
            return None
        for line in reversed(lines):
            try:
                outcome = Outcome.model_validate_json(line)
            except ValidationError:
                continue  # what a crash left of a line
            if outcome.token == token:
                return outcome
        return None
