"""Where an archive lies: one protocol, and the folder on a disk.

<root>/<SYMBOL>/manifest.json names the files <root>/<SYMBOL>/2024-04.<start of its SHA-256>.parquet beside it.

What does not belong here: what the files mean; a bucket (tasks.adapters.s3.archive).
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from models_lib.errors import BusyError, ConfigError
from models_lib.files import sha256_bytes, write_bytes
from models_lib.locks import locked

MANIFEST_FILE: Final = "manifest.json"
LOCK_SECONDS: Final = 10.0
"""How long a writer waits for another one."""


@dataclass(frozen=True)
class Record:
    """A manifest's content as it lies there.

    Attributes:
        content: its bytes.
        tag: names this content when it is to be replaced.
    """

    content: bytes
    tag: str


class ArchivePlace(Protocol):
    """Keeps manifests and month files of many symbols. Safe to use from several threads at once.

    Every method raises TransientError where the place does not answer, ConfigError where it refuses.
    """

    @property
    def name(self) -> str:
        """Where it is, for people."""

    def record(self, symbol: str) -> Record | None:
        """The symbol's manifest; None when there is none."""

    def replace_record(self, symbol: str, content: bytes, *, over: Record | None) -> Record:
        """Writes the manifest, whole or not at all.

        Raises:
            BusyError: another one lies there than `over`: somebody else wrote meanwhile; nothing was changed.
        """

    def month(self, symbol: str, file: str, sha256: str) -> bytes | None:
        """The content of a file; None when it is not there or has not this hash."""

    def keep_month(self, symbol: str, file: str, content: bytes) -> None:
        """Writes a file, whole or not at all; a sound one of this name has this content already."""

    def remove(self, symbol: str, files: Sequence[str]) -> None:
        """Removes files that no manifest names any more; one that is not there counts as removed."""

    def strays(self, symbol: str, *, named: set[str]) -> Sequence[str]:
        """Files that a killed writer left: not `named`, and nobody can be about to name them."""

    def exclusive(self, symbol: str) -> AbstractContextManager[None]:
        """Keeps other writers of this place out, where the place can do that.

        Raises:
            BusyError: another writer is at work.
        """


class LocalPlace:
    """A folder on a disk of this machine; an ArchivePlace.

    Args:
        root: made by the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root: Final = root

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    def record(self, symbol: str) -> Record | None:
        """As ArchivePlace."""
        try:
            content = (self.root / symbol / MANIFEST_FILE).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(error) from error
        return Record(content, sha256_bytes(content))

    def replace_record(self, symbol: str, content: bytes, *, over: Record | None) -> Record:
        """As ArchivePlace; whoever writes holds `exclusive`."""
        if self.record(symbol) != over:
            raise BusyError(f"{symbol} ({self.name}): somebody else wrote to the archive. Fetch again.")
        write_bytes(self.root / symbol / MANIFEST_FILE, content)
        return Record(content, sha256_bytes(content))

    def month(self, symbol: str, file: str, sha256: str) -> bytes | None:
        """As ArchivePlace."""
        try:
            content = (self.root / symbol / file).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(error) from error
        return content if sha256_bytes(content) == sha256 else None

    def keep_month(self, symbol: str, file: str, content: bytes) -> None:
        """As ArchivePlace."""
        write_bytes(self.root / symbol / file, content)

    def remove(self, symbol: str, files: Sequence[str]) -> None:
        """As ArchivePlace."""
        for file in files:
            (self.root / symbol / file).unlink(missing_ok=True)

    def strays(self, symbol: str, *, named: set[str]) -> Sequence[str]:
        """As ArchivePlace; within `exclusive` every file without a name in a manifest is one, and every half-written one."""
        folder = self.root / symbol
        halves = {path.name for path in folder.glob(".*.partial")}
        return sorted(halves | {path.name for path in folder.glob("[!.]*.parquet")} - named)

    @contextlib.contextmanager
    def exclusive(self, symbol: str) -> Iterator[None]:
        """As ArchivePlace."""
        folder = self.root / symbol
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(error) from error
        with locked(folder / ".lock", within_seconds=LOCK_SECONDS, otherwise=busy(symbol, self.name)):
            yield


def busy(symbol: str, where: str) -> str:
    """What a second writer is told."""
    return (
        f"{symbol} ({where}): another process fetches its candles, and did not end within {LOCK_SECONDS:.0f} seconds. Try "
        f"again when it has."
    )


def _refused(error: OSError) -> ConfigError:
    return ConfigError(
        f"{error.filename}: {error.strerror}. Make it readable and writable, or choose another data.path."
    )
