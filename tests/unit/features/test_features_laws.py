"""Laws over all features of all sets: causal, the same live as in training, finite, never across a hole.

The current set is scale free besides; raw72 says which of its columns follow the prices and which the volumes.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.features import (
    CURRENT,
    RAW72,
    SERVING_BARS,
    WARM_UP_BARS,
    FeatureSet,
    compute_features,
    joined,
    selected,
)
from models_lib.features.definitions import DEPENDENCY_BARS
from models_lib.features.measures import Measures
from tests.unit.features.laws import (
    Compute,
    assert_causal,
    assert_holes_not_bridged,
    assert_newest_row_needs_only,
    assert_scale_free,
    assert_scales,
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
SETS = (CURRENT, RAW72, joined(RAW72, CURRENT))
of_every_set = pytest.mark.parametrize(
    "compute", [pytest.param(partial(compute_features, features=known), id=known.name) for known in SETS]
)
PRICED = [
    place
    for place, name in enumerate(RAW72.names)
    if name in {"open", "high", "low", "close", "true_range", "typical_price", "body", "candle_range"}
    or name in {"bollinger_upper", "bollinger_middle", "bollinger_lower", "upper_shadow", "lower_shadow"}
    or name.startswith(("sma_", "ema_", "macd", "atr_", "momentum_", "highest_", "lowest_", "vwap_"))
]
"""Columns of raw72 in the quote currency."""
IN_VOLUME = [RAW72.names.index(name) for name in ("volume", "volume_mean_10", "volume_mean_30")]
"""Columns of raw72 in the base coin."""
SCALES = (
    *((name, 0.0, 100.0) for name in RAW72.names if name.endswith(("_percent", "_di_14")) or "stochastic" in name),
    ("williams_r_14", -100.0, 0.0),
    ("volume_ratio_30", 0.0, 30.0),
)
"""Columns of raw72 with ends."""


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


@of_every_set
@settings(max_examples=15, deadline=None)
@given(candles=markets, row=st.integers(WARM_UP_BARS + 1, ROWS - 1))
def test_features_are_causal(candles: pd.DataFrame, row: int, compute: Compute) -> None:
    assert_causal(compute, candles, row)


def test_causality_law_catches_a_feature_that_peeks_one_bar_ahead(simulated: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match=r"later bars changed: columns \[0\]"):
        assert_causal(peeking_features, simulated.iloc[:3_000], 2_500)


@of_every_set
def test_newest_row_from_serving_bars_equals_full_history(simulated: pd.DataFrame, compute: Compute) -> None:
    ends = [SERVING_BARS + 1, 5_000, 6_143, 6_144, 6_145, 8_191, len(simulated) - 1, len(simulated)]
    assert_newest_row_needs_only(SERVING_BARS, compute, simulated, ends)


@of_every_set
def test_newest_row_needs_no_more_than_the_declared_dependency(simulated: pd.DataFrame, compute: Compute) -> None:
    rng = np.random.default_rng(5)
    ends = rng.integers(DEPENDENCY_BARS + 1, len(simulated), 40).tolist()
    assert_newest_row_needs_only(DEPENDENCY_BARS + 1, compute, simulated, ends)
    assert SERVING_BARS > DEPENDENCY_BARS


@of_every_set
def test_newest_row_from_serving_bars_equals_full_history_after_a_hole(
    simulated: pd.DataFrame, compute: Compute
) -> None:
    holed = with_hole(simulated, 5_000, 7)
    ends = [5_001, 5_000 + WARM_UP_BARS, 5_001 + WARM_UP_BARS, 6_700, 9_095, 9_096, 9_097, 10_000]
    assert_newest_row_needs_only(SERVING_BARS, compute, holed, ends)


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


@settings(max_examples=15, deadline=None)
@given(candles=markets, price_power=st.integers(-12, 12), volume_power=st.integers(-12, 12))
def test_raw72_is_in_units_of_price_and_volume(candles: pd.DataFrame, price_power: int, volume_power: int) -> None:
    """Nothing scales it: the same market in another currency gives another matrix."""
    assert_scales(
        partial(compute_features, features=RAW72),
        candles,
        price_factor=2.0**price_power,
        volume_factor=2.0**volume_power,
        priced=PRICED,
        in_volume=IN_VOLUME,
    )


def test_unit_law_catches_a_column_without_its_unit(simulated: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match=r"scaled: columns \[3\] differ"):
        assert_scales(
            partial(compute_features, features=RAW72),
            simulated.iloc[:2_000],
            price_factor=2.0,
            volume_factor=4.0,
            priced=[place for place in PRICED if place != 3],
            in_volume=IN_VOLUME,
        )


@of_every_set
@settings(max_examples=25, deadline=None)
@given(candles=markets)
def test_features_are_finite_after_the_warm_up_and_only_there(candles: pd.DataFrame, compute: Compute) -> None:
    features = compute(candles)
    assert np.isnan(features[:WARM_UP_BARS]).all()
    assert np.isfinite(features[WARM_UP_BARS:]).all()


@of_every_set
@pytest.mark.parametrize("what", ["prices", "volumes", "both"])
def test_features_are_finite_when_nothing_ever_happens(simulated: pd.DataFrame, what: str, compute: Compute) -> None:
    candles = simulated.iloc[:2_500].copy()
    if what != "volumes":
        candles[["open", "high", "low", "close"]] = 79_568.14
    if what != "prices":
        candles["volume"] = 0.0
    assert np.isfinite(compute(candles)[WARM_UP_BARS:]).all()


@pytest.mark.parametrize("known", [CURRENT, RAW72], ids=lambda known: known.name)
def test_warm_up_declared_is_warm_up_measured(simulated: pd.DataFrame, known: FeatureSet) -> None:
    columns = {name: simulated[name].to_numpy(copy=True) for name in ("high", "low", "close", "volume")}
    measures = Measures(0, open_=simulated["open"].to_numpy(copy=True), **columns)
    for feature in known.features:
        values = feature.compute(measures).T.reshape(-1)
        missing = np.flatnonzero(np.isnan(values))
        assert len(missing) == feature.warm_up_bars, feature.name
        np.testing.assert_array_equal(missing, np.arange(feature.warm_up_bars), err_msg=feature.name)


@of_every_set
def test_features_come_with_the_first_row_after_the_longest_warm_up(simulated: pd.DataFrame, compute: Compute) -> None:
    """Hosts keep one window for all sets, so a set whose own windows are shorter waits too."""
    first_row = int(np.flatnonzero(np.isfinite(compute(simulated)).any(axis=1))[0])
    assert first_row == WARM_UP_BARS == max(feature.warm_up_bars for known in SETS for feature in known.features)


@pytest.mark.parametrize("factor", [1.0, 1e9, 1e18])
@pytest.mark.parametrize("silence", [0, 100])
def test_raw72_stays_on_its_scales(simulated: pd.DataFrame, factor: float, silence: int) -> None:
    """Also in the minutes in which an absurd print of volume leaves rounding errors in the sums that it went through."""
    struck = simulated.iloc[:6_000].copy()
    for row in range(1_500, 6_000, 300):
        struck.loc[row, "volume"] *= factor
        struck.loc[row + 1 : row + silence, "volume"] = 0.0
    column = dict(zip(RAW72.names, compute_features(struck, features=RAW72)[WARM_UP_BARS:].T, strict=True))
    for name, low, high in SCALES:
        assert ((column[name] >= low - 1e-9) & (column[name] <= high + 1e-9)).all(), name
    for name in ("vwap_30", "vwap_60"):
        inside = (column[name] >= column["lowest_60"]) & (column[name] <= column["highest_60"])
        assert inside.all(), name


@of_every_set
@settings(max_examples=15, deadline=None)
@given(
    candles=markets,
    rows=st.tuples(st.integers(0, ROWS - 1), st.integers(1, 3)).map(lambda r: slice(r[0], r[0] + r[1])),
    factor=st.sampled_from([1e-9, 1e-3, 1e3, 1e9]),
)
def test_features_are_finite_after_an_absurd_print_of_the_price(
    candles: pd.DataFrame, rows: slice, factor: float, compute: Compute
) -> None:
    struck = candles.copy()
    struck.iloc[rows, struck.columns.get_indexer(["open", "high", "low", "close"])] *= factor
    assert np.isfinite(compute(struck)[WARM_UP_BARS:]).all()


@of_every_set
@settings(max_examples=10, deadline=None)
@given(candles=markets, row=st.integers(1, ROWS - 10), minutes=st.integers(1, 9))
def test_holes_are_never_bridged(candles: pd.DataFrame, row: int, minutes: int, compute: Compute) -> None:
    assert_holes_not_bridged(compute, with_hole(candles, row, minutes), row)


def test_hole_law_catches_features_that_glue_holes_shut(simulated: pd.DataFrame) -> None:
    with pytest.raises(AssertionError, match="the segment after the hole"):
        assert_holes_not_bridged(bridging_features, with_hole(simulated.iloc[:4_000], 2_000, 30), 2_000)


@of_every_set
@pytest.mark.candles
def test_laws_hold_on_real_candles(real_candles: Path, compute: Compute) -> None:
    candles = pd.read_parquet(real_candles / "perp-50d" / "SOL-USD.parquet").iloc[-30_000:].reset_index(drop=True)
    assert_causal(compute, candles, 20_000)
    assert_newest_row_needs_only(SERVING_BARS, compute, candles, [9_999, 17_882, 17_883, 30_000])


@pytest.mark.candles
def test_units_hold_on_real_candles(real_candles: Path) -> None:
    candles = pd.read_parquet(real_candles / "perp-50d" / "SOL-USD.parquet").iloc[-30_000:].reset_index(drop=True)
    assert_scale_free(compute_features, candles, price_factor=1.1, volume_factor=1e-3, tolerance=1e-4)
    raw72 = partial(compute_features, features=RAW72)
    assert_scales(raw72, candles, price_factor=2.0, volume_factor=0.25, priced=PRICED, in_volume=IN_VOLUME)


@pytest.mark.candles
def test_real_holes_cost_their_warm_up_and_nothing_else(real_candles: Path) -> None:
    candles = pd.read_parquet(real_candles / "spot-2y" / "SOL-USD.parquet")
    features = compute_features(candles, threads=2)
    known = np.isfinite(features).all(axis=1)
    assert (known | np.isnan(features).all(axis=1)).all()
    # 157,051 rows in four segments (the gaps of SOL-USD), each longer than the warm-up
    assert known.sum() == 157_051 - 4 * WARM_UP_BARS


def test_names_are_72_a_list_and_unique_over_both() -> None:
    assert len(CURRENT.names) == len(RAW72.names) == 72
    assert len({*CURRENT.names, *RAW72.names}) == 144


def test_joined_columns_are_those_of_the_parts(simulated: pd.DataFrame) -> None:
    side_by_side = [compute_features(simulated, features=known) for known in (RAW72, CURRENT, RAW72)]
    found = compute_features(simulated, features=joined(RAW72, CURRENT, RAW72))
    np.testing.assert_array_equal(found, np.hstack(side_by_side))


def test_selected_columns_are_those_of_their_lists(simulated: pd.DataFrame) -> None:
    names = ("rsi_14", "close", "sin_day", "rsi_14_percent", "open")
    both = joined(RAW72, CURRENT)
    whole = compute_features(simulated, features=both)
    found = compute_features(simulated, features=selected(names))
    np.testing.assert_array_equal(found, whole[:, [both.names.index(name) for name in names]])
