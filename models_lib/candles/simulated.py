"""The embedded market: candles that behave like those of a real one, from a seed.

Kinds of market:

* `default`: log-volatility is a sum of four mean-reverting parts (time scales of minutes, hours, a day and days; large
  moves excite the two fast ones) and of a weekly clock (hours of the day, week-ends, quarter hours). Shocks are Student-t.
  Volume follows volatility, the size of the minute's move, its own clock and its own memory. Direction has one small
  component: a price away from its 30-minute moving average is pulled back by at most `PULL` standard deviations a minute.
* `null`: the same noise, hence the same volatility, volume and clock to within that pull, but no pull: the log price is a
  martingale with symmetric steps, so direction is unpredictable.
* `iid`: Gaussian steps of constant volatility and independent volume, no clock: nothing is predictable.
* `planted`: as `iid`, plus a documented drift (see planted.py): r(t+1) = sum_i PLANTED_WEIGHTS[i] m_i(t) + sigma e(t+1)
  with m_i the exponential moving average of span PLANTED_SPANS[i] of the past log returns.

Open, high, low and close come from a path of 16 steps a minute. Every day has its own random stream, named by (symbol,
seed, start, number of the day), so a longer market begins with the shorter one.

What does not belong here: any real data, and correlation between symbols (each symbol is a market of its own).
"""

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models_lib.candles.schema import BAR_MS, CANDLE_COLUMNS, TIMESTAMP_DTYPE

MarketKind = Literal["default", "null", "iid", "planted"]
Floats = NDArray[np.float64]

SIMULATED_START: Final = datetime(2025, 9, 29, tzinfo=UTC)
"""Open time of the first bar; a Monday."""
DAY_MINUTES: Final = 1_440

PULL: Final = 0.02
"""Largest pull of the `default` market towards the moving average, in standard deviations of a minute's return."""
PULL_SPAN: Final = 30
"""Span of that moving average of the log price, in bars."""

PLANTED_SPANS: Final = (15, 240)
"""Spans of the moving averages that drive the `planted` market: momentum of minutes, reversal of hours."""
PLANTED_WEIGHTS: Final = (0.9, -4.0)
"""Their weights in the next log return: chosen so that `trend` and `forward_return` both have far more to be known than
the mechanical rule knows, while the process stays stationary in its returns and the price near its start."""
CONSTANT_VOLATILITY: Final = 6e-4
"""Standard deviation of a minute's log return (without drift) in the `iid` and `planted` markets."""

_STEPS: Final = 16  # of the path inside a minute
_SHOCK_FREEDOM: Final = 4.5  # degrees of freedom of the Student-t shocks
_MEMORY_MINUTES: Final = (12.0, 100.0, 1_000.0, 10_000.0)  # of the parts of log-volatility
_PART_STD: Final = (0.22, 0.26, 0.20, 0.22)  # of the parts of log-volatility
_EXCITATION: Final = (0.55, 0.45, 0.0, 0.0)  # share of a part's innovation that is the size of the last shock
_MEAN_SIZE: Final = 0.72  # mean of |shock|, shocks of unit variance with _SHOCK_FREEDOM, cut off at _LARGEST_SIZE
_STD_SIZE: Final = 0.67  # its standard deviation
_LARGEST_SIZE: Final = 6.0
_LARGEST_LOG_VOLATILITY: Final = 2.2  # parts together, either side

_VOLUME_ON_VOLATILITY: Final = 1.15  # log volume on the parts of log-volatility
_VOLUME_ON_SIZE: Final = 0.65  # log volume on the log of the minute's range in units of its volatility
_VOLUME_MEMORY_MINUTES: Final = 20.0
_VOLUME_MEMORY_STD: Final = 0.45
_VOLUME_NOISE_STD: Final = 0.42
_CONSTANT_VOLUME_STD: Final = 0.8  # of log volume, iid and planted

# Shape of the day by hour (UTC) relative to its mean, and of the week: rounded common knowledge of 24-hour crypto markets.
_HOUR_VOLATILITY: Final = (
    1.22, 1.12, 1.00, 0.85, 0.76, 0.72, 0.75, 0.85, 0.88, 0.82, 0.78, 0.80,
    0.92, 1.10, 1.32, 1.26, 1.18, 1.14, 1.10, 1.06, 1.04, 1.06, 1.06, 1.00,
)  # fmt: skip
_HOUR_VOLUME: Final = (
    1.22, 1.00, 0.87, 0.72, 0.64, 0.60, 0.67, 0.88, 0.90, 0.84, 0.77, 0.84,
    1.00, 1.28, 1.62, 1.42, 1.30, 1.30, 1.08, 1.00, 0.97, 0.78, 0.98, 0.90,
)  # fmt: skip
_WEEKEND_VOLATILITY: Final = (0.78, 0.88)  # Saturday, Sunday
_WEEKEND_VOLUME: Final = (0.62, 0.78)
_QUARTER_HOUR: Final = {0: 0.10, 14: -0.15}  # log-volatility and log volume by minute of the quarter hour
_FULL_HOUR_VOLUME: Final = 0.20  # log volume of the first minute of an hour
_OPENING_MINUTE: Final = 13 * 60 + 30  # the stock exchanges of New York open, on working days
_OPENING: Final = (0.30, 0.50)  # log-volatility and log volume of that minute
_OPENING_MEMORY_MINUTES: Final = 30.0


