"""Splits: hand-worked boundaries, and the law that no label of one part sees a bar of the next."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_lib.config import SplitsSection
from models_lib.errors import DataError
from models_lib.splits import split_rows

MINUTE = 60_000
START = 1_746_403_200_000  # 2025-05-05T00:00Z
SECTION = SplitsSection(min_rows=50)


def test_split_purges_before_and_embargoes_after_each_boundary() -> None:
    times = START + MINUTE * np.arange(1_000)
    splits = split_rows(times, np.ones(1_000, bool), SECTION, span_minutes=15, embargo_minutes=60, symbol="BTC-USD")
    # 700 | 150 | 150 rows; the boundaries are rows 700 and 850
    assert (splits.train[0], splits.train[-1]) == (0, 684)  # 684 + 15 = 699 < 700
    assert (splits.validation[0], splits.validation[-1]) == (760, 834)
    assert (splits.test[0], splits.test[-1]) == (910, 999)
    assert splits.spans["test"] == (START + 910 * MINUTE, START + 999 * MINUTE)
    assert splits.to_json() == {
        "rows": {"train": 685, "validation": 75, "test": 90},
        "spans": {
            "train": [START, START + 684 * MINUTE],
            "validation": [START + 760 * MINUTE, START + 834 * MINUTE],
            "test": [START + 910 * MINUTE, START + 999 * MINUTE],
        },
        "purge_minutes": 15,
        "embargo_minutes": 60,
    }


def test_split_counts_usable_rows_only() -> None:
    times = START + MINUTE * np.arange(2_000)
    usable = np.zeros(2_000, bool)
    usable[1_000:] = True
    splits = split_rows(times, usable, SECTION, span_minutes=15, embargo_minutes=60, symbol="BTC-USD")
    assert splits.train[0] == 1_000
    assert splits.train[-1] == 1_684


def test_split_measures_distances_by_the_clock_across_a_hole() -> None:
    minutes = np.arange(1_000)
    minutes[700:] += 10_000  # a hole of a week exactly at the boundary: nothing needs to be purged there
    splits = split_rows(
        START + MINUTE * minutes, np.ones(1_000, bool), SECTION, span_minutes=15, embargo_minutes=60, symbol="SOL-USD"
    )
    assert splits.train[-1] == 699
    assert splits.validation[0] == 760


def test_too_few_rows_are_refused_with_numbers_and_remedy() -> None:
    times = START + MINUTE * np.arange(1_000)
    with pytest.raises(
        DataError, match=r"ETH-USD: 75 rows in the validation part \(at least 500 needed\).*splits.min_rows"
    ):
        split_rows(
            times,
            np.ones(1_000, bool),
            SplitsSection(),
            span_minutes=15,
            embargo_minutes=60,
            symbol="ETH-USD",
        )


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_next_to_no_rows_are_refused(rows: int) -> None:
    times = START + MINUTE * np.arange(rows)
    with pytest.raises(DataError, match="rows in"):
        split_rows(times, np.ones(rows, bool), SECTION, span_minutes=1, embargo_minutes=1, symbol="BTC-USD")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    span=st.integers(1, 240),
    embargo=st.integers(1, 240),
    hole_share=st.floats(0.0, 0.02),
)
def test_no_label_reaches_into_the_next_part(seed: int, span: int, embargo: int, hole_share: float) -> None:
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random(8_000) < hole_share, rng.integers(2, 3_000, 8_000), 1)
    times = START + MINUTE * np.cumsum(steps)
    usable = rng.random(8_000) < 0.9
    splits = split_rows(times, usable, SECTION, span_minutes=span, embargo_minutes=embargo, symbol="BTC-USD")
    rows = np.flatnonzero(usable)
    boundaries = times[rows[int(0.70 * rows.size)]], times[rows[int(0.70 * rows.size) + int(0.15 * rows.size)]]
    parts = (splits.train, splits.validation, splits.test)
    for boundary, earlier, later in zip(boundaries, parts[:2], parts[1:], strict=True):
        assert times[earlier].max() + span * MINUTE < boundary
        assert times[later].min() - embargo * MINUTE >= boundary
    assert all(usable[part].all() for part in parts)
