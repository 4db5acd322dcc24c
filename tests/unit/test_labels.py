"""Labels: hand-worked values, a plain pandas oracle, holes, look-ahead laws, and the barriers' order."""

import numpy as np
import pandas as pd
import pytest

from models_lib.config import LabelSection
from models_lib.errors import DataError
from models_lib.labels import (
    DOWN,
    NEUTRAL,
    UNKNOWN,
    UP,
    fit_threshold,
    in_label_units,
    label_classes,
    label_values,
    thresholds_of_rows,
)


def candles(close: np.ndarray, *, minutes: np.ndarray | None = None, spread: float = 0.0) -> pd.DataFrame:
    """Candles with the given closes; each opens at its own close and reaches `spread` (a share) above and below."""
    close = np.asarray(close, dtype=np.float64)
    minutes = np.arange(close.size) if minutes is None else minutes
    stamps = pd.to_datetime(1_746_403_200_000 + 60_000 * minutes, unit="ms", utc=True)
    return pd.DataFrame(
        {
            "timestamp": stamps.astype("datetime64[ms, UTC]"),
            "open": close,
            "high": close * (1 + spread),
            "low": close * (1 - spread),
            "close": close,
            "volume": np.ones(close.size),
        }
    )


def random_walk(rows: int, seed: int = 0, step: float = 1e-3) -> np.ndarray:
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, step, rows)))


def test_trend_is_the_mean_of_the_next_minus_the_mean_of_the_last_log_closes() -> None:
    log_close = np.array([0.0, 1.0, 4.0, 2.0, 7.0, 5.0])
    values = label_values(candles(np.exp(log_close)), LabelSection(lookback_minutes=3, horizon_minutes=2))
    # row 2: mean(2, 7) - mean(0, 1, 4) = 4.5 - 5/3; row 3: mean(7, 5) - mean(1, 4, 2) = 6 - 7/3
    assert values.value[2:4] == pytest.approx([4.5 - 5 / 3, 6 - 7 / 3], rel=1e-12)
    assert np.isnan(values.value[[0, 1, 4, 5]]).all()
    # g: log close minus the mean of the last three
    assert values.known_part[2:] == pytest.approx([4 - 5 / 3, 2 - 7 / 3, 7 - 13 / 3, 5 - 14 / 3], rel=1e-12)
    assert np.isnan(values.known_part[:2]).all()
    assert values.forward_return[:4] == pytest.approx([4, 1, 3, 3], rel=1e-12)
    assert np.isnan(values.forward_return[4:]).all()
    assert (values.span_minutes, values.lookback_minutes, values.known_part_inside) == (2, 3, True)


def test_trend_agrees_with_pandas_on_a_random_walk() -> None:
    frame = candles(random_walk(3_000))
    values = label_values(frame, LabelSection())
    log_close = np.log(frame["close"])
    past = log_close.rolling(60).mean()
    ahead = log_close.rolling(15).mean().shift(-15)
    np.testing.assert_allclose(values.value, (ahead - past).to_numpy(), atol=1e-12)
    np.testing.assert_allclose(values.known_part, (log_close - past).to_numpy(), atol=1e-12)
    rms = (log_close.diff() ** 2).rolling(240).mean() ** 0.5
    np.testing.assert_allclose(values.volatility, rms.to_numpy(), atol=1e-12)


def test_forward_return_is_its_own_value_and_g_is_the_last_return() -> None:
    close = np.array([1.0, 2.0, 4.0, 2.0])
    values = label_values(candles(close), LabelSection(kind="forward_return", horizon_minutes=2))
    assert values.value[:2] == pytest.approx([np.log(4), 0.0], abs=1e-15)
    assert values.known_part[2:] == pytest.approx([np.log(4), 0.0], abs=1e-15)
    assert np.isnan(values.value[2:]).all()
    assert np.isnan(values.known_part[:2]).all()
    assert not values.known_part_inside


@pytest.mark.parametrize("kind", ["trend", "forward_return", "triple_barrier"])
def test_nothing_reaches_across_a_hole(kind: str) -> None:
    close = random_walk(1_200, seed=2)
    minutes = np.arange(1_200)
    minutes[600:] += 30
    label = LabelSection(kind=kind)  # type: ignore[arg-type]
    joined = label_values(candles(close, minutes=minutes, spread=1e-3), label)
    parts = [
        label_values(candles(close[part], minutes=minutes[part], spread=1e-3), label)
        for part in (slice(0, 600), slice(600, 1_200))
    ]
    for name in ("value", "known_part", "forward_return", "volatility"):
        separate = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(getattr(joined, name), separate)


@pytest.mark.parametrize("kind", ["trend", "forward_return", "triple_barrier"])
def test_known_parts_ignore_the_future_and_values_end_at_their_span(kind: str) -> None:
    close = random_walk(900, seed=3)
    changed = close.copy()
    changed[701:] *= 1.37
    label = LabelSection(kind=kind)  # type: ignore[arg-type]
    before = label_values(candles(close, spread=1e-3), label)
    after = label_values(candles(changed, spread=1e-3), label)
    for name in ("known_part", "volatility"):
        np.testing.assert_array_equal(getattr(before, name)[:701], getattr(after, name)[:701])
    for name in ("value", "forward_return"):
        np.testing.assert_array_equal(getattr(before, name)[:686], getattr(after, name)[:686])  # 685 + 15 = 700
    assert before.forward_return[686] != after.forward_return[686]