@dataclass(frozen=True)
class Profile:
    """The level of one symbol's market."""

    price: float
    """Close before the first bar."""
    tick: float
    """Smallest step of a price."""
    volatility: float
    """Root mean square of a minute's log return in the `default` and `null` markets."""
    volume: float
    """Median volume of a minute in the base coin."""


_PROFILES: Final = {
    "BTC-USD": Profile(price=79_568.0, tick=0.1, volatility=6.0e-4, volume=20.0),
    "ETH-USD": Profile(price=2_977.0, tick=0.01, volatility=9.0e-4, volume=400.0),
    "SOL-USD": Profile(price=140.0, tick=0.01, volatility=1.0e-3, volume=5_000.0),
}


def profile_of(symbol: str) -> Profile:
    """The level of the symbol's market; for names without one of their own it is derived from a hash of the name."""
    if symbol in _PROFILES:
        return _PROFILES[symbol]
    uniform = np.random.default_rng(_entropy(symbol)).random(3)
    price = float(f"{10.0 ** (4.0 * uniform[0] - 1.0):.4g}")
    return Profile(
        price=price,
        tick=10.0 ** (math.floor(math.log10(price)) - 4),
        volatility=float(8e-4 + 6e-4 * uniform[1]),
        volume=float(10.0 ** (5.5 + uniform[2]) / price),
    )


def simulate_candles(
    symbol: str, *, market: MarketKind, seed: int, days: int, start: datetime = SIMULATED_START
) -> pd.DataFrame:
    """The candles of `days` x 1,440 minutes without holes: the same arguments give the same candles.

    Args:
        symbol: names the level of the market and, with seed and start, its random stream.
        market: the kind of market; `default` and `null` of one seed share their noise.
        seed: at least 0.
        days: at least 1; more days only add rows at the end.
        start: open time of the first bar, aware, on a whole minute.

    Returns:
        Columns as CANDLE_COLUMNS; prices are positive multiples of the tick.

    Raises:
        ValueError: `start` is naive or not on a whole minute, or `days` is below 1.
    """
    if start.tzinfo is None or start.second or start.microsecond:
        raise ValueError(f"start must be aware and on a whole minute, was {start.isoformat()}")
    if days < 1:
        raise ValueError(f"days must be at least 1, was {days}")
    first_minute = int(start.timestamp()) // 60
    profile = profile_of(symbol)
    entropy = _entropy(f"{symbol}|{seed}|{first_minute}")
    if market in ("default", "null"):
        paths, volumes, first_tick = _live_market(
            entropy, days, first_minute, PULL if market == "default" else 0.0, profile
        )
        tick = profile.tick
    else:
        paths, volumes = _constant_market(entropy, days, PLANTED_WEIGHTS if market == "planted" else (0.0, 0.0))
        first_tick = np.zeros(len(paths))
        tick = profile.tick / 100.0  # fine enough that rounding hides nothing of the planted state
    volumes *= profile.volume
    return _candles(paths, volumes, first_tick, first_minute=first_minute, price=profile.price, tick=tick)


def _entropy(name: str) -> list[int]:
    """Eight 32-bit numbers that stand for `name`."""
    return [int(word) for word in np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")]


def _stream(entropy: list[int], day: int) -> np.random.Generator:
    """The random stream of one day; day -1 is that of the state before the first bar."""
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(day + 1,)))


