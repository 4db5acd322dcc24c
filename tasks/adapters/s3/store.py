"""The store in S3: everything that `models_lib.registry.store` asks for, by conditional writes and nothing else.

    kept/<hash>.json                     marker of a bundle: the folder that holds its files, and their SHA-256
    bundles/<hash>/<folder>/<path>       its files, as one put wrote them
    verdicts/<hash>/<sha256>.json        run.json of every run that judged a bundle, under the hash of its content
    promoted/<SYMBOL>.json               pointers, replaced by If-Match, created by If-None-Match
    ledger/<index>.json                  one line of the ledger each, created by If-None-Match

A bundle is there when its marker is: it is written last, by If-None-Match. Each put writes into a folder of its own, so no
two ever write the same object; of two at once, the one whose marker comes first has put the bundle. What a killed put
left is invisible, and a day later a cleaning removes it. A renewal rewrites the marker by If-Match with another token in
it: S3's time of the marker is the bundle's age, and a cleaning that looked before the renewal cannot remove the marker,
which it does by If-Match, before anything else of the bundle.

The ledger is the lines that are there, in order of index. A line is written only behind one that is there, so no crash
leaves a gap; if one is removed, the lines behind it do not continue the chain, and that is damage (ledger.py). A thousand
lines are one request: lines never change, so a home keeps copies of them (copies.py). The alternative, segments of many
lines, would have two writers compete for one object and would need a rule for closing it.

A bundle is used from a copy in the home, `cache/bundles/<hash>`. Each use compares the copy with the marker's hashes, and
the marker with a listing of the objects; a damaged copy is fetched again, and damage in S3 is refused.

Before this process writes anything, it makes sure that the endpoint holds to conditions on writes.

What does not belong here: how an object is written and read (objects.py), rules about champions (models_lib.registry).
"""

import contextlib
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from models_lib.bundle import layout
from models_lib.bundle.facts import RunFacts
from models_lib.bundle.hashes import complete_files, verify_hashes
from models_lib.bundle.layout import SHA256_HEX
from models_lib.bundle.parsing import Sha256, parse_part
from models_lib.errors import BundleError, ConfigError, CrpbotError, DataError, RecordError, TransientError
from models_lib.files import canonical_json, discard, fresh_folder, fsync_tree, sha256_bytes, trash_name, write_bytes
from models_lib.locks import locked
from models_lib.registry.store import Cleaning, StoredLedger, StoredPointer, Taken
from models_lib.registry.verdicts import by_time, read_verdict
from tasks.adapters.s3.copies import Copies
from tasks.adapters.s3.objects import ObjectHead, S3Folder

LOCK_TIMEOUT_SECONDS: Final = 60.0
"""Two processes that put a copy in its place need milliseconds."""
LEFTOVER: Final = timedelta(days=1)
"""A put takes seconds; objects without a marker that are older have no writer any more."""
_ATTEMPTS: Final = 100
"""Each lost race is somebody else's success; so many in a row are not expected."""
_INDEX_DIGITS: Final = 8


class _File(BaseModel):
    """One file of a bundle, as its put wrote it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    sha256: Sha256
    etag: str
    """What S3 named it. Another one, as after a restore from a backup, means that the content must be looked at."""


class _Marker(BaseModel):
    """What makes a bundle's objects a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    bundle: Sha256
    folder: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    files: dict[str, _File]
    renewed: str
    """Drawn at each renewal, so that its content, and with it its ETag, is another one."""

    def to_bytes(self) -> bytes:
        return canonical_json(self.model_dump(mode="json")) + b"\n"

    def again(self) -> "_Marker":
        """The same with a new age."""
        return self.model_copy(update={"renewed": _token()})

    def place(self) -> str:
        """How the keys of its files begin."""
        return f"bundles/{self.bundle}/{self.folder}/"


@dataclass(frozen=True)
class _Found:
    """A marker as read, and the ETag by which it is replaced or removed."""

    marker: _Marker
    etag: str


