"""Where closed bars come from: the protocol of a source, and the replay of a folder.

A source checks nothing: whatever it gives goes through `bars.py`.

What does not belong here: sources that ask a network (tasks.adapters).
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models_lib.candles.schema import BAR_MS, VALUE_COLUMNS
from models_lib.errors import ConfigError, DataError
from models_lib.features import SERVING_BARS

_BLOCK_ROWS: Final = 1_024
"""Rows of a file that are turned into bars at once."""


class Given(NamedTuple):
    """What a source gives for one symbol."""

    symbol: str
    raw: object
    """Should be a closed bar."""
    past: bool
    """For the window only: the bar was there before there was anything to decide."""


class Trouble(NamedTuple):
    """A source, or one symbol of it, cannot be asked now; it is asked again."""

    symbol: str
    sentence: str


class ClockSkew(NamedTuple):
    """What a source's clock says beside this machine's; from sources that have one, whenever they measured it."""

    skew_ms: float
    """The source's minus this machine's: positive where this machine is behind."""
    uncertain_ms: float
    """It is known to within so much."""


class Reached(Protocol):
    """How far one symbol is; it moves on with the bars that the source gives."""

    @property
    def decided_ms(self) -> int | None:
        """Open time of the newest bar that was decided on, at first in an earlier process; None for none."""

    @property
    def newest_ms(self) -> int | None:
        """Open time of the newest bar in the window; None for none. What was refused is not in it."""


class BarSource(Protocol):
    """Closed bars of some symbols, each symbol's in the order of time as far as the source knows it."""

    def bars(self, reached: Mapping[str, Reached], stop: Event) -> Iterator[Given | Trouble | ClockSkew | None]:
        """First the bars for the windows, then one bar after the other as they close.

        Args:
            reached: symbol -> how far it is. Bars up to what an earlier process decided on come as `past`, at most
                SERVING_BARS of them; none after it is left out.
            stop: ends the bars soon after it is set; all waiting is waiting for it.

        Yields:
            A bar; trouble; the skew of its clock; or None when there is nothing now, before the source waits. A source that has an end, ends.
        """


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of one file: int64 [N] and float64 [N, 5]."""

    stamps: NDArray[np.int64]
    values: NDArray[np.float64]


class FolderSource:
    """The replay of <SYMBOL>.parquet or <SYMBOL>.safetensors files; a .safetensors file needs no pyarrow.

    A .safetensors file holds `timestamps`, int64 [N], open times in ms since 1970 UTC, and `ohlcv`, float64 [N, 5].

    Args:
        folder: with one file a symbol.
        first_ms: open time of the first bar to decide on; None: the first one.
        last_ms: open time of the last one; None: the newest.
        newest_minutes: decide on the bars of so many minutes up to the last one; None: from `first_ms` on.
        pace_seconds: between two minutes; 0: as fast as they are taken.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first_ms: int | None = None,
        last_ms: int | None = None,
        newest_minutes: int | None = None,
        pace_seconds: float = 0.0,
    ) -> None:
        if not folder.is_dir():
            fact = "is not a folder" if folder.exists() else "does not exist"
            raise ConfigError(
                f"the folder of candles {folder} {fact}. Name the one with <SYMBOL>.parquet or .safetensors."
            )
        self._folder = folder
        self._first_ms = first_ms
        self._last_ms = last_ms
        self._newest_minutes = newest_minutes
        self._pace_seconds = pace_seconds

    def bars(self, reached: Mapping[str, Reached], stop: Event) -> Iterator[Given | Trouble | None]:
        """The rows of the files, all symbols minute by minute; those before the first to decide on come as past."""
        streams = []
        for symbol, at in reached.items():
            try:
                rows = read_rows(self._folder, symbol)
            except DataError as error:
                yield Trouble(symbol, str(error))
                continue
            first, end = self._span(rows.stamps, at.decided_ms)
            for raw in _raw_bars(rows, max(0, first - SERVING_BARS), first):
                yield Given(symbol, raw, past=True)
            streams.append(_given(symbol, rows, first, end))
        yield from self._paced(heapq.merge(*streams, key=_open_time), stop)

    def newest(self, symbol: str, bars: int) -> list[object]:
        """The last rows of the symbol's file."""
        rows = read_rows(self._folder, symbol)
        return list(_raw_bars(rows, max(0, len(rows.stamps) - bars), len(rows.stamps)))

    def _paced(self, bars: Iterable[Given], stop: Event) -> Iterator[Given | None]:
        minute = None
        for bar in bars:
            if self._pace_seconds and minute not in {None, _open_time(bar)}:
                yield None
                stop.wait(self._pace_seconds)
            if stop.is_set():
                return
            minute = _open_time(bar)
            yield bar

    def _span(self, stamps: NDArray[np.int64], decided_ms: int | None) -> tuple[int, int]:
        """The first row to decide on, and the row behind the last; by place, for a file may be out of order."""
        after_end = stamps > self._last_ms if self._last_ms is not None else np.zeros(len(stamps), dtype=np.bool_)
        end = int(np.argmax(after_end)) if after_end.any() else len(stamps)
        begins = [-(2**62)]
        if self._first_ms is not None:
            begins.append(self._first_ms)
        if self._newest_minutes is not None and end:
            begins.append(int(stamps[:end].max()) - (self._newest_minutes - 1) * BAR_MS)
        if decided_ms is not None:
            begins.append(decided_ms + BAR_MS)
        inside = stamps[:end] >= max(begins)
        return (int(np.argmax(inside)) if inside.any() else end), end