def _candles(
    paths: Floats, volumes: Floats, first_tick: Floats, *, first_minute: int, price: float, tick: float
) -> pd.DataFrame:
    """Prices on the tick grid from log paths.

    Args:
        paths: log price relative to the start at the open, highest, lowest and last point of each minute, [N, 4].
        volumes: [N], in the base coin.
        first_tick: ticks by which the first trade of a minute misses the last close, [N].
        first_minute: minutes since 1970.
        price: close before the first bar.
        tick: smallest step.
    """
    ticks = np.maximum(np.rint(price * np.exp(paths) / tick), 2.0)
    opens = ticks[:, 0] + first_tick
    decimals = max(0, math.ceil(-math.log10(tick) - 1e-9))
    columns: dict[str, Any] = {
        "timestamp": pd.Series((first_minute + np.arange(len(paths), dtype=np.int64)) * BAR_MS).astype(TIMESTAMP_DTYPE),
        "open": opens,
        "high": np.maximum(ticks[:, 1], opens),
        "low": np.minimum(ticks[:, 2], opens),
        "close": ticks[:, 3],
    }
    for name in ("open", "high", "low", "close"):
        columns[name] = np.round(columns[name] * tick, decimals)
    columns["volume"] = np.maximum(np.round(volumes, 4), 1e-4)
    return pd.DataFrame(columns, columns=list(CANDLE_COLUMNS))


def _live_market(
    entropy: list[int], days: int, first_minute: int, pull: float, profile: Profile
) -> tuple[Floats, Floats, Floats]:
    """Paths [N, 4], relative volumes [N] and ticks of the first trade [N] of the `default` or `null` market."""
    clock = _weekly_clock()
    parts = len(_PART_STD)
    before = _stream(entropy, -1).standard_normal(parts + 1)
    part_std = np.array(_PART_STD)
    # parts of log-volatility, memory of volume, log price, gap of the log price to its moving average
    state = np.concatenate((before[:parts] * part_std, before[parts:] * _VOLUME_MEMORY_STD, [0.0, 0.0]))
    level = math.log(profile.volatility) - float((part_std**2).sum())
    paths, volumes = np.empty((days * DAY_MINUTES, 4)), np.empty(days * DAY_MINUTES)
    first_tick = np.empty(days * DAY_MINUTES)
    for day in range(days):
        stream = _stream(entropy, day)
        rows = slice(day * DAY_MINUTES, (day + 1) * DAY_MINUTES)
        minutes = (first_minute + 3 * DAY_MINUTES + np.arange(rows.start, rows.stop)) % (7 * DAY_MINUTES)
        mixing = (_SHOCK_FREEDOM - 2.0) / stream.chisquare(_SHOCK_FREEDOM, DAY_MINUTES)
        steps = stream.standard_normal((DAY_MINUTES, _STEPS))
        innovations = stream.standard_normal((DAY_MINUTES, parts + 2))
        first_tick[rows] = np.rint(stream.uniform(-1.0, 1.0, DAY_MINUTES))
        _live_day(state, level, pull, clock[minutes], mixing, steps, innovations, paths[rows], volumes[rows])
    return paths, np.exp(volumes), first_tick


def _weekly_clock() -> Floats:
    """Additions to log-volatility and to log volume for each minute of the week from Monday 00:00, [10080, 2]."""
    minutes = np.arange(7 * DAY_MINUTES)
    clock = np.empty((7 * DAY_MINUTES, 2))
    for column, (hours, weekend) in enumerate(
        ((_HOUR_VOLATILITY, _WEEKEND_VOLATILITY), (_HOUR_VOLUME, _WEEKEND_VOLUME))
    ):
        week = np.log(np.outer([1.0] * 5 + list(weekend), list(hours))).ravel()
        centres = np.arange(-1, 7 * 24 + 1) * 60.0 + 30.0
        clock[:, column] = np.interp(minutes, centres, np.concatenate((week[-1:], week, week[:1])))
    since_opening = minutes % DAY_MINUTES - _OPENING_MINUTE
    is_open = (since_opening >= 0) & (minutes < 5 * DAY_MINUTES)
    clock[is_open] += np.exp(-since_opening[is_open, None] / _OPENING_MEMORY_MINUTES) * _OPENING
    for minute, addition in _QUARTER_HOUR.items():
        clock[minutes % 15 == minute] += addition
    clock[minutes % 60 == 0, 1] += _FULL_HOUR_VOLUME
    clock[:, 0] -= np.log(np.exp(2.0 * clock[:, 0]).mean()) / 2.0
    clock[:, 1] -= clock[:, 1].mean()
    return clock


_KEEP = np.exp(-1.0 / np.array(_MEMORY_MINUTES))
_INNOVATION = np.array(_PART_STD) * np.sqrt(1.0 - _KEEP**2)
_EXCITED = np.array(_EXCITATION)
_UNEXCITED = np.sqrt(1.0 - _EXCITED**2)
_VOLUME_KEEP = math.exp(-1.0 / _VOLUME_MEMORY_MINUTES)
_VOLUME_INNOVATION = _VOLUME_MEMORY_STD * math.sqrt(1.0 - _VOLUME_KEEP**2)
_PULL_KEEP = 1.0 - 2.0 / (PULL_SPAN + 1.0)
_GAP_STD = _PULL_KEEP / math.sqrt(1.0 - _PULL_KEEP**2)  # of a random walk's gap to its moving average, in steps