def test_quantile_threshold_makes_that_share_of_the_training_rows_neutral() -> None:
    frame, label = candles(random_walk(5_000, seed=4)), LabelSection(quantile=0.25)
    values = label_values(frame, label)
    rows = np.flatnonzero(np.isfinite(values.value))[:3_000]
    threshold = fit_threshold(values, label, rows)
    classes = label_classes(values, label, threshold)
    assert np.mean(classes[rows] == NEUTRAL) == pytest.approx(0.25, abs=1e-3)
    assert (classes[np.isnan(values.value)] == UNKNOWN).all()
    assert (values.value[classes == UP] > threshold).all()
    assert (values.value[classes == DOWN] < -threshold).all()
    assert classes.dtype == np.int8
    assert (thresholds_of_rows(values, label, threshold) == threshold).all()


def test_threshold_looks_at_training_rows_only() -> None:
    close = random_walk(3_000, seed=5)
    wild = close.copy()
    wild[2_100:] = random_walk(900, seed=6, step=0.05)
    label, rows = LabelSection(), np.arange(60, 2_000)
    calm_fit = fit_threshold(label_values(candles(close), label), label, rows)
    assert calm_fit == fit_threshold(label_values(candles(wild), label), label, rows)


def test_volatility_scaled_threshold_is_in_units_of_the_last_240_minutes() -> None:
    rng = np.random.default_rng(7)
    step = np.where(np.arange(6_000) < 3_000, 1e-4, 1e-2)  # a hundred times wilder in the second half
    frame = candles(100 * np.exp(np.cumsum(rng.normal(size=6_000) * step)))
    shares = {}
    for threshold in ("quantile", "volatility_scaled"):
        label = LabelSection(threshold=threshold)  # type: ignore[arg-type]
        values = label_values(frame, label)
        rows = np.flatnonzero(np.isfinite(values.value) & np.isfinite(values.volatility))
        fitted = fit_threshold(values, label, rows[rows < 2_900])
        classes = label_classes(values, label, fitted)
        shares[threshold] = np.mean(classes[rows[rows > 3_400]] == NEUTRAL)
        known = classes[rows]
        beyond = np.abs(values.value[rows]) > thresholds_of_rows(values, label, fitted)[rows]
        np.testing.assert_array_equal(known != NEUTRAL, beyond)
    assert shares["quantile"] < 0.02
    assert 0.2 < shares["volatility_scaled"] < 0.5


def test_label_units_divide_by_volatility_only_where_the_threshold_is_scaled_by_it() -> None:
    values = label_values(candles(random_walk(500)), LabelSection())
    plain = in_label_units(values.known_part, values, LabelSection())
    scaled = in_label_units(values.known_part, values, LabelSection(threshold="volatility_scaled"))
    np.testing.assert_array_equal(plain, values.known_part)
    assert scaled[400] == values.known_part[400] / values.volatility[400]


def test_constant_price_gives_no_threshold_and_says_so() -> None:
    label = LabelSection()
    values = label_values(candles(np.full(500, 100.0)), label)
    assert values.value[100] == 0.0
    with pytest.raises(DataError, match=r"threshold at quantile 0.333 of 100 training rows is 0.0"):
        fit_threshold(values, label, np.arange(100, 200))


def barrier_frame(after: list[tuple[float, float, float, float]]) -> tuple[pd.DataFrame, int]:
    """61 bars at 100 with a range of 1 (so ATR = 1 and the barriers of 2 ATR are 102 and 98), then the given OHLC."""
    frame = candles(np.full(61 + len(after), 100.0))
    frame["high"], frame["low"] = 100.5, 99.5
    for offset, bar in enumerate(after):
        frame.loc[61 + offset, ["open", "high", "low", "close"]] = bar
    return frame, 60


QUIET = (100.0, 100.5, 99.5, 100.0)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([QUIET, QUIET, QUIET], NEUTRAL),
        ([QUIET, (100, 102.0, 99.5, 101), (100, 100, 97, 98)], UP),  # the target is touched first
        ([QUIET, (100, 100.5, 98.0, 99), (100, 103, 100, 103)], DOWN),  # the stop is touched first
        ([QUIET, QUIET, (100, 101.9, 98.1, 100)], NEUTRAL),  # close, but neither
        ([QUIET, (101, 102.5, 97.5, 100), QUIET], UP),  # both in one bar, which opens nearer to the target
        ([QUIET, (99, 102.5, 97.5, 100), QUIET], DOWN),  # both, nearer to the stop
        ([QUIET, (100, 102.5, 97.5, 100), QUIET], DOWN),  # both, equally near: the stop
        ([QUIET, (103, 104.0, 97.5, 100), QUIET], UP),  # opens beyond the target
        ([QUIET, QUIET, QUIET, (100, 110, 90, 100)], NEUTRAL),  # after the horizon
    ],
)
def test_triple_barrier_names_what_comes_first(after: list[tuple[float, float, float, float]], expected: int) -> None:
    frame, row = barrier_frame(after)
    label = LabelSection(kind="triple_barrier", horizon_minutes=3, barrier_atr_multiple=2.0)
    values = label_values(frame, label)
    threshold = fit_threshold(values, label, np.array([row]))
    assert threshold == 0.0
    classes = label_classes(values, label, threshold)
    assert classes[row] == expected
    assert classes[row - 1] == UNKNOWN  # 59 true ranges only
    assert (classes[len(frame) - 3 :] == UNKNOWN).all()
