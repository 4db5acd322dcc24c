"""An archive of candles in a bucket: files under their content's name, one manifest a symbol, replaced under a condition.

Homes share it: each fetches a month once and keeps a copy. Two writers at once are told apart by the condition; the one that
comes second loses nothing, as what it fetched lies in the journal of its home.

What does not belong here: what the files mean (models_lib.candles.archive).
"""

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from models_lib.candles.archive.places import MANIFEST_FILE, Record
from models_lib.errors import BusyError, DataError
from models_lib.files import sha256_bytes, write_bytes
from tasks.adapters.s3.objects import S3Folder

_UPLOAD_ENDS: Final = timedelta(days=1)
"""A file of that age which no manifest names was left by a writer that is gone."""
_SUFFIX: Final = ".parquet"


class S3Place:
    """A prefix of a bucket; an ArchivePlace.

    Args:
        folder: the prefix.
        copies: folder of this machine for copies of the months; may vanish at any time.
        strays_after: what is older and unnamed counts as left behind.
    """

    def __init__(self, folder: S3Folder, copies: Path, *, strays_after: timedelta = _UPLOAD_ENDS) -> None:
        self._folder = folder
        self._copies = copies
        self._strays_after = strays_after

    @property
    def name(self) -> str:
        """The address."""
        return self._folder.uri

    def record(self, symbol: str) -> Record | None:
        """As ArchivePlace.

        Raises:
            DataError: its content is not what was stored.
        """
        found = self._folder.get(f"{symbol}/{MANIFEST_FILE}")
        return None if found is None else Record(found.content, found.etag)

    def replace_record(self, symbol: str, content: bytes, *, over: Record | None) -> Record:
        """As ArchivePlace."""
        self._folder.refuse_unconditional()
        tag = self._folder.put(
            f"{symbol}/{MANIFEST_FILE}", content, if_absent=over is None, if_match=None if over is None else over.tag
        )
        if tag is None:
            raise BusyError(
                f"{symbol} ({self.name}): another machine wrote to the archive meanwhile. What was fetched here is kept; "
                f"fetch again."
            )
        return Record(content, tag)

    def month(self, symbol: str, file: str, sha256: str) -> bytes | None:
        """As ArchivePlace; from this machine's copy where there is a sound one."""
        copy = self._copies / symbol / file
        with contextlib.suppress(OSError):
            content = copy.read_bytes()
            if sha256_bytes(content) == sha256:
                return content
        try:
            found = self._folder.get(f"{symbol}/{file}")
        except DataError:
            return None
        if found is None or sha256_bytes(found.content) != sha256:
            return None
        self._keep_copy(copy, found.content)
        return found.content

    def keep_month(self, symbol: str, file: str, content: bytes) -> None:
        """As ArchivePlace; what lies there under this name and is damaged is replaced."""
        key = f"{symbol}/{file}"
        if self._folder.put(key, content, if_absent=True) is None and not self._is_sound(key, content):
            self._folder.put(key, content)
        self._keep_copy(self._copies / symbol / file, content)

    def remove(self, symbol: str, files: Sequence[str]) -> None:
        """As ArchivePlace."""
        for file in files:
            self._folder.delete(f"{symbol}/{file}")
            with contextlib.suppress(OSError):
                (self._copies / symbol / file).unlink()

    def strays(self, symbol: str, *, named: set[str]) -> Sequence[str]:
        """As ArchivePlace; a younger one may be named by a writer that is at work elsewhere."""
        before = datetime.now(UTC) - self._strays_after
        heads = ((head.key.removeprefix(f"{symbol}/"), head) for head in self._folder.heads(f"{symbol}/"))
        return [
            file
            for file, head in heads
            if file.endswith(_SUFFIX) and file not in named and head.last_modified <= before
        ]

    def exclusive(self, symbol: str) -> AbstractContextManager[None]:  # noqa: ARG002  (no bucket can do that)
        """Keeps nobody out: the condition on the manifest does."""
        return contextlib.nullcontext()

    def _is_sound(self, key: str, content: bytes) -> bool:
        try:
            found = self._folder.get(key)
        except DataError:
            return False
        return found is not None and found.content == content

    def _keep_copy(self, copy: Path, content: bytes) -> None:
        """Also removes the copies of what the month was before."""
        with contextlib.suppress(OSError):  # without a copy it is fetched again
            write_bytes(copy, content)
            for older in copy.parent.glob(f"{copy.name.partition('.')[0]}.*{_SUFFIX}"):
                if older != copy:
                    older.unlink(missing_ok=True)
