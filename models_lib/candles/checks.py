"""The rules that candles must satisfy before anything is computed from them, and what is recorded about them.

A broken rule is a DataError with the subject, the fact with its limit, where and when, and the remedy. What is only
worth knowing (holes, a stale end, long stretches without trades) becomes a warning in the report.

What does not belong here: reading files (sources.py, folder.py), and what happens after a refusal.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models_lib.candles.fill import fill_no_trade_minutes
from models_lib.candles.schema import (
    BAR_MINUTES,
    BAR_MS,
    CANDLE_COLUMNS,
    PRICE_COLUMNS,
    TIMESTAMP_DTYPE,
    VALUE_COLUMNS,
    epoch_ms,
)
from models_lib.config import DataSection
from models_lib.errors import DataError

LARGEST_PRICE: Final = 1e12
"""Far above any price of any coin in any currency, and far below where the features' float64 and float32 end."""
LARGEST_VOLUME: Final = 1e18
"""The same for a minute's volume in the base coin."""
MUCH_FILLED: Final = 0.05
"""A larger share of minutes without trades is worth a warning."""
MIN_ROWS: Final = 1_440
"""Fewest rows of a file: one day. Training needs more; the split says how many."""

_UTC_NAMES: Final = frozenset({"UTC", "Etc/UTC", "UTC+00:00", "+00:00"})
_TICKS_PER_MINUTE: Final = {"s": 60, "ms": 60_000, "us": 60_000_000, "ns": 60_000_000_000}
_EARLIEST: Final = np.datetime64("2009-01-03", "ms")  # the first block of Bitcoin: nothing was traded before
_LATEST: Final = np.datetime64("2100-01-01", "ms")
_LISTED_HOLES: Final = 5


@dataclass(frozen=True)
class Gap:
    """A run of missing minutes."""

    start: datetime
    """Open time of the first missing bar, aware, UTC."""
    end: datetime
    """Open time of the first bar after the hole, aware, UTC."""
    minutes: int
    """Missing bars."""


@dataclass(frozen=True)
class CandleReport:
    """What is known about the candles of one symbol after they passed every rule."""

    symbol: str
    rows: int
    """Bars after filling."""
    first: datetime
    """Open time of the first bar, aware, UTC."""
    last: datetime
    """Open time of the last bar, aware, UTC."""
    expected_minutes: int
    """Minutes from the first to the last bar, both included."""
    missing_minutes: int
    """Minutes of them without a bar, after filling."""
    missing_share: float
    """missing_minutes / expected_minutes."""
    gaps: tuple[Gap, ...]
    """The holes that remain, in order; each starts a new segment."""
    filled_minutes: int
    """Minutes without trades that were filled with the last close."""
    zero_volume_longest_run_minutes: int
    """Longest run of adjacent bars with zero volume, filled ones included."""
    warnings: tuple[str, ...]
    """What is worth knowing and breaks no rule."""
    stale: str | None = None
    """The one of the warnings that says that the newest bar is old; None where it is not, or nobody judged it."""
    fetched: dict[str, Any] | None = None
    """What the source knows beside the candles, as plain values; None where no exchange was asked for them."""

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values, times as ISO 8601 with Z."""
        return {
            "symbol": self.symbol,
            "rows": self.rows,
            "first": iso_minute(self.first),
            "last": iso_minute(self.last),
            "expected_minutes": self.expected_minutes,
            "missing_minutes": self.missing_minutes,
            "missing_share": self.missing_share,
            "gaps": [
                {"start": iso_minute(gap.start), "end": iso_minute(gap.end), "minutes": gap.minutes}
                for gap in self.gaps
            ],
            "filled_minutes": self.filled_minutes,
            "zero_volume_longest_run_minutes": self.zero_volume_longest_run_minutes,
            "warnings": list(self.warnings),
            "stale": self.stale,
            "fetched": self.fetched,
        }


def iso_minute(time: datetime) -> str:
    """`time` in UTC as in 2026-01-02T00:00Z."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def check_candles(
    frame: pd.DataFrame, *, symbol: str, rules: DataSection, where: str, now: datetime | None
) -> CandleReport:
    """The report on candles that satisfy every rule; see `check_and_fill`."""
    return check_and_fill(frame, symbol=symbol, rules=rules, where=where, now=now)[1]


