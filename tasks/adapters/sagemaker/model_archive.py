"""Opening what a job left: model.tar.gz comes from outside, and is believed only as far as it was checked.

What does not belong here: fetching it, and whether it is the model of this training (collect.py).
"""

import gzip
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from models_lib.errors import TrainingError, excerpt

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of the archive as it is fetched, and of all that it unpacks to; a network of this project has a hundredth of it."""
_MOST_MEMBERS: Final = 200


def open_archive(archive: Path, known: Mapping[str, int], *, subject: str, ignored: frozenset[str]) -> dict[str, bytes]:
    """The files of a model.tar.gz by name: exactly those that are known, each a regular file of no more than its bytes.

    Nothing is written. Links, devices, absolute paths, paths upwards, a name that comes twice and names that nobody
    knows are refused, and so is an archive that unpacks to more than was allowed.

    Args:
        archive: the file.
        known: largest size of each file that must be there.
        subject: how a message begins.
        ignored: top folders and files that may be there, too, and are not looked at.

    Raises:
        TrainingError: it is damaged, or holds something else.
    """
    try:
        with gzip.open(archive) as plain:
            bounded: Any = _Bounded(plain)  # of a file tarfile asks for nothing else than read
            with tarfile.open(fileobj=bounded, mode="r|") as tar:
                return _members(tar, known, subject, ignored)
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise TrainingError(
            f"{subject} is no whole archive ({excerpt(error)}). Start the run again: the next attempt is another job."
        ) from error


def _members(tar: tarfile.TarFile, known: Mapping[str, int], subject: str, ignored: frozenset[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for count, member in enumerate(tar, start=1):
        if count > _MOST_MEMBERS:
            raise _foreign(subject, f"more than {_MOST_MEMBERS} members")
        name = PurePosixPath(member.name)
        if member.isdir() or not ignored.isdisjoint(name.parts[:1]):
            continue
        if str(name) not in known or str(name) in found or not member.isreg():
            raise _foreign(subject, f"{excerpt(member.name)} ({_kind(member)})")
        if member.size > known[str(name)]:
            raise _foreign(subject, f"{name} with {member.size} bytes (at most {known[str(name)]} allowed)")
        stream = tar.extractfile(member)
        assert stream is not None, "a regular file"
        found[str(name)] = stream.read()
    if missing := sorted(set(known) - set(found)):
        raise TrainingError(
            f"{subject} lacks {', '.join(missing)}. Start the run again: the next attempt is another job."
        )
    return found


class _Bounded:
    """What a compressed stream unpacks to, refused beyond MOST_BYTES: a small archive can stand for terabytes."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self._left = MOST_BYTES

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`."""
        piece = self._stream.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {MOST_BYTES} bytes")
        return piece


def _kind(member: tarfile.TarInfo) -> str:
    kinds = {tarfile.SYMTYPE: "a link", tarfile.LNKTYPE: "a hard link", tarfile.DIRTYPE: "a folder"}
    return "a file" if member.isreg() else kinds.get(member.type, "a special file")


def _foreign(subject: str, what: str) -> TrainingError:
    return TrainingError(
        f"{subject} holds what no training of this project writes: {what}. Nothing of it is used; see who can write to "
        f"training.sagemaker.uri, and start the run again."
    )