@numba.njit(cache=True, nogil=True)
def _live_day(  # noqa: PLR0917  (compiled code takes no keyword-only arguments)
    state: Floats,
    level: float,
    pull: float,
    clock: Floats,
    mixing: Floats,
    steps: Floats,
    innovations: Floats,
    paths: Floats,
    log_volumes: Floats,
) -> None:
    """Fills one day of `paths` [M, 4] and `log_volumes` [M] and moves `state` on; arguments as in _live_market."""
    parts = len(_KEEP)
    for t in range(len(mixing)):
        log_volatility = 0.0
        for part in range(parts):
            log_volatility += state[part]
        log_volatility = min(max(log_volatility, -_LARGEST_LOG_VOLATILITY), _LARGEST_LOG_VOLATILITY)
        sigma = math.exp(level + log_volatility + clock[t, 0])
        drift = -pull * sigma * math.tanh(state[parts + 2] / (sigma * _GAP_STD))
        opened = state[parts + 1]
        lowest, highest = _walk(opened, drift, sigma * math.sqrt(mixing[t]), steps[t], paths[t])
        move = paths[t, 3] - opened
        size = min(abs(move - drift) / sigma, _LARGEST_SIZE)
        excitement = (size - _MEAN_SIZE) / _STD_SIZE
        for part in range(parts):
            shock = _UNEXCITED[part] * innovations[t, part] + _EXCITED[part] * excitement
            state[part] = _KEEP[part] * state[part] + _INNOVATION[part] * shock
        state[parts] = _VOLUME_KEEP * state[parts] + _VOLUME_INNOVATION * innovations[t, parts]
        state[parts + 1] = paths[t, 3]
        state[parts + 2] = _PULL_KEEP * (state[parts + 2] + move)
        log_volumes[t] = (
            clock[t, 1]
            + _VOLUME_ON_VOLATILITY * log_volatility
            + _VOLUME_ON_SIZE * math.log(0.1 + (highest - lowest) / sigma)
            + state[parts]
            + _VOLUME_NOISE_STD * innovations[t, parts + 1]
        )


@numba.njit(cache=True, nogil=True)
def _walk(opened: float, drift: float, sigma: float, steps: Floats, path: Floats) -> tuple[float, float]:
    """Fills `path` (open, highest, lowest, last point) with a walk over `steps`; returns lowest and highest."""
    point, lowest, highest = opened, opened, opened
    step_drift, step_sigma = drift / len(steps), sigma / math.sqrt(len(steps))
    for step in steps:
        point += step_drift + step_sigma * step
        lowest, highest = min(lowest, point), max(highest, point)
    path[0], path[1], path[2], path[3] = opened, highest, lowest, point
    return lowest, highest


def _constant_market(entropy: list[int], days: int, weights: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Paths [N, 4] and relative volumes [N] of the `iid` (weights 0) or `planted` market."""
    state = np.zeros(1 + len(weights))  # log price, moving averages of its steps
    paths, volumes = np.empty((days * DAY_MINUTES, 4)), np.empty(days * DAY_MINUTES)
    decay = np.array([1.0 - 2.0 / (span + 1.0) for span in PLANTED_SPANS])
    for day in range(days):
        stream = _stream(entropy, day)
        rows = slice(day * DAY_MINUTES, (day + 1) * DAY_MINUTES)
        steps = stream.standard_normal((DAY_MINUTES, _STEPS))
        volumes[rows] = np.exp(_CONSTANT_VOLUME_STD * stream.standard_normal(DAY_MINUTES))
        _constant_day(state, np.array(weights), decay, steps, paths[rows])
    return paths, volumes


@numba.njit(cache=True, nogil=True)
def _constant_day(state: Floats, weights: Floats, decay: Floats, steps: Floats, paths: Floats) -> None:
    """Fills one day of `paths` [M, 4] and moves `state` on; arguments as in _constant_market."""
    for t in range(len(steps)):
        opened = state[0]
        drift = 0.0
        for i in range(len(weights)):
            drift += weights[i] * state[1 + i]
        _walk(opened, drift, CONSTANT_VOLATILITY, steps[t], paths[t])
        move = paths[t, 3] - opened
        state[0] = paths[t, 3]
        for i in range(len(weights)):
            state[1 + i] = decay[i] * state[1 + i] + (1.0 - decay[i]) * move
