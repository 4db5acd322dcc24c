"""Whether fetched candles can be what the market did: held against a second exchange, their own past and themselves.

No check refuses anything: each gives its figure beside the limit, and an alarm where the figure is beyond it. What could
not be measured is said. Bars are never changed here.

What does not belong here: the rules that candles must satisfy (checks.py), and asking the exchanges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from models_lib.candles.bars import Bars, moment
from models_lib.candles.schema import BAR_MS, PRICE_COLUMNS, VALUE_COLUMNS
from models_lib.config import ExchangeSection

CheckName = Literal[
    "median_deviation",
    "worst_deviation",
    "stuck_price",
    "jump",
    "volume_beside_second",
    "volume_beside_past",
    "changed",
]
FEWEST_MINUTES: Final = 60
"""With fewer minutes to compare nothing is said about them."""
FACTOR_BESIDE_SECOND: Final = 100.0
"""Volumes of two exchanges of the same coin: they differ in size, but a wrong unit is further off."""
FACTOR_BESIDE_PAST: Final = 20.0
"""Volumes of a day and of the four weeks before it: 0.18 to 8.9 on every day of two years of BTC and ETH."""
_BP: Final = 1e4
_NEAR_PRICE: Final = 3.0
_NEAR_POWER: Final = 2.0
"""A factor that is no further from a power of ten is likely that; nearly all are within 3 of one."""
_POWERS: Final = tuple(k for k in range(-9, 10) if abs(k) > 1)
_CLOSE, _VOLUME = VALUE_COLUMNS.index("close"), VALUE_COLUMNS.index("volume")

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One figure beside its limit.

    Attributes:
        name: the same from night to night.
        value: what was measured; None: it was not.
        limit: the largest value without an alarm.
        alarm: whether somebody should look.
        words: all of it in one sentence; the symbol is named by whoever tells it.
    """

    name: CheckName
    value: float | None
    limit: float
    alarm: bool
    words: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**vars(self)}


@dataclass(frozen=True)
class Checks:
    """All checks of one symbol, always the same ones in the same order."""

    symbol: str
    checks: tuple[Check, ...]

    @property
    def alarms(self) -> tuple[Check, ...]:
        """Those beyond their limits."""
        return tuple(check for check in self.checks if check.alarm)

    def to_json(self) -> list[dict[str, Any]]:
        """As plain JSON values."""
        return [check.to_json() for check in self.checks]


def cross_check(
    symbol: str,
    first: Bars,
    second: Bars | None,
    past: Bars,
    section: ExchangeSection,
    *,
    changed: Sequence[int] | None = None,
) -> Checks:
    """Every check of the newest bars of one symbol.

    Args:
        symbol: whose.
        first: the newest bars of the archive, a day of them as a rule.
        second: what the second exchange says about the same minutes; None: it was not asked, or gave nothing.
        past: the archive's bars of the four weeks before `first`.
        section: the exchanges' names and the limits.
        changed: open times in ms of stored bars that came back with other values, and kept the stored ones; None: nothing
            was fetched twice.
    """
    beside = _named_second(symbol, section)
    return Checks(
        symbol,
        (
            *_deviations(symbol, first, second, section),
            _stuck_price(first, section.max_stuck_minutes),
            _jump(first, past, second, section),
            _volume("volume_beside_second", first, second, beside, FACTOR_BESIDE_SECOND),
            _volume("volume_beside_past", first, past, "the weeks before", FACTOR_BESIDE_PAST),
            _changed(changed),
        ),
    )


def _named_second(symbol: str, section: ExchangeSection) -> str:
    return f"{section.second} {section.market(symbol, of_second=True)}" if section.second else "a second exchange"


def _not_measured(name: CheckName, limit: float, what: str, why: str) -> Check:
    return Check(name=name, value=None, limit=limit, alarm=False, words=f"{what}: not measured, {why}")


