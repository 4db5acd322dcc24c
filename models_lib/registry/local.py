"""The store in a local folder.

    store/bundles/<hash>/               bundles, immutable
    store/verdicts/<hash>/<sha256>.json run.json of every run that judged a bundle, under the hash of its content
    store/incoming/                     copies on their way in; what a crash left there goes at the next put
    promoted/<SYMBOL>.json              pointers
    ledger.jsonl                        the ledger
    registry.lock                       flock; the kernel frees it when its holder dies, however it dies

Bundles go only by `cleaning`, under the lock: the folder gets a name that no reader looks at, and is removed afterwards. So no reader and no crash meets half a bundle under its hash.

What does not belong here: rules about champions (registry.py) and about age (models_lib.retention).
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models_lib.bundle import layout
from models_lib.bundle.facts import RunFacts
from models_lib.bundle.hashes import complete_files, verify_hashes
from models_lib.bundle.layout import SHA256_HEX
from models_lib.errors import BundleError, ConfigError
from models_lib.files import discard, fsync_folder, sha256_bytes, size_of, trash_name, write_bytes
from models_lib.locks import locked
from models_lib.registry.store import Cleaning, StoredLedger, StoredPointer, Taken
from models_lib.registry.verdicts import by_time, read_verdict

LOCK_TIMEOUT_SECONDS = 60.0
"""A lock is held for milliseconds; one that is held for a minute is worth a message."""


class LocalStore:
    """The store in the folder `home`.

    Args:
        home: the state folder; made when something is first written.
        lock_timeout_seconds: how long to wait for another process that writes.
    """

    def __init__(self, home: Path, *, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> None:
        self._home = home.absolute()
        self._lock_timeout_seconds = lock_timeout_seconds
        self._ledger = self._home / "ledger.jsonl"
        self._bundles = self._home / "store" / "bundles"
        self._verdicts = self._home / "store" / "verdicts"
        self._incoming = self._home / "store" / "incoming"

    def put(self, folder: Path) -> str:
        """Keeps a bundle and returns its hash, as the protocol says."""
        from models_lib.bundle.reader import load_bundle  # noqa: PLC0415 - numba and torch only where a model is opened

        bundle = load_bundle(folder)
        files = complete_files(folder)
        with self.writing():
            shutil.rmtree(self._incoming, ignore_errors=True)
            kept = self._bundles / bundle.hash
            if kept.exists():
                _check_kept(kept)
                os.utime(kept)  # its age counts from now, as that of a fresh one would
            else:
                self._admit(files, bundle.hash)
            if bundle.facts is not None:
                self._keep_verdict(bundle.hash, files[layout.RUN_FILE])
        return bundle.hash

    def bundle(self, bundle_hash: str) -> Path:
        """The folder of that bundle."""
        folder = self._bundles / bundle_hash
        if not SHA256_HEX.fullmatch(bundle_hash) or not folder.is_dir():
            raise BundleError(
                f"bundle {bundle_hash[:12]} is not in the store {self._bundles}; `crpbot clean` removes old ones that are "
                f"neither champion nor the one before. Give its folder, or train again."
            )
        return folder

    def renew(self, bundle_hash: str) -> None:
        """Its age counts from now: as its folder's time of change."""
        with self.writing():
            os.utime(self.bundle(bundle_hash))

    def find(self, prefix: str) -> tuple[str, ...]:
        """Hashes that start with `prefix`."""
        return tuple(name for name in _names(self._bundles) if SHA256_HEX.fullmatch(name) and name.startswith(prefix))

    def verdicts(self, bundle_hash: str) -> tuple[RunFacts, ...]:
        """Facts of every run that judged the bundle, the newest last."""
        folder = self._verdicts / bundle_hash
        facts = [
            _read_verdict(folder / name, bundle_hash) for name in _names(folder) if SHA256_HEX.fullmatch(name[:-5])
        ]
        return by_time(facts)

    def pointer(self, symbol: str) -> StoredPointer | None:
        """The pointer, whose version is the SHA-256 of its content."""
        try:
            content = self._pointer_path(symbol).read_bytes()
        except FileNotFoundError:
            return None
        return StoredPointer(content, sha256_bytes(content))

    def replace_pointer(self, symbol: str, content: bytes, *, expected: str | None) -> bool:
        """Compare and set under the lock; the file is replaced by a rename."""
        with self.writing():
            current = self.pointer(symbol)
            if (current.version if current else None) != expected:
                return False
            write_bytes(self._pointer_path(symbol), content)
            return True

    def pointed_symbols(self) -> tuple[str, ...]:
        """Symbols with a file under promoted/."""
        names = _names(self._home / "promoted")
        return tuple(
            name.removesuffix(".json") for name in names if name.endswith(".json") and not name.startswith(".")
        )

    def ledger(self) -> StoredLedger:
        """The lines of ledger.jsonl; a last one without line end is unfinished."""
        try:
            content = self._ledger.read_bytes()
        except FileNotFoundError:
            return StoredLedger(())
        *lines, rest = content.split(b"\n")
        return StoredLedger(tuple(lines), unfinished=bool(rest))

    def append(self, line: bytes, *, index: int) -> bool:
        """Writes the line and its end over whatever a crash left behind the last whole line, then fsyncs."""
        if b"\n" in line:
            raise ValueError("a line of the ledger must not hold a line end")
        with self.writing():
            lines = self.ledger().lines
            if len(lines) != index:
                return False
            whole = sum(len(earlier) + 1 for earlier in lines)
            descriptor = os.open(self._ledger, os.O_WRONLY | os.O_CREAT, 0o644)
            with os.fdopen(descriptor, "wb", buffering=0) as stream:
                stream.truncate(whole)
                stream.seek(whole)
                _write_all(stream.fileno(), line + b"\n")
                os.fsync(stream.fileno())
            fsync_folder(self._home)
            return True

    @contextlib.contextmanager
    def cleaning(self, *, now: datetime, dry_run: bool) -> Iterator[Cleaning]:  # noqa: ARG002 - the lock tells
        """Under the lock; a dry run, which changes nothing, and a home without a store need none."""
        change = not dry_run and self._bundles.parent.is_dir()
        with self.writing() if change else contextlib.nullcontext():
            yield _LocalCleaning(self._home, self._bundles, self._verdicts, self._incoming, dry_run=dry_run)

    def _pointer_path(self, symbol: str) -> Path:
        return self._home / "promoted" / f"{symbol}.json"

    def _keep_verdict(self, bundle_hash: str, content: bytes) -> None:
        path = self._verdicts / bundle_hash / f"{sha256_bytes(content)}.json"
        if not path.exists():
            write_bytes(path, content)

    def _admit(self, files: Mapping[str, bytes], bundle_hash: str) -> None:
        fresh = self._incoming / secrets.token_hex(8)
        for path, content in files.items():
            write_bytes(fresh / path, content)
        verify_hashes(fresh, expected_hash=bundle_hash)
        fsync_folder(fresh)
        self._bundles.mkdir(parents=True, exist_ok=True)
        fresh.rename(self._bundles / bundle_hash)
        fsync_folder(self._bundles)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the lock; what the system refuses becomes an error that names the remedy."""
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            held = f"{self._home}: another process has held registry.lock for {self._lock_timeout_seconds:g} s. "
            with locked(
                self._home / "registry.lock",
                within_seconds=self._lock_timeout_seconds,
                otherwise=f"{held}Try again when it is done.",
            ):
                yield
        except OSError as error:
            raise ConfigError(
                f"{self._home}: the store cannot be written ({error.strerror}); nothing was changed. "
                f"Free space or give this user the right to write there, or point CRPBOT_HOME elsewhere."
            ) from error


@dataclass(frozen=True)
class _Aside:
    """Folders that were given a name that no reader looks at; of a dry run, the folders themselves."""

    name: str
    folders: tuple[Path, ...]

    def size_bytes(self) -> int:
        return sum(map(size_of, self.folders))

    def remove(self) -> Sequence[str]:
        return [fault for fault in map(discard, self.folders) if fault is not None]


class _LocalCleaning:
    """For whoever holds the lock."""

    def __init__(self, home: Path, bundles: Path, verdicts: Path, incoming: Path, *, dry_run: bool) -> None:
        self._home = home
        self._bundles = bundles
        self._verdicts = verdicts
        self._incoming = incoming
        self._dry_run = dry_run

    def halves(self) -> Sequence[Taken]:
        visible = (name for name in _names(self._incoming) if not name.startswith("."))
        return [self._aside(self._incoming / name, (self._incoming / name,)) for name in visible]

    def bundles(self) -> Mapping[str, float]:
        """Those kept, then those with verdicts alone: a crash came between the two when the bundle was set aside."""
        kept, judged = ([name for name in _names(folder) if SHA256_HEX.fullmatch(name)] for folder in self._both)
        alone = [name for name in judged if name not in kept]
        return {name: max(folder.stat().st_mtime for folder in self._folders(name)) for name in (*kept, *alone)}

    def name(self, bundle_hash: str) -> str:
        return (self._bundles / bundle_hash).relative_to(self._home).as_posix()

    def take(self, bundle_hash: str) -> Taken | None:
        return self._aside(self._bundles / bundle_hash, self._folders(bundle_hash))

    @property
    def _both(self) -> tuple[Path, Path]:
        return self._bundles, self._verdicts

    def _folders(self, bundle_hash: str) -> tuple[Path, ...]:
        """What the store keeps under that hash: the bundle, its verdicts, or both."""
        return tuple(folder / bundle_hash for folder in self._both if (folder / bundle_hash).exists())

    def _aside(self, path: Path, folders: tuple[Path, ...]) -> Taken:
        """Under one fresh name, beside where each was."""
        name, fresh = path.relative_to(self._home).as_posix(), trash_name(path).name
        return _Aside(name, folders if self._dry_run else tuple(_renamed(folder, fresh) for folder in folders))


def _renamed(folder: Path, name: str) -> Path:
    aside = folder.rename(folder.with_name(name))
    fsync_folder(aside.parent)
    return aside


def _check_kept(folder: Path) -> None:
    """Refuses to call a damaged copy kept."""
    try:
        verify_hashes(folder)
    except BundleError as error:
        raise BundleError(
            f"the copy in the store is damaged: {error} Move {folder} away, then put the bundle again."
        ) from error


def _read_verdict(path: Path, bundle_hash: str) -> RunFacts:
    return read_verdict(path.read_bytes(), name=str(path), sha256=path.stem, bundle_hash=bundle_hash)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _names(folder: Path) -> list[str]:
    """Names in the folder in order; none when it does not exist."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