def check_and_fill(
    frame: pd.DataFrame, *, symbol: str, rules: DataSection, where: str, now: datetime | None
) -> tuple[pd.DataFrame, CandleReport]:
    """The candles in their standard form, short runs of missing minutes filled, and the report on them.

    Args:
        frame: raw candles; other columns than CANDLE_COLUMNS are left out, with a warning.
        symbol: named in every message.
        rules: limits, and how long a run of missing minutes may be to be filled.
        where: file or origin, named in every message.
        now: aware; the newest bar is held against it. None: age is not judged.

    Returns:
        RangeIndex, columns as CANDLE_COLUMNS, timestamps in datetime64[ms, UTC]; and the report.

    Raises:
        DataError: a rule is broken.
    """
    subject = f"{symbol} ({where})"
    warnings = _check_columns(frame, subject)
    _check_clock(frame["timestamp"], subject)
    raw = frame.loc[:, list(CANDLE_COLUMNS)].astype({"timestamp": TIMESTAMP_DTYPE}).reset_index(drop=True)
    _check_values(raw, subject)
    candles, filled_minutes = fill_no_trade_minutes(raw, longest_run_minutes=rules.fill_no_trade_minutes)
    gaps = _holes(epoch_ms(candles))
    _check_missing(candles, gaps, subject, rules)
    report = _report(candles, symbol, gaps, filled_minutes)
    warnings += _warnings(report, rules)
    stale = None if now is None else _stale(report.last, rules, now)
    if now is not None:
        warnings += [stale] if stale else _unclosed(report.last, now)
    return candles, replace(report, warnings=tuple(warnings), stale=stale)


def _check_columns(frame: pd.DataFrame, subject: str) -> list[str]:
    """Refuses wrong columns, types and row counts; returns a warning for columns without use."""
    missing = [name for name in CANDLE_COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(
            f"{subject}: column {', '.join(missing)} is missing; the columns are {_listed(frame.columns)}. "
            f"Write the file with exactly {', '.join(CANDLE_COLUMNS)}."
        )
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice) > 0:
        raise DataError(f"{subject}: column {_listed(twice)} occurs more than once. Write each column once.")
    for name in VALUE_COLUMNS:
        if frame[name].dtype != np.float64:
            raise DataError(
                f"{subject}: column {name} must be float64, was {frame[name].dtype}. Convert it before writing the file."
            )
    _check_timestamp_type(frame["timestamp"].dtype, subject)
    if len(frame) < MIN_ROWS:
        raise DataError(
            f"{subject}: {len(frame):,} rows are too few (at least {MIN_ROWS:,} needed, one day of minutes). "
            f"Fetch a longer window."
        )
    extra = [name for name in frame.columns if name not in CANDLE_COLUMNS]
    return [f"columns without use were left out: {_listed(extra)}"] if extra else []


def _check_timestamp_type(dtype: object, subject: str) -> None:
    if isinstance(dtype, pd.DatetimeTZDtype):
        if str(dtype.tz) not in _UTC_NAMES:
            raise DataError(f"{subject}: timestamps must be in UTC, were in {dtype.tz}. Convert them to UTC.")
    elif isinstance(dtype, np.dtype) and dtype.kind == "M":
        raise DataError(f"{subject}: timestamps are naive (no time zone); they must be in UTC. Localise them to UTC.")
    else:
        raise DataError(
            f"{subject}: column timestamp must be datetime64[ms, UTC], was {dtype}. Write open times as UTC timestamps."
        )


def _check_clock(stamps: "pd.Series[pd.Timestamp]", subject: str) -> None:
    """Refuses timestamps that are absent, implausible, off the minute, repeated or out of order."""
    absent = stamps.isna().to_numpy()
    if absent.any():
        raise DataError(f"{subject}: {_share(absent)} have no timestamp, the first is row {_first(absent)}. Drop them.")
    dtype = stamps.dtype
    assert isinstance(dtype, pd.DatetimeTZDtype)
    ticks = stamps.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype(np.int64)
    times = ticks.astype(f"datetime64[{dtype.unit}]")
    implausible = (times < _EARLIEST) | (times >= _LATEST)
    if implausible.any():
        raise DataError(
            f"{subject}: timestamps must lie between {_at(_EARLIEST)} and {_at(_LATEST)}, row {_first(implausible)} is "
            f"{_at(times[_first(implausible)])}. Check the unit (milliseconds) of the timestamps."
        )
    off_minute = ticks % _TICKS_PER_MINUTE[dtype.unit] != 0
    if off_minute.any():
        exact = np.datetime_as_string(times[_first(off_minute)])
        raise DataError(
            f"{subject}: {_share(off_minute)} do not open on a whole minute, the first at {exact}Z "
            f"(row {_first(off_minute)}). Use the open time of 1-minute bars."
        )
    _check_order(ticks, times, subject)