def _deviations(symbol: str, first: Bars, second: Bars | None, section: ExchangeSection) -> tuple[Check, Check]:
    """Median and worst distance of both exchanges' closes, in basis points of the second one's."""
    both = f"closes of {section.name} {section.market(symbol)} and {_named_second(symbol, section)}"
    limits = section.max_median_deviation_bp, section.max_worst_deviation_bp
    if why_not := _why_not(first, second, section):
        return (
            _not_measured("median_deviation", limits[0], both, why_not),
            _not_measured("worst_deviation", limits[1], both, why_not),
        )
    assert second is not None, "otherwise it is said why not"
    stamps, ours, theirs = _common(first, second)
    closes, others = first.values[ours, _CLOSE], second.values[theirs, _CLOSE]
    apart = _BP * np.abs(closes / others - 1.0)
    median, worst = float(np.median(apart)), int(apart.argmax())
    minutes = f"{stamps.size:,} common minutes"
    return (
        _judged(
            "median_deviation",
            median,
            limits[0],
            f"{both} are {median:,.1f} bp apart in the median of {minutes} (at most {limits[0]:g})",
            "Look whether both are the same coin in the same currency, or raise exchange.max_median_deviation_bp",
        ),
        _judged(
            "worst_deviation",
            float(apart[worst]),
            limits[1],
            f"{both} are {apart[worst]:,.1f} bp apart in the worst of {minutes} (at most {limits[1]:g}): "
            f"{closes[worst]:.10g} and {others[worst]:.10g} at {moment(int(stamps[worst]))}",
            "Look at this minute on both exchanges, or raise exchange.max_worst_deviation_bp",
        ),
    )


def _why_not(first: Bars, second: Bars | None, section: ExchangeSection) -> str | None:
    """Why there is nothing to say about two exchanges; None where there is."""
    if section.second is None:
        return "no second exchange is configured (exchange.second)"
    if second is None:
        return f"{section.second} gave no candles"
    minutes = _common(first, second)[0].size
    return None if minutes >= FEWEST_MINUTES else f"{minutes} common minutes (at least {FEWEST_MINUTES} needed)"


def _common(first: Bars, second: Bars) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.intp]]:
    """The open times that both have, and their rows in each."""
    stamps, ours, theirs = np.intersect1d(first.stamps, second.stamps, assume_unique=True, return_indices=True)
    return stamps, ours, theirs


def _stuck_price(first: Bars, limit: int) -> Check:
    """The longest run of traded minutes whose four prices are all one and the same.

    A minute without trades says nothing about the price, whether the exchange leaves it out or not: it neither counts nor
    ends a run.
    """
    traded = first.values[:, _VOLUME] > 0
    prices, stamps = first.values[traded][:, : len(PRICE_COLUMNS)], first.stamps[traded]
    if stamps.size == 0:
        return _not_measured("stuck_price", limit - 1, "one price for many minutes", "no minute has trades")
    flat = (prices == prices[:, :1]).all(axis=1)
    ends = ~flat[:-1] | ~flat[1:] | (prices[1:, 0] != prices[:-1, 0])
    starts = np.append(0, np.flatnonzero(ends) + 1)
    lengths = np.diff(np.append(starts, stamps.size)) * flat[starts]
    minutes, start = int(lengths.max()), starts[lengths.argmax()]
    where = f": {prices[start, 0]:.10g} from {moment(int(stamps[start]))}" if minutes else ""
    return _judged(
        "stuck_price",
        minutes,
        limit - 1,
        f"{minutes:,} traded minutes in a row have one and the same price (at most {limit - 1:,}){where}",
        "Look whether the exchange's feed stood still, or raise exchange.max_stuck_minutes",
    )


