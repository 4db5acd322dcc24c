"""The newest row alone has the bits of the whole matrix, wherever it stands and whatever lies before it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.candles.schema import BAR_MS, VALUE_COLUMNS, epoch_ms
from models_lib.features import (
    CURRENT,
    NEWEST_ROW_BARS,
    RAW72,
    WARM_UP_BARS,
    FeatureSet,
    compute_features,
    joined,
    newest_features,
)
from tests.unit.features.markets import nasty_candles

CANDLES = nasty_candles(11, rows=9_000, tick=0.01, flat=(2_500, 2_900), silent=(4_000, 5_700), spike=1e6)
COLUMNS = [np.ascontiguousarray(CANDLES[name].to_numpy()) for name in VALUE_COLUMNS]
MINUTES = epoch_ms(CANDLES) // BAR_MS


SETS = {known.name: known for known in (CURRENT, RAW72, joined(RAW72, CURRENT))}
STARTS = (0, 777, 3_001)


def matrix_from(start: int, features: FeatureSet) -> np.ndarray:
    """The whole matrix of a segment that starts at that row."""
    return compute_features(CANDLES.iloc[start:].reset_index(drop=True), features=features)


SEGMENTS = {(name, start): matrix_from(start, known) for name, known in SETS.items() for start in STARTS}
of_every_set = pytest.mark.parametrize("name", SETS)


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    same = found.view(np.uint32) == expected.view(np.uint32)
    assert same.all(), f"columns {np.flatnonzero(~same).tolist()} differ"


@of_every_set
@settings(max_examples=60, deadline=None)
@given(start=st.sampled_from(STARTS), data=st.data())
def test_newest_row_has_the_bits_of_the_whole_matrix(start: int, data: st.DataObject, name: str) -> None:
    row = data.draw(st.integers(start + WARM_UP_BARS, len(CANDLES) - 1), label="row")
    bars = data.draw(st.integers(min(NEWEST_ROW_BARS, row + 1 - start), row + 1 - start), label="bars handed over")
    columns = [column[row + 1 - bars : row + 1] for column in COLUMNS]
    found = newest_features(int(MINUTES[row]), columns, features=SETS[name])
    assert_same_bits(found, SEGMENTS[name, start][row - start])


def test_current_is_what_is_computed_when_no_set_is_named() -> None:
    assert_same_bits(newest_features(int(MINUTES[-1]), COLUMNS), SEGMENTS["current", 0][-1])


@of_every_set
def test_fewer_bars_than_it_depends_on_would_give_other_bits(name: str) -> None:
    """The bound is not idle: with the shortest window that has values some rows differ."""
    rows = range(6_000, 6_300, 3)
    short = [
        newest_features(int(MINUTES[row]), [c[row - WARM_UP_BARS : row + 1] for c in COLUMNS], features=SETS[name])
        for row in rows
    ]
    whole = SEGMENTS[name, 0][rows.start : rows.stop : rows.step]
    assert (np.array(short).view(np.uint32) != whole.view(np.uint32)).any()


def test_warm_up_has_no_newest_row() -> None:
    with pytest.raises(ValueError, match="more than 1440 bars, got 1440"):
        newest_features(int(MINUTES[WARM_UP_BARS - 1]), [column[:WARM_UP_BARS] for column in COLUMNS])


@of_every_set
def test_first_row_after_the_warm_up_is_there(name: str) -> None:
    columns = [column[: WARM_UP_BARS + 1] for column in COLUMNS]
    found = newest_features(int(MINUTES[WARM_UP_BARS]), columns, features=SETS[name])
    assert np.isfinite(found).all()
    assert_same_bits(found, SEGMENTS[name, 0][WARM_UP_BARS])
