"""The journal: pages in the order in which they came, each safe on the disk before the next one is asked for.

A record is magic, length, checksum and the page. What a kill left of the last record is cut off at the next opening; a record
is believed only when its checksum holds, so nothing is ever invented.

What does not belong here: what becomes of the pages (archive.py).
"""

import contextlib
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from models_lib.candles.archive.page import Page
from models_lib.candles.bars import Bars, Span
from models_lib.candles.schema import VALUE_COLUMNS
from models_lib.files import fsync_folder, naming

_MAGIC: Final = b"crpB"
_HEAD: Final = struct.Struct("<4sII")
"""Magic, bytes of the body, CRC-32 of the body."""
_PAGE: Final = struct.Struct("<qqqqBI")
"""Span, closed, received, troubled, number of bars; then the stamps, then the values row by row."""
_ROW_BYTES: Final = 8 * (1 + len(VALUE_COLUMNS))
_log = logging.getLogger(__name__)


class Journal:
    """One file, written by one process. Use it as a context, or close it.

    Args:
        path: made when it is missing, with its folder.
        about: whose pages these are; a journal about something else is emptied when it is opened.

    Attributes:
        recovered: the pages that it held when it was opened.
    """

    def __init__(self, path: Path, *, about: str) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+", buffering=0)
        fsync_folder(path.parent)
        try:
            self._title = _record(about.encode())
            self.recovered = self._recover()
        except BaseException:
            self._file.close()
            raise

    def append(self, page: Page) -> None:
        """Returns when the page is safe; when it cannot be written the journal is as before.

        Raises:
            OSError: the disk is full or broken.
        """
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._write(_record(_packed(page)))
        except OSError:
            with contextlib.suppress(OSError):  # else the next opening cuts it off
                os.ftruncate(self._file.fileno(), end)
            raise

    def empty(self) -> None:
        """Forgets all pages; they are kept elsewhere now."""
        os.ftruncate(self._file.fileno(), 0)
        self._write(self._title)

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def _recover(self) -> list[Page]:
        self._file.seek(0)
        content = self._file.read()
        bodies = list(_bodies(content))
        if not bodies or content[: len(self._title)] != self._title:
            if content and bodies:
                _log.warning("%s: held pages of another market; they are dropped and can be fetched again.", self._path)
            self.empty()
            return []
        pages, end = [], len(self._title)
        for body in bodies[1:]:
            page = _unpacked(body)
            if page is None:
                break
            pages.append(page)
            end += _HEAD.size + len(body)
        if end < len(content):
            _log.info("%s: the last page was not whole; %d bytes are cut off.", self._path, len(content) - end)
            os.ftruncate(self._file.fileno(), end)
            os.fsync(self._file.fileno())
        return pages

    def _write(self, record: bytes) -> None:
        """The file is opened for appending."""
        rest = memoryview(record)
        with naming(self._path):
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())


def _record(body: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, len(body), zlib.crc32(body)) + body


def _bodies(content: bytes) -> Iterator[bytes]:
    """The bodies of the whole records up to the first one that is not."""
    at = 0
    while at + _HEAD.size <= len(content):
        magic, size, checksum = _HEAD.unpack_from(content, at)
        body = content[at + _HEAD.size : at + _HEAD.size + size]
        if magic != _MAGIC or len(body) != size or zlib.crc32(body) != checksum:
            return
        yield body
        at += _HEAD.size + size


def _packed(page: Page) -> bytes:
    facts = _PAGE.pack(*page.span, page.closed_ms, page.received_ms, page.troubled, len(page.bars))
    return facts + page.bars.stamps.astype("<i8").tobytes() + page.bars.values.astype("<f8").tobytes()


def _unpacked(body: bytes) -> Page | None:
    """The page; None where the body has another length than it says."""
    if len(body) < _PAGE.size:
        return None
    start_ms, end_ms, closed_ms, received_ms, troubled, rows = _PAGE.unpack_from(body)
    if len(body) != _PAGE.size + rows * _ROW_BYTES:
        return None
    stamps = np.frombuffer(body, dtype="<i8", count=rows, offset=_PAGE.size)
    values = np.frombuffer(body, dtype="<f8", offset=_PAGE.size + 8 * rows).reshape(rows, len(VALUE_COLUMNS))
    return Page(Span(start_ms, end_ms), Bars(stamps, values), closed_ms, received_ms, bool(troubled))