def _jump(first: Bars, past: Bars, second: Bars | None, section: ExchangeSection) -> Check:
    """The largest change from one minute's close to the next minute's; nothing reaches across a hole."""
    stamps = np.append(past.stamps[-1:], first.stamps)
    closes = np.append(past.values[-1:, _CLOSE], first.values[:, _CLOSE])
    limit, adjacent = section.max_jump_bp, np.flatnonzero(np.diff(stamps) == BAR_MS)
    if adjacent.size == 0:
        return _not_measured("jump", limit, "jumps from close to close", "no two minutes are adjacent")
    sizes = _BP * np.abs(closes[adjacent + 1] / closes[adjacent] - 1.0)
    row = int(adjacent[sizes.argmax()])
    largest, beyond = float(sizes.max()), int((sizes > limit).sum())
    return _judged(
        "jump",
        largest,
        limit,
        f"the largest change from close to close is {largest:,.0f} bp (at most {limit:,.0f}): {closes[row]:.10g} to "
        f"{closes[row + 1]:.10g} at {moment(int(stamps[row + 1]))}{_said_by_second(int(stamps[row + 1]), second, section)}",
        f"So in {beyond:,} minutes; the bars are kept. Look at them on the exchange, or raise exchange.max_jump_bp",
    )


def _said_by_second(stamp: int, second: Bars | None, section: ExchangeSection) -> str:
    """What the second exchange's close was then: a jump that both saw did happen."""
    if second is None:
        return ""
    there = second.values[second.stamps == stamp, _CLOSE]
    return f", where {section.second} has {there[0]:.10g}" if there.size else ""


def _volume(name: CheckName, first: Bars, other: Bars | None, beside: str, limit: float) -> Check:
    """How far the volume's worth of a traded minute, in the median, is from another one's: a wrong unit is far."""
    what = f"volume beside {beside}"
    if other is None:
        return _not_measured(name, limit, what, "there are no candles of it")
    ours, theirs = _worth(first), _worth(other)
    if (fewest := min(ours.size, theirs.size)) < FEWEST_MINUTES:
        return _not_measured(name, limit, what, f"{fewest} traded minutes (at least {FEWEST_MINUTES} needed)")
    factor = float(np.median(ours) / np.median(theirs))
    times = max(factor, 1.0 / factor)
    return _judged(
        name,
        times,
        limit,
        f"volume times price of a minute is, in the median, {_rounded(factor)} times that of {beside} "
        f"(at most {limit:g} times more or less)",
        _likely_unit(factor, float(np.median(first.values[:, _CLOSE]))),
    )


def _rounded(factor: float) -> str:
    """Three digits, and no exponent where a person can read the number without one: 0.351, 1,998."""
    return f"{factor:,.0f}" if 1_000.0 <= factor < 1e9 else f"{factor:.3g}"


def _worth(bars: Bars) -> Floats:
    """Volume times close of the minutes with trades."""
    worth = bars.values[:, _VOLUME] * bars.values[:, _CLOSE]
    traded: Floats = worth[worth > 0]
    return traded


def _likely_unit(factor: float, price: float) -> str:
    """What makes volumes wrong by such a factor."""
    if _near(factor, price, _NEAR_PRICE):
        return f"The price is {price:.6g}: the volume is likely counted in the quote currency instead of the base coin"
    if _near(factor, 1.0 / price, _NEAR_PRICE):
        return f"The price is {price:.6g}: the other volume is likely counted in the quote currency"
    power = min(_POWERS, key=lambda k: abs(np.log10(factor) - k))
    if _near(factor, 10.0**power, _NEAR_POWER):
        return f"That is near 10^{power}: the volumes are likely counted in units of different size, such as lots"
    return "No usual mix-up of units explains it: look at the market's volume on the exchange"


def _near(factor: float, other: float, within: float) -> bool:
    return bool(abs(np.log(factor / other)) <= np.log(within))


def _changed(changed: Sequence[int] | None) -> Check:
    what = "bars beside those of the previous fetch"
    if changed is None:
        return _not_measured("changed", 0.0, what, "nothing was fetched twice")
    where = f", the first at {moment(min(changed))}" if changed else ""
    return _judged(
        "changed",
        float(len(changed)),
        0.0,
        f"{len(changed):,} stored bars came back with other values (0 expected){where}",
        "The stored values are kept. Fetch the span into an empty archive to see which are right",
    )


def _judged(name: CheckName, value: float, limit: float, fact: str, remedy: str) -> Check:
    """A figure that alarms above its limit, and then says what to do."""
    alarm = value > limit
    return Check(name=name, value=value, limit=limit, alarm=alarm, words=f"{fact}. {remedy}." if alarm else fact)
