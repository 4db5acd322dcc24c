"""Laws over all 72 features: causal, the same live as in training, scale free, finite, never across a hole."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.features import FEATURE_NAMES, FEATURES, SERVING_BARS, WARM_UP_BARS, compute_features
from models_lib.features.definitions import DEPENDENCY_BARS
from models_lib.features.measures import Measures
from tests.unit.features.laws import (
    assert_causal,
    assert_holes_not_bridged,
    assert_newest_row_needs_only,
    assert_scale_free,
)
from tests.unit.features.markets import nasty_candles, with_hole

ROWS = 2_600
stretches = st.tuples(st.integers(0, ROWS - 1), st.integers(0, 1_700)).map(lambda s: (s[0], min(s[0] + s[1], ROWS)))
markets = st.builds(
    nasty_candles,
    seed=st.integers(0, 2**32 - 1),
    rows=st.just(ROWS),
    tick=st.sampled_from([1e-6, 0.01, 0.5]),
    flat=stretches,
    silent=stretches,
    spike=st.sampled_from([1.0, 1e9]),
)


def peeking_features(candles: pd.DataFrame) -> np.ndarray:
    """The features with a fault: the first one looks one bar ahead."""
    out = compute_features(candles)
    out[:-1, 0] = out[1:, 0]
    return out


def stretched_features(candles: pd.DataFrame) -> np.ndarray:
    """The features with a fault: the first one counts from the start of the frame."""
    out = compute_features(candles)
    out[:, 0] += np.arange(len(out), dtype=np.float32)
    return out


def bridging_features(candles: pd.DataFrame) -> np.ndarray:
    """The features with a fault: holes are glued shut."""
    glued = candles.assign(timestamp=pd.date_range(candles["timestamp"].iloc[0], periods=len(candles), freq="min"))
    return compute_features(glued)


@settings(max_examples=15, deadline=None)
@given(candles=markets, row=st.integers(WARM_UP_BARS + 1, ROWS - 1))
def test_features_are_causal(candles: pd.DataFrame, row: int) -> None:
    assert_causal(compute_features, candles, row)


def test_causality_law_catches_a_feature_that_peeks_one_bar_ahead(simulated: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match=r"later bars changed: columns \[0\]"):
        assert_causal(peeking_features, simulated.iloc[:3_000], 2_500)


def test_newest_row_from_serving_bars_equals_full_history(simulated: pd.DataFrame) -> None:
    ends = [SERVING_BARS + 1, 5_000, 6_143, 6_144, 6_145, 8_191, len(simulated) - 1, len(simulated)]
    assert_newest_row_needs_only(SERVING_BARS, compute_features, simulated, ends)


def test_newest_row_needs_no_more_than_the_declared_dependency(simulated: pd.DataFrame) -> None:
    rng = np.random.default_rng(5)
    ends = rng.integers(DEPENDENCY_BARS + 1, len(simulated), 40).tolist()
    assert_newest_row_needs_only(DEPENDENCY_BARS + 1, compute_features, simulated, ends)
    assert SERVING_BARS > DEPENDENCY_BARS


def test_newest_row_from_serving_bars_equals_full_history_after_a_hole(simulated: pd.DataFrame) -> None:
    holed = with_hole(simulated, 5_000, 7)
    ends = [5_001, 5_000 + WARM_UP_BARS, 5_001 + WARM_UP_BARS, 6_700, 9_095, 9_096, 9_097, 10_000]
    assert_newest_row_needs_only(SERVING_BARS, compute_features, holed, ends)


def test_serving_law_catches_a_value_that_depends_on_the_start(simulated: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match=r"columns \[0\] differ"):
        assert_newest_row_needs_only(SERVING_BARS, stretched_features, simulated, [6_000])


@settings(max_examples=15, deadline=None)
@given(candles=markets, price_factor=st.floats(1e-6, 1e6), volume_factor=st.floats(1e-6, 1e6))
def test_features_are_scale_free(candles: pd.DataFrame, price_factor: float, volume_factor: float) -> None:
    assert_scale_free(compute_features, candles, price_factor=price_factor, volume_factor=volume_factor, tolerance=1e-4)


def test_scale_law_catches_a_raw_price(simulated: pd.DataFrame) -> None:
    def with_raw_price(candles: pd.DataFrame) -> np.ndarray:
        out = compute_features(candles)
        out[:, 5] = candles["close"]
        return out

    with pytest.raises(AssertionError, match="column 5 moved"):
        assert_scale_free(with_raw_price, simulated.iloc[:3_000], price_factor=2.0, volume_factor=1.0, tolerance=1e-4)


@settings(max_examples=25, deadline=None)
@given(candles=markets)
def test_features_are_finite_after_the_warm_up_and_only_there(candles: pd.DataFrame) -> None:
    features = compute_features(candles)
    assert np.isnan(features[:WARM_UP_BARS]).all()
    assert np.isfinite(features[WARM_UP_BARS:]).all()


@pytest.mark.parametrize("what", ["prices", "volumes", "both"])
def test_features_are_finite_when_nothing_ever_happens(simulated: pd.DataFrame, what: str) -> None:
    candles = simulated.iloc[:2_500].copy()
    if what != "volumes":
        candles[["open", "high", "low", "close"]] = 79_568.14
    if what != "prices":
        candles["volume"] = 0.0
    assert np.isfinite(compute_features(candles)[WARM_UP_BARS:]).all()


def test_warm_up_declared_is_warm_up_measured(simulated: pd.DataFrame) -> None:
    columns = {name: simulated[name].to_numpy(copy=True) for name in ("high", "low", "close", "volume")}
    measures = Measures(0, open_=simulated["open"].to_numpy(copy=True), **columns)
    for feature in FEATURES:
        values = feature.compute(measures)
        missing = np.flatnonzero(np.isnan(values))
        assert len(missing) == feature.warm_up_bars, feature.name
        np.testing.assert_array_equal(missing, np.arange(feature.warm_up_bars), err_msg=feature.name)
    first_row = int(np.flatnonzero(np.isfinite(compute_features(simulated)).all(axis=1))[0])
    assert first_row == WARM_UP_BARS == max(feature.warm_up_bars for feature in FEATURES)


@settings(max_examples=10, deadline=None)
@given(candles=markets, row=st.integers(1, ROWS - 10), minutes=st.integers(1, 9))
def test_holes_are_never_bridged(candles: pd.DataFrame, row: int, minutes: int) -> None:
    assert_holes_not_bridged(compute_features, with_hole(candles, row, minutes), row)


def test_hole_law_catches_features_that_glue_holes_shut(simulated: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match="the segment after the hole"):
        assert_holes_not_bridged(bridging_features, with_hole(simulated.iloc[:4_000], 2_000, 30), 2_000)


@pytest.mark.candles
def test_laws_hold_on_real_candles(real_candles: Path) -> None:
    candles = pd.read_parquet(real_candles / "perp-50d" / "SOL-USD.parquet").iloc[-30_000:].reset_index(drop=True)
    assert_causal(compute_features, candles, 20_000)
    assert_newest_row_needs_only(SERVING_BARS, compute_features, candles, [9_999, 17_882, 17_883, 30_000])
    assert_scale_free(compute_features, candles, price_factor=1.1, volume_factor=1e-3, tolerance=1e-4)


@pytest.mark.candles
def test_real_holes_cost_their_warm_up_and_nothing_else(real_candles: Path) -> None:
    candles = pd.read_parquet(real_candles / "spot-2y" / "SOL-USD.parquet")
    features = compute_features(candles, threads=2)
    known = np.isfinite(features).all(axis=1)
    assert (known | np.isnan(features).all(axis=1)).all()
    # 157,051 rows in four segments (the gaps of SOL-USD), each longer than the warm-up
    assert known.sum() == 157_051 - 4 * WARM_UP_BARS


def test_names_are_72_and_unique() -> None:
    assert len(FEATURE_NAMES) == len(set(FEATURE_NAMES)) == 72