class S3Store:
    """The store below one S3 address.

    Args:
        folder: the address.
        home: the state folder, for copies.
    """

    def __init__(self, folder: S3Folder, home: Path) -> None:
        self._folder = folder
        self._cache = home.absolute() / "cache"
        self._copies = self._cache / "s3" / sha256_bytes(folder.uri.encode())[:16]

    def check_conditions(self) -> None:
        """Makes sure, once a process, that the bucket is there, may be written, and has one winner of two writers.

        Raises:
            ConfigError: it is not, or it has not.
            TransientError: S3 does not answer.
        """
        self._folder.refuse_unconditional()

    def put(self, folder: Path) -> str:
        """Keeps a bundle and returns its hash, as the protocol says."""
        from models_lib.bundle.reader import load_bundle  # noqa: PLC0415 - numba and torch only where a model is opened

        bundle = load_bundle(folder)
        files = complete_files(folder)
        self.check_conditions()
        for _ in range(_ATTEMPTS):
            found = self._find(bundle.hash)
            if found is not None:
                self._check_kept(found.marker)
            done = self._admit(files, bundle.hash) if found is None else self._renew(found)
            if done:
                break
        else:
            raise self._busy(bundle.hash)
        if bundle.facts is not None:
            content = files[layout.RUN_FILE]
            self._folder.put(f"verdicts/{bundle.hash}/{sha256_bytes(content)}.json", content, if_absent=True)
        return bundle.hash

    def bundle(self, bundle_hash: str) -> Path:
        """The copy of that bundle in the home, fetched where there is none or a damaged one."""
        marker = self._existing(bundle_hash).marker
        copy = self._cache / "bundles" / bundle_hash
        with contextlib.suppress(OSError):
            os.utime(copy)  # first, so that no cleaning takes it for unused; what it took before is fetched again
        if not (self._is_as_put(marker) and _is_copy_of(copy, marker)):
            self._fetch(marker, copy)
        return copy

    def renew(self, bundle_hash: str) -> None:
        """Its age counts from now: as S3's time of its marker."""
        self.check_conditions()
        for _ in range(_ATTEMPTS):
            if self._renew(self._existing(bundle_hash)):
                return
        raise self._busy(bundle_hash)

    def find(self, prefix: str) -> tuple[str, ...]:
        """Hashes that start with `prefix`."""
        names = (name.removeprefix("kept/").removesuffix(".json") for name in self._folder.names(f"kept/{prefix}"))
        return tuple(name for name in names if SHA256_HEX.fullmatch(name))

    def verdicts(self, bundle_hash: str) -> tuple[RunFacts, ...]:
        """Facts of every run that judged the bundle, the newest last."""
        place = f"verdicts/{bundle_hash}/"
        copies = Copies(self._folder, place, self._copies.with_name(f"{self._copies.name}-{bundle_hash}"))
        return by_time(
            read_verdict(content, name=f"{self._folder.uri}/{key}", sha256=Path(key).stem, bundle_hash=bundle_hash)
            for key, content in copies.read().items()
        )

    def pointer(self, symbol: str) -> StoredPointer | None:
        """The pointer, whose version is its ETag."""
        try:
            found = self._folder.get(_pointer_key(symbol))
        except DataError as error:
            raise RecordError(f"the pointer of {symbol} is damaged: {error}") from error
        return None if found is None else StoredPointer(found.content, found.etag)

    def replace_pointer(self, symbol: str, content: bytes, *, expected: str | None) -> bool:
        """By If-Match, or If-None-Match where there was none."""
        self.check_conditions()
        key = _pointer_key(symbol)
        return self._folder.put(key, content, if_absent=expected is None, if_match=expected) is not None

    def pointed_symbols(self) -> tuple[str, ...]:
        """Symbols with an object under promoted/."""
        return tuple(key.removeprefix("promoted/").removesuffix(".json") for key in self._folder.names("promoted/"))

    def ledger(self) -> StoredLedger:
        """The lines in order; each is whole or not there, so none is ever unfinished."""
        lines = Copies(self._folder, "ledger/", self._copies.with_name(f"{self._copies.name}-ledger")).read()
        return StoredLedger(tuple(content for key, content in lines.items() if _LINE.fullmatch(key)))

    def append(self, line: bytes, *, index: int) -> bool:
        """By If-None-Match, behind a line that is there."""
        if b"\n" in line:
            raise ValueError("a line of the ledger must not hold a line end")
        self.check_conditions()
        if index > 0 and self._folder.head(_line_key(index - 1)) is None:
            return False
        return self._folder.put(_line_key(index), line, if_absent=True) is not None

    @contextlib.contextmanager
    def cleaning(self, *, now: datetime, dry_run: bool) -> Iterator[Cleaning]:
        """Without a lock: what somebody used meanwhile has another ETag and is not removed."""
        if not dry_run:
            self._check_conditional_deletes()
        yield _S3Cleaning(self._folder, self._find, oldest=now - LEFTOVER, dry_run=dry_run)

    def _check_conditional_deletes(self) -> None:
        self.check_conditions()
        key = f".probe-{_token()}"
        self._folder.put(key, b"probe")
        if self._folder.delete(key, if_match=f'"{"0" * 32}"'):
            raise ConfigError(
                f"{self._folder.uri}: this endpoint removes objects without regard to If-Match, so a cleaning could remove "
                f"a bundle that is being promoted. Clean with AWS S3, or a server that answers 412."
            )
        self._folder.delete(key)

    def _find(self, bundle_hash: str) -> _Found | None:
        """The marker, if the bundle is kept."""
        try:
            found = self._folder.get(f"kept/{bundle_hash}.json")
        except DataError as error:
            raise BundleError(str(error)) from error
        if found is None:
            return None
        name = f"{self._folder.uri}/kept/{bundle_hash}.json"
        marker = parse_part(_Marker, found.content, name=name)
        if marker.bundle != bundle_hash or not all(map(_is_bundle_file, marker.files)):
            raise BundleError(
                f"{name} names another bundle, or files that no bundle holds. Remove it, then put it again."
            )
        return _Found(marker, found.etag)

    def _existing(self, bundle_hash: str) -> _Found:
        found = self._find(bundle_hash) if SHA256_HEX.fullmatch(bundle_hash) else None
        if found is None:
            raise BundleError(
                f"bundle {bundle_hash[:12]} is not in the store {self._folder.uri}; `crpbot clean` removes old ones that "
                f"are neither champion nor the one before. Give its folder, or train again."
            )
        return found

    def _renew(self, found: _Found) -> bool:
        marker = found.marker.again()
        return self._folder.put(f"kept/{marker.bundle}.json", marker.to_bytes(), if_match=found.etag) is not None

    def _admit(self, files: Mapping[str, bytes], bundle_hash: str) -> bool:
        """Writes files and marker; False when another put was first, whose files count."""
        marker = _Marker(bundle=bundle_hash, folder=_token(), files={}, renewed=_token())
        kept: dict[str, _File] = {}
        for path, content in files.items():
            etag = self._folder.put(marker.place() + path, content)
            assert etag is not None, "nobody knows this folder"
            kept[path] = _File(sha256=sha256_bytes(content), etag=etag)
        whole = marker.model_copy(update={"files": kept})
        if self._folder.put(f"kept/{bundle_hash}.json", whole.to_bytes(), if_absent=True) is not None:
            return True
        for path in files:
            self._folder.delete(marker.place() + path)
        return False

    def _check_kept(self, marker: _Marker) -> None:
        """Refuses to call damaged objects kept."""
        if self._is_as_put(marker):
            return
        copy = self._cache / "bundles" / marker.bundle
        with self._writing(), fresh_folder(copy) as fresh:
            self._download(marker, fresh)

    def _is_as_put(self, marker: _Marker) -> bool:
        """Whether a listing shows each file as its put wrote it, and no other."""
        place = marker.place()
        found = {head.key.removeprefix(place): head.etag for head in self._folder.heads(place)}
        return found == {path: file.etag for path, file in marker.files.items()}

    def _fetch(self, marker: _Marker, copy: Path) -> None:
        with self._writing(), fresh_folder(copy) as fresh:
            self._download(marker, fresh)
            fsync_tree(fresh)
            held = f"{self._cache}: another process has held bundles.lock for {LOCK_TIMEOUT_SECONDS:g} s. Try again."
            with locked(self._cache / "bundles.lock", within_seconds=LOCK_TIMEOUT_SECONDS, otherwise=held):
                if _is_copy_of(copy, marker):
                    return  # another process was first
                if copy.exists():
                    discard(copy.rename(trash_name(copy)))
                fresh.rename(copy)

    def _download(self, marker: _Marker, fresh: Path) -> None:
        """The bundle's files, found to be that bundle.

        Raises:
            BundleError: what lies in S3 is damaged.
        """
        for path, file in marker.files.items():
            content = self._content(marker.place() + path)
            if content is None or sha256_bytes(content) != file.sha256:
                raise self._damaged(
                    marker, f"{path} {'missing' if content is None else 'changed since the bundle was written'}"
                )
            write_bytes(fresh / path, content)
        try:
            verify_hashes(fresh, expected_hash=marker.bundle)
        except (BundleError, ConfigError) as error:
            raise self._damaged(marker, str(error).removeprefix(f"{fresh}: ").partition(". ")[0]) from error

    def _content(self, key: str) -> bytes | None:
        """Of an object; empty where it is not what was stored."""
        try:
            found = self._folder.get(key)
        except DataError:
            return b""
        return None if found is None else found.content

    def _damaged(self, marker: _Marker, fact: str) -> BundleError:
        return BundleError(
            f"{self._folder.uri}/{marker.place()}: the bundle in the store is damaged: {fact}. Restore its objects from a "
            f"backup, or remove kept/{marker.bundle}.json there and put the bundle again."
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """What the system refuses becomes an error that names the remedy."""
        try:
            (self._cache / "bundles").mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise ConfigError(
                f"{self._cache}: copies of bundles cannot be written ({error.strerror}). Free space or give this user the "
                f"right to write there, or point CRPBOT_HOME elsewhere."
            ) from error

    def _busy(self, bundle_hash: str) -> TransientError:
        return TransientError(
            f"{self._folder.uri}: {_ATTEMPTS} others changed bundle {bundle_hash[:12]} first. Try again."
        )


@dataclass(frozen=True)
class _Objects:
    """Objects that nobody finds by a marker any more."""

    folder: S3Folder
    name: str
    heads: tuple[ObjectHead, ...]

    def size_bytes(self) -> int:
        return sum(head.size_bytes for head in self.heads)

    def remove(self) -> Sequence[str]:
        try:
            for head in self.heads:
                self.folder.delete(head.key)
        except CrpbotError as error:
            return [f"{self.name}: {error} The next cleaning removes what is left."]
        return []


class _S3Cleaning:
    """One cleaning: what it saw when it looked is the condition of what it removes."""

    def __init__(
        self, folder: S3Folder, find: Callable[[str], _Found | None], *, oldest: datetime, dry_run: bool
    ) -> None:
        self._folder = folder
        self._find = find
        self._oldest = oldest
        self._dry_run = dry_run
        self._seen: dict[str, ObjectHead] = {}

    def halves(self) -> Sequence[Taken]:
        """What has been there for a day and no marker leads to: folders of killed puts, verdicts without their bundle."""
        folders = _grouped(self._folder.heads("bundles/"), depth=3)
        folders |= _grouped(self._folder.heads("verdicts/"), depth=2)
        old = {place: heads for place, heads in folders.items() if _newest(heads) < self._oldest}
        siblings = Counter(place.rpartition("/")[0] for place in folders)
        kept = self._markers()
        return [
            _Objects(self._folder, f"{self._folder.uri}/{place}", heads)
            for place, heads in old.items()
            if self._is_left(place.split("/"), kept, alone=siblings[place.rpartition("/")[0]] == 1)
        ]

    def bundles(self) -> Mapping[str, float]:
        """By the times of the markers."""
        self._seen = self._markers()
        return {name: head.last_modified.timestamp() for name, head in self._seen.items()}

    def name(self, bundle_hash: str) -> str:
        return f"{self._folder.uri}/bundles/{bundle_hash}"

    def take(self, bundle_hash: str) -> Taken | None:
        """Removes the marker as it was seen; the objects that it led to are found by nobody then."""
        found, seen = self._find(bundle_hash), self._seen[bundle_hash]
        if found is None or found.etag != seen.etag:
            return None
        heads = (*self._folder.heads(found.marker.place()), *self._folder.heads(f"verdicts/{bundle_hash}/"))
        if not (self._dry_run or self._folder.delete(seen.key, if_match=seen.etag)):
            return None
        return _Objects(self._folder, self.name(bundle_hash), (*heads, seen) if self._dry_run else heads)

    def _markers(self) -> dict[str, ObjectHead]:
        heads = {head.key.removeprefix("kept/").removesuffix(".json"): head for head in self._folder.heads("kept/")}
        return {name: head for name, head in heads.items() if SHA256_HEX.fullmatch(name)}

    def _is_left(self, parts: Sequence[str], kept: Collection[str], *, alone: bool) -> bool:
        """Asks for a marker only where the listings leave a doubt."""
        kind, bundle_hash, *folder = parts
        if bundle_hash in kept and (alone or kind == "verdicts"):
            return False
        found = self._find(bundle_hash) if SHA256_HEX.fullmatch(bundle_hash) else None
        return found is None or (kind == "bundles" and [found.marker.folder] != folder)


def _grouped(heads: Iterable[ObjectHead], *, depth: int) -> dict[str, tuple[ObjectHead, ...]]:
    """The objects by the first parts of their keys."""
    groups: dict[str, list[ObjectHead]] = {}
    for head in heads:
        groups.setdefault("/".join(head.key.split("/")[:depth]), []).append(head)
    return {place: tuple(found) for place, found in groups.items()}


def _newest(heads: Iterable[ObjectHead]) -> datetime:
    return max(head.last_modified for head in heads)


def _is_copy_of(copy: Path, marker: _Marker) -> bool:
    """Whether the folder holds what the marker says, and nothing else."""
    try:
        files = complete_files(copy)
    except (BundleError, ConfigError):
        return False
    return {path: sha256_bytes(content) for path, content in files.items()} == {
        path: file.sha256 for path, file in marker.files.items()
    }


def _is_bundle_file(path: str) -> bool:
    return layout.is_safe(path) and layout.is_known(path)


def _pointer_key(symbol: str) -> str:
    return f"promoted/{symbol}.json"


def _line_key(index: int) -> str:
    return f"ledger/{index:0{_INDEX_DIGITS}d}.json"


_LINE: Final = re.compile(rf"ledger/[0-9]{{{_INDEX_DIGITS}}}\.json")


def _token() -> str:
    return secrets.token_hex(8)
