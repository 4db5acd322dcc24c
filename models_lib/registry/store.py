"""What the registry needs from the place where bundles, pointers and the ledger are kept.

Two implementations must not be told apart by the registry, so the protocol asks only for what a plain folder and an
object store both have: immutable objects named by their content, one small object that is replaced if it is still the
one that was read (If-Match), and objects that are created if nobody was first (If-None-Match). No locks, no listings in
the order of time, no appending.

What does not belong here: any rule about who may become champion (registry.py), or about age (models_lib.retention).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from models_lib.bundle.facts import RunFacts


@dataclass(frozen=True)
class StoredPointer:
    """A pointer as read.

    Attributes:
        content: its bytes.
        version: opaque; another content has another version (an ETag, a hash).
    """

    content: bytes
    version: str


@dataclass(frozen=True)
class StoredLedger:
    """The ledger as read.

    Attributes:
        lines: the whole lines in order, without line ends.
        unfinished: there is a last line that a crash cut off; it was never done.
    """

    lines: tuple[bytes, ...]
    unfinished: bool = False


class Taken(Protocol):
    """What a cleaning took out of a store, or would take: readers do not find it any more, but it is still there."""

    @property
    def name(self) -> str:
        """Where it lay, for people."""

    def size_bytes(self) -> int:
        """What its removal frees."""

    def remove(self) -> Sequence[str]:
        """Removes it for good; what could not be removed, and why."""


class Cleaning(Protocol):
    """A store while it is cleaned. What is put, renewed or judged after `bundles` was asked is not taken."""

    def halves(self) -> Sequence[Taken]:
        """What killed puts and killed cleanings left behind."""

    def bundles(self) -> Mapping[str, float]:
        """Hash -> when the bundle was put, renewed or judged last, in seconds since 1970."""

    def name(self, bundle_hash: str) -> str:
        """Where the bundle lies, for people."""

    def take(self, bundle_hash: str) -> Taken | None:
        """Takes the bundle and its verdicts out; None when somebody used it meanwhile.

        A dry run only tells what it would take.

        Raises:
            TransientError: the store does not answer.
        """


class Store(Protocol):
    """A place for bundles, verdicts, pointers and the ledger."""

    def put(self, folder: Path) -> str:
        """Keeps a bundle and returns its hash.

        Start: a candidate folder. Steps: every check of `load_bundle`; the files under their hash, whole or not at all,
        written only if they are not there; then the run's facts, if there are any, as a verdict on that hash.
        End: the bundle and the verdict are kept. Doing it twice is doing it once; a second run of the same training
        adds its verdict and leaves the bundle.

        Raises:
            ConfigError: no such folder, or the store cannot be written.
            BundleError: the candidate is refused, or what is kept under its hash is damaged.
        """

    def bundle(self, bundle_hash: str) -> Path:
        """A local folder with that bundle, named by its hash; nothing is verified.

        Raises:
            BundleError: no such bundle is kept.
        """

    def renew(self, bundle_hash: str) -> None:
        """Counts that bundle's age from now: whoever is about to promote it does not want it cleaned away.

        Raises:
            BundleError: no such bundle is kept.
            ConfigError: the store cannot be written.
            TransientError: it is busy.
        """

    def find(self, prefix: str) -> tuple[str, ...]:
        """Hashes of the kept bundles that start with `prefix`, in order."""

    def verdicts(self, bundle_hash: str) -> tuple[RunFacts, ...]:
        """The facts of every run that judged that bundle, by time of judgement, the newest last.

        Raises:
            BundleError: a verdict is damaged, or about another bundle.
        """

    def pointer(self, symbol: str) -> StoredPointer | None:
        """The symbol's pointer; None when there is none."""

    def replace_pointer(self, symbol: str, content: bytes, *, expected: str | None) -> bool:
        """Replaces the pointer if its version is still `expected` (None: if there is none); False when it is not.

        Raises:
            ConfigError: the store cannot be written.
            TransientError: it is busy.
        """

    def pointed_symbols(self) -> tuple[str, ...]:
        """Symbols that have a pointer, in order of name."""

    def ledger(self) -> StoredLedger:
        """All lines of the ledger."""

    def append(self, line: bytes, *, index: int) -> bool:
        """Makes `line` the ledger's line number `index` (from 0), durably; False when that line exists already.

        Raises:
            ConfigError: the store cannot be written.
            TransientError: it is busy.
        """

    def cleaning(self, *, now: datetime, dry_run: bool) -> AbstractContextManager[Cleaning]:
        """The store while its owner removes what nothing needs (models_lib.retention).

        Args:
            now: aware; by it a store without a lock tells what a killed put left from what a put is about to finish.
            dry_run: changes nothing.

        Raises:
            ConfigError: the store cannot be written.
            TransientError: it is busy.
        """