def read_rows(folder: Path, symbol: str) -> _Rows:
    """The rows of a symbol's file, unchecked.

    Raises:
        DataError: there is no such file, or it is none of these.
    """
    for suffix, read in ((".safetensors", _read_safetensors), (".parquet", _read_parquet)):
        path = folder / f"{symbol}{suffix}"
        if path.is_file():
            return read(path)
    raise DataError(f"{symbol}: there is neither {symbol}.parquet nor {symbol}.safetensors in {folder}. Put one there.")


def _read_safetensors(path: Path) -> _Rows:
    from safetensors import SafetensorError  # noqa: PLC0415 - only a replay reads files
    from safetensors.numpy import load_file  # noqa: PLC0415

    try:
        arrays = load_file(path)
        stamps, values = arrays["timestamps"], arrays["ohlcv"]
    except (OSError, SafetensorError, KeyError) as error:
        raise DataError(f"{path}: cannot be read as candles ({error}). Write the file again.") from error
    if stamps.dtype != np.int64 or values.dtype != np.float64 or values.shape != (stamps.size, 5) or stamps.ndim != 1:
        raise DataError(
            f"{path}: timestamps must be int64 [N] and ohlcv float64 [N, 5], were {stamps.dtype} {list(stamps.shape)} and "
            f"{values.dtype} {list(values.shape)}. Write the file again."
        )
    return _Rows(stamps, values)


def _read_parquet(path: Path) -> _Rows:
    try:
        import pyarrow as pa  # noqa: PLC0415 - a host without pyarrow replays .safetensors
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise DataError(
            f"{path}: this host has no pyarrow. Write the candles as .safetensors, or install crpbot-runtime[parquet]."
        ) from error
    try:
        table = pq.read_table(path, columns=["timestamp", *VALUE_COLUMNS])
        stamps = table["timestamp"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).fill_null(-1).to_numpy()
        columns = [table[name].cast(pa.float64()).fill_null(float("nan")).to_numpy() for name in VALUE_COLUMNS]
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: cannot be read as candles ({reason}). Fetch the file again.") from error
    return _Rows(np.asarray(stamps, dtype=np.int64), np.column_stack(columns))


def _raw_bars(rows: _Rows, first: int, end: int) -> Iterator[list[object]]:
    for begin in range(first, end, _BLOCK_ROWS):
        stop = min(begin + _BLOCK_ROWS, end)
        for stamp, values in zip(rows.stamps[begin:stop].tolist(), rows.values[begin:stop].tolist(), strict=True):
            yield [stamp, *values]


def _given(symbol: str, rows: _Rows, first: int, end: int) -> Iterator[Given]:
    for raw in _raw_bars(rows, first, end):
        yield Given(symbol, raw, past=False)


def _open_time(bar: Given) -> int:
    assert isinstance(bar.raw, list), "a replay gives lists"
    return int(bar.raw[0])
