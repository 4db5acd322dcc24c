"""Files that appear whole or not at all, and the hashes by which their content is known.

Every file of the run folder, the store and the registry is written here: new name in the same folder, flush, fsync,
rename, fsync of the folder. A reader therefore sees the old file, the new file or none, never half of one.

What does not belong here: what the files mean, and where they lie.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def sha256_bytes(data: bytes) -> str:
    """The SHA-256 of `data`, in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The SHA-256 of the file's content, in lower-case hex, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal values give equal bytes.

    Raises:
        ValueError: if `value` holds NaN or infinity, which JSON cannot say.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def fsync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Makes every file and name below `folder` durable."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            fsync_folder(path)
    fsync_folder(folder)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a new name beside `path` to write to; on a clean exit that file replaces `path` in one step.

    If the body raises, the new file is removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = _fresh_name(path)
    try:
        yield fresh
        with fresh.open("rb+") as stream:
            os.fsync(stream.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


@contextlib.contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """Yields a new name beside `folder`, for what the body fills, checks and renames to `folder` as the last step.

    What still lies under that name at the end is removed, however the body ends.
    """
    fresh = _fresh_name(folder)
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _fresh_name(path: Path) -> Path:
    """A name that nobody else takes, and by which `crpbot clean` knows what a killed writer left."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the body that names no file, as that of a full disk, names this one; the body does nothing but write it."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all."""
    with naming(path), whole_file(path) as fresh:
        fresh.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8 to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON with sorted keys, whole or not at all.

    Raises:
        ValueError: if `value` holds NaN or infinity; an unmeasured number is null.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def trash_name(path: Path) -> Path:
    """A name beside `path` for what shall be removed: no reader looks at it, and `crpbot clean` removes what a kill left."""
    return path.with_name(f".trash-{secrets.token_hex(8)}")


def size_of(path: Path) -> int:
    """Bytes of the file, or of the files in the folder, that nobody else links to."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    found = [one.lstat() for one in (path, *inside) if one.is_symlink() or one.is_file()]
    return sum(status.st_size for status in found if status.st_nlink == 1)


def discard(path: Path) -> str | None:
    """Removes the file or folder; why that cannot be done, or None when it is done."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        return f"{error.filename}: cannot be removed ({error.strerror}). Remove it by hand."
    return None


def append_line(path: Path, line: bytes) -> None:
    """Adds a line at the end of the file, durably. What a crash left of an earlier line stays a line of its own.

    For records that many readers follow and nobody compares against; the ledger has its own rules.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as stream:
        if stream.seek(0, os.SEEK_END) > 0:
            stream.seek(-1, os.SEEK_END)
            line = line if stream.read(1) == b"\n" else b"\n" + line
        stream.write(line + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    fsync_folder(path.parent)