def _check_order(ticks: NDArray[np.int64], times: NDArray[np.datetime64], subject: str) -> None:
    steps = np.diff(ticks)
    backwards = np.append(False, steps < 0)
    if backwards.any():
        row = _first(backwards)
        raise DataError(
            f"{subject}: rows are not sorted by time: {_at(times[row])} (row {row}) comes after {_at(times[row - 1])}. "
            f"Sort the file by timestamp."
        )
    repeated = np.append(False, steps == 0)
    if repeated.any():
        row = _first(repeated)
        raise DataError(
            f"{subject}: {_share(repeated)} repeat the minute before them, the first at {_at(times[row])} (row {row}). "
            f"Keep one bar a minute."
        )


def _check_values(candles: pd.DataFrame, subject: str) -> None:
    """Refuses numbers that no bar can have, and files in which nothing ever happens."""
    columns = {name: candles[name].to_numpy() for name in VALUE_COLUMNS}
    times = candles["timestamp"].dt.tz_localize(None).to_numpy()
    for name in PRICE_COLUMNS:
        possible = (columns[name] > 0) & (columns[name] <= LARGEST_PRICE)  # False for NaN
        _refuse(~possible, subject, times, _price_fault(name, columns[name]))
    volume = columns["volume"]
    _refuse(
        ~((volume >= 0) & (volume <= LARGEST_VOLUME)),
        subject,
        times,
        lambda row: f"volume must be zero or more and at most {LARGEST_VOLUME:g}, was {volume[row]:g}",
    )
    high, low = columns["high"], columns["low"]
    body_top, body_bottom = np.maximum(columns["open"], columns["close"]), np.minimum(columns["open"], columns["close"])
    _refuse(high < low, subject, times, lambda row: f"high {high[row]:g} is below low {low[row]:g}")
    _refuse(
        (high < body_top) | (low > body_bottom),
        subject,
        times,
        lambda row: (
            f"high {high[row]:.10g} and low {low[row]:.10g} contradict open {columns['open'][row]:.10g} and close "
            f"{columns['close'][row]:.10g}"
        ),
    )
    if (columns["close"] == columns["close"][0]).all():
        raise DataError(
            f"{subject}: the price never changes: all {len(candles):,} closes are {columns['close'][0]:g}. "
            f"Fetch candles of a traded market."
        )
    if not volume.any():
        raise DataError(
            f"{subject}: volume is zero in all {len(candles):,} rows. Fetch candles with traded volume (base coin)."
        )


def _price_fault(name: str, values: NDArray[np.float64]) -> Callable[[int], str]:
    return lambda row: f"{name} must be above zero and at most {LARGEST_PRICE:g}, was {values[row]:g}"


def _refuse(broken: NDArray[np.bool_], subject: str, times: NDArray[np.datetime64], fact: Callable[[int], str]) -> None:
    """Raises if any row is broken, with the fact of the first such row."""
    if broken.any():
        row = _first(broken)
        raise DataError(
            f"{subject}: {fact(row)} at {_at(times[row])} (row {row}); so in {_share(broken)} (0 allowed). "
            f"Fetch the window again, or drop these rows: a missing minute starts a new segment."
        )


def _check_missing(candles: pd.DataFrame, gaps: tuple[Gap, ...], subject: str, rules: DataSection) -> None:
    missing = sum(gap.minutes for gap in gaps)
    expected = len(candles) + missing
    if missing / expected > rules.max_missing_share:
        raise DataError(
            f"{subject}: {missing:,} of {expected:,} minutes are missing ({missing / expected:.3%}, at most "
            f"{rules.max_missing_share:.3%} allowed), the first at {iso_minute(gaps[0].start)}. "
            f"Fetch the window again, or raise data.max_missing_share."
        )


