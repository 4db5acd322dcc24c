"""The archive: bars of any span, and the one writer of a symbol.

What does not belong here: what is asked for next (fetching.py), and files (months.py, places.py).
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models_lib.candles.archive.journal import Journal
from models_lib.candles.archive.manifest import Manifest, Month
from models_lib.candles.archive.months import decode_into, decoded, month_span
from models_lib.candles.archive.places import LOCK_SECONDS, ArchivePlace, busy
from models_lib.candles.archive.writer import Writer
from models_lib.candles.bars import Bars, Span
from models_lib.candles.exchange import Market
from models_lib.candles.schema import VALUE_COLUMNS
from models_lib.config import ExchangeSection
from models_lib.errors import ConfigError, CrpbotError, DataError
from models_lib.files import canonical_json, sha256_bytes
from models_lib.locks import locked

_READERS: Final = min(4, len(os.sched_getaffinity(0)))
_LOOKS: Final = 5
"""A reader whose file was replaced while it read looks again, so often."""


class CandleArchive:
    """The bars of many symbols of one exchange.

    Args:
        place: where they lie.
        staging: folder of this machine for what is not settled yet.
    """

    def __init__(self, place: ArchivePlace, staging: Path) -> None:
        self.place: Final = place
        self._staging = staging

    def record(self, symbol: str) -> Manifest | None:
        """What is known of the symbol; None when nothing is.

        Raises:
            DataError: the manifest is damaged.
        """
        found = self.place.record(symbol)
        return None if found is None else Manifest.parse(found.content, where=self._where(symbol))

    def bars(self, symbol: str, span: Span) -> Bars:
        """The bars that open in the span; every file that is read is verified.

        Raises:
            DataError: manifest or a file is damaged.
        """
        columns = self._columns(symbol, span)
        return Bars(columns.stamps, columns.values.T)

    def frame(self, symbol: str, span: Span) -> pd.DataFrame:
        """The same as a frame of candles, as `read_parquet` gives it.

        Raises:
            DataError: manifest or a file is damaged.
        """
        columns = self._columns(symbol, span)
        frame = pd.DataFrame(columns.values.T, columns=list(VALUE_COLUMNS), copy=False)
        frame.insert(0, "timestamp", pd.DatetimeIndex(columns.stamps.view("datetime64[ms]"), tz="UTC"))
        return frame

    def content(self, symbol: str, span: Span) -> str | None:
        """A hash over what reading the span would give now; None without bars there.

        Of months that lie in the span as a whole the manifest knows enough. Of the others the bars are read and hashed:
        their files change with bars outside of the span.

        Raises:
            DataError: the manifest or a file is damaged.
        """
        manifest = self.record(symbol)
        parts = [] if manifest is None else _parts(manifest, span)
        return sha256_bytes(canonical_json([self._content(symbol, part, span) for part in parts])) if parts else None

    @contextlib.contextmanager
    def writer(self, symbol: str, *, market: Market, exchange: ExchangeSection) -> Iterator[Writer]:
        """The one writer of a symbol; what an earlier one was killed with is settled first, and all at the end.

        When the body raises, what came is settled as far as that is possible; the rest waits for the next writer.

        Raises:
            BusyError: another process writes, or somebody else wrote to the same bucket; nothing that came is lost.
            ConfigError: the archive holds another exchange or another market.
            DataError: the manifest is damaged.
            TransientError: the bucket does not answer; nothing that came is lost.
        """
        staging = self._staging / exchange.name
        staging.mkdir(parents=True, exist_ok=True)
        lock = locked(staging / f"{symbol}.lock", within_seconds=LOCK_SECONDS, otherwise=busy(symbol, str(staging)))
        with lock, self.place.exclusive(symbol):
            record = self.place.record(symbol)
            manifest = None if record is None else Manifest.parse(record.content, where=self._where(symbol))
            if manifest is None:
                manifest = Manifest(
                    symbol=symbol, exchange=exchange.name, market=market.name, volume_unit=market.volume_unit
                )
            self._refuse_foreign(manifest, market, exchange)
            about = f"{exchange.name} {market.name} {symbol}"
            with contextlib.closing(Journal(staging / f"{symbol}.journal", about=about)) as journal:
                writer = Writer(self.place, journal, record=record, manifest=manifest, section=exchange)
                writer.settle()
                try:
                    yield writer
                except BaseException:
                    with contextlib.suppress(CrpbotError, OSError):  # the journal keeps it
                        writer.settle()
                    raise
                writer.settle()

    def _refuse_foreign(self, manifest: Manifest, market: Market, exchange: ExchangeSection) -> None:
        held = (manifest.exchange, manifest.market)
        asked = (exchange.name, market.name)
        if held != asked:
            raise ConfigError(
                f"{self._where(manifest.symbol)}: the archive holds {held[1]} of {held[0]}, the configuration asks for "
                f"{asked[1]} of {asked[0]}. Choose another data.path or data.uri for them, or correct the section exchange."
            )

    def _content(self, symbol: str, part: "_Part", span: Span) -> list[str]:
        month = month_span(part.name)
        if span.start_ms <= month.start_ms and month.end_ms <= span.end_ms:
            return [part.name, part.month.sha256]
        bars = self.bars(symbol, part.read)
        return [part.name, sha256_bytes(bars.stamps.tobytes()), sha256_bytes(bars.values.tobytes())]

    def _columns(self, symbol: str, span: Span) -> "_Columns":
        manifest = self.record(symbol)
        for _ in range(_LOOKS):
            if manifest is None:
                return _Columns.of(0)
            try:
                return self._read(symbol, _parts(manifest, span))
            except DataError:
                again = self.record(symbol)
                if again is None or again.months == manifest.months:
                    raise
                manifest = again  # a writer removed the file meanwhile, as another one took its place
        raise DataError(f"{self._where(symbol)}: it changed {_LOOKS} times while it was read. Read again.")

    def _read(self, symbol: str, parts: "Sequence[_Part]") -> "_Columns":
        columns = _Columns.of(sum(part.rows for part in parts))
        begins = np.cumsum([0, *(part.rows for part in parts)]).tolist()
        with ThreadPoolExecutor(_READERS) as pool:
            jobs = [
                pool.submit(self._read_part, symbol, part, columns.rows(begin, begin + part.rows))
                for part, begin in zip(parts, begins[:-1], strict=True)
            ]
            for job in jobs:
                job.result()
        return columns

    def _read_part(self, symbol: str, part: "_Part", into: "_Columns") -> None:
        where = f"{self._where(symbol)}/{part.month.file}"
        content = self.place.month(symbol, part.month.file, part.month.sha256)
        if content is None:
            raise DataError(
                f"{where}: the file is missing or damaged. The next fetch (crpbot fetch) asks the exchange for that month "
                f"again."
            )
        if part.rows == part.month.rows:
            decode_into(content, into.stamps, into.values, where=where)
        else:
            bars = decoded(content, part.month.rows, where=where).within(part.read)
            into.stamps[:], into.values[:] = bars.stamps, bars.values.T

    def _where(self, symbol: str) -> str:
        return f"{self.place.name}/{symbol}"


@dataclass(frozen=True)
class _Part:
    """What is read of one month.

    Attributes:
        name: as in 2024-04.
        month: its entry in the manifest.
        read: from the first bar to the end of the last one that is read.
        rows: how many.
    """

    name: str
    month: Month
    read: Span
    rows: int


@dataclass(frozen=True)
class _Columns:
    """Arrays to be filled.

    Attributes:
        stamps: int64 [N].
        values: float64 [5, N], a row a column of the frame.
    """

    stamps: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def of(cls, rows: int) -> "_Columns":
        return cls(np.empty(rows, dtype=np.int64), np.empty((len(VALUE_COLUMNS), rows)))

    def rows(self, begin: int, end: int) -> "_Columns":
        """A view of some of them."""
        return _Columns(self.stamps[begin:end], self.values[:, begin:end])


def _parts(manifest: Manifest, span: Span) -> list[_Part]:
    """In order of time; months without a bar in the span are left out."""
    parts = []
    for name, month in sorted(manifest.months.items()):
        inside = month.spans.within(span)
        if inside:
            read = Span(inside.spans[0].start_ms, inside.spans[-1].end_ms)
            parts.append(_Part(name, month, read, inside.minutes))
    return parts