def _holes(stamps: NDArray[np.int64]) -> tuple[Gap, ...]:
    rows = np.flatnonzero(np.diff(stamps) != BAR_MS)
    return tuple(
        Gap(
            start=_aware(int(stamps[row]) + BAR_MS),
            end=_aware(int(stamps[row + 1])),
            minutes=int((stamps[row + 1] - stamps[row]) // BAR_MS) - 1,
        )
        for row in rows
    )


def _report(candles: pd.DataFrame, symbol: str, gaps: tuple[Gap, ...], filled_minutes: int) -> CandleReport:
    stamps = epoch_ms(candles)
    missing = sum(gap.minutes for gap in gaps)
    return CandleReport(
        symbol=symbol,
        rows=len(candles),
        first=_aware(int(stamps[0])),
        last=_aware(int(stamps[-1])),
        expected_minutes=len(candles) + missing,
        missing_minutes=missing,
        missing_share=missing / (len(candles) + missing),
        gaps=gaps,
        filled_minutes=filled_minutes,
        zero_volume_longest_run_minutes=_longest_run(candles["volume"].to_numpy() == 0.0, stamps),
        warnings=(),
    )


def _longest_run(flags: NDArray[np.bool_], stamps: NDArray[np.int64]) -> int:
    """Most adjacent minutes in a row that are flagged; a hole ends a run."""
    rows = np.flatnonzero(flags)
    if len(rows) == 0:
        return 0
    ends = np.flatnonzero(np.diff(stamps[rows]) != BAR_MS)
    bounds = np.concatenate(([-1], ends, [len(rows) - 1]))
    return int(np.diff(bounds).max())


def _warnings(report: CandleReport, rules: DataSection) -> list[str]:
    found = []
    if report.gaps:
        longest = sorted(report.gaps, key=lambda gap: -gap.minutes)[:_LISTED_HOLES]
        named = ", ".join(f"{gap.minutes:,} from {iso_minute(gap.start)}" for gap in longest)
        found.append(
            f"{report.missing_minutes:,} of {report.expected_minutes:,} minutes ({report.missing_share:.1%}) are missing "
            f"in {len(report.gaps):,} {'hole' if len(report.gaps) == 1 else 'holes'}, each starts a new segment; the longest: {named}"
        )
    if report.filled_minutes > MUCH_FILLED * report.expected_minutes:
        found.append(
            f"{report.filled_minutes:,} of {report.expected_minutes:,} minutes "
            f"({report.filled_minutes / report.expected_minutes:.1%}, more than {MUCH_FILLED:.0%} is unusual) had no trade "
            f"and were filled with the close before"
        )
    if report.zero_volume_longest_run_minutes > rules.max_zero_volume_run_minutes:
        found.append(
            f"{report.zero_volume_longest_run_minutes:,} minutes in a row have no volume "
            f"(more than {rules.max_zero_volume_run_minutes:,} is unusual)"
        )
    return found


def _unclosed(last: datetime, now: datetime) -> list[str]:
    if last + timedelta(minutes=BAR_MINUTES) <= now:
        return []
    return [f"the newest bar ({iso_minute(last)}) is not closed at {iso_minute(now)}: its values may still change"]


def _stale(last: datetime, rules: DataSection, now: datetime) -> str | None:
    age = now - last - timedelta(minutes=BAR_MINUTES)
    if age <= timedelta(days=rules.max_age_days):
        return None
    days = f"{age / timedelta(days=1):,.1f} days old at {iso_minute(now)} (more than {rules.max_age_days} is stale)"
    return f"the newest bar ({iso_minute(last)}) is {days}"


def _aware(stamp_ms: int) -> datetime:
    return datetime.fromtimestamp(stamp_ms / 1_000, tz=UTC)


def _at(time: np.datetime64) -> str:
    return f"{np.datetime_as_string(time, unit='m')}Z"


def _first(flags: NDArray[np.bool_]) -> int:
    return int(flags.argmax())


def _share(flags: NDArray[np.bool_]) -> str:
    return f"{int(flags.sum()):,} of {len(flags):,} rows"


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "none"
