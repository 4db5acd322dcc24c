"""What became of a signal, worked by hand: LONG from 100, entry 98 to 99, stop 95, target 105; SHORT is the mirror."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_lib.runtime.moments import from_ms, to_ms
from models_lib.runtime.outcomes import Candles, Position, positions
from models_lib.signals.signal import Signal
from tests.unit.runtime.examples import MINUTE, T0, long_signal, short_signal

Row = tuple[float, float, float, float]
HIGH_UP: Row = (100.0, 100.5, 99.5, 100.0)
"""A bar that reaches nothing."""
COSTS = 10.0


def after(rows: Sequence[Row], *, holes: Sequence[int] = ()) -> Candles:
    """The signal's own bar at T0, and the bars after it; a hole leaves out that many-th bar of the life."""
    kept = [place for place in range(len(rows)) if place not in holes]
    stamps = [to_ms(T0), *(to_ms(T0 + (place + 1) * MINUTE) for place in kept)]
    columns = np.array([HIGH_UP, *(rows[place] for place in kept)]).T
    return Candles(np.array(stamps), *columns)


def mirrored(row: Row) -> Row:
    opens, high, low, close = row
    return (200.0 - opens, 200.0 - low, 200.0 - high, 200.0 - close)


def worst_of(rows: Sequence[Row], *, life: int = 5) -> Position:
    """The outcome at the worst fill; LONG and SHORT must agree."""
    found = positions(long_signal(life=life), after(rows), costs_bp=COSTS)
    other = positions(short_signal(life=life), after([mirrored(row) for row in rows]), costs_bp=COSTS)
    assert found is not None
    assert other is not None
    worst, opposite = found[0], other[0]
    assert (opposite.ending, opposite.filled_at, opposite.ended_at) == (worst.ending, worst.filled_at, worst.ended_at)
    assert opposite.r == pytest.approx(worst.r)
    return worst


def test_an_order_that_no_bar_reaches_is_not_filled() -> None:
    worst = worst_of([HIGH_UP] * 5)
    assert worst == Position(ending="not_filled", limit=99.0)


def test_a_target_after_the_fill_is_a_gain_less_costs() -> None:
    worst = worst_of([HIGH_UP, (99.5, 99.6, 98.9, 99.2), (99.2, 105.0, 99.1, 104.0), HIGH_UP, HIGH_UP])
    assert (worst.ending, worst.exit) == ("target", 105.0)
    assert worst.filled_at == T0 + 3 * MINUTE
    assert worst.ended_at == T0 + 4 * MINUTE
    assert worst.r == pytest.approx(6.0 / 4.0)
    assert worst.r_after_costs == pytest.approx((6.0 - 0.099) / 4.0)
    assert worst.bp == pytest.approx(6.0 / 99.0 * 1e4)
    assert worst.bp_after_costs == pytest.approx(6.0 / 99.0 * 1e4 - 10.0)


def test_a_stop_loses_the_risk() -> None:
    worst = worst_of([(99.5, 99.6, 98.9, 99.2), (97.0, 97.5, 95.0, 96.0), HIGH_UP, HIGH_UP, HIGH_UP])
    assert (worst.ending, worst.exit, worst.r) == ("stop", 95.0, -1.0)


def test_a_stop_that_a_bar_jumps_over_loses_more() -> None:
    worst = worst_of([(99.5, 99.6, 98.9, 99.2), (94.0, 94.5, 93.0, 94.0), HIGH_UP, HIGH_UP, HIGH_UP])
    assert (worst.ending, worst.exit) == ("stop", 94.0)
    assert worst.r == pytest.approx(-5.0 / 4.0)


def test_a_bar_that_reaches_both_counts_as_stopped() -> None:
    worst = worst_of([(99.5, 99.6, 98.9, 99.2), (99.2, 106.0, 94.9, 105.5), HIGH_UP, HIGH_UP, HIGH_UP])
    assert (worst.ending, worst.r) == ("stop", -1.0)


def test_the_stop_counts_in_the_bar_of_the_fill() -> None:
    worst = worst_of([(99.5, 99.6, 94.0, 96.0), *[HIGH_UP] * 4])
    assert (worst.ending, worst.exit, worst.filled_at) == ("stop", 95.0, worst.ended_at)


def test_the_target_in_the_bar_of_the_fill_counts_only_after_an_open_at_the_limit() -> None:
    """From 99.5 the bar may have been at 105 before it came to 99."""
    assert worst_of([(99.5, 105.5, 98.9, 99.2), *[(99.2, 99.9, 99.0, 99.5)] * 4]).ending == "expired"
    assert worst_of([(99.0, 105.5, 98.9, 99.2), *[HIGH_UP] * 4]).ending == "target"


def test_what_is_open_at_the_end_is_closed_at_the_last_close() -> None:
    worst = worst_of([(99.5, 99.6, 98.9, 99.2), HIGH_UP, HIGH_UP, HIGH_UP, (100.0, 101.5, 99.9, 101.0)])
    assert (worst.ending, worst.exit, worst.ended_at) == ("expired", 101.0, T0 + 6 * MINUTE)
    assert worst.r == pytest.approx(0.5)


def test_bars_after_the_life_count_for_nothing() -> None:
    rows = [(99.5, 99.6, 98.9, 99.2), HIGH_UP, (99.0, 106.0, 94.0, 100.0)]
    assert worst_of(rows, life=2).ending == "expired"
    assert worst_of([HIGH_UP, HIGH_UP, rows[0]], life=2).ending == "not_filled"


def test_the_published_entry_is_followed_on_its_own() -> None:
    found = positions(long_signal(life=2), after([(99.5, 99.6, 98.5, 99.2), HIGH_UP]), costs_bp=COSTS)
    assert found is not None
    assert [(end.ending, end.limit) for end in found] == [("expired", 99.0), ("not_filled", 98.0)]


def test_a_life_that_is_not_over_is_undecided() -> None:
    assert positions(long_signal(life=5), after([HIGH_UP] * 4), costs_bp=COSTS) is None


def test_a_hole_hides_what_was_not_decided_before() -> None:
    touches: list[Row] = [(99.5, 99.6, 97.9, 99.2), (97.0, 97.5, 95.0, 96.0), HIGH_UP, HIGH_UP, HIGH_UP]
    decided = positions(long_signal(life=5), after(touches, holes=(3,)), costs_bp=COSTS)
    hidden = positions(long_signal(life=5), after(touches, holes=(1,)), costs_bp=COSTS)
    assert decided is not None
    assert hidden is not None
    assert [end.ending for end in decided] == ["stop", "stop"]
    assert [end.ending for end in hidden] == ["unknown", "unknown"]
    assert hidden[0].r is None


def test_a_life_before_the_window_is_unknown() -> None:
    late = after([HIGH_UP] * 40).part(10, 41)
    found = positions(long_signal(life=5), late, costs_bp=COSTS)
    assert found is not None
    assert found[0].ending == "unknown"


prices = st.floats(min_value=93.0, max_value=107.0, allow_nan=False)


@given(walk=st.lists(st.lists(prices, min_size=4, max_size=4), min_size=8, max_size=8))
def test_no_outcome_contradicts_itself(walk: list[list[float]]) -> None:
    """Whatever the bars: within the life, on the right sides, and never better than the target."""
    rows = [(bar[0], max(bar), min(bar), bar[1]) for bar in walk]
    signal = long_signal(life=8)
    found = positions(signal, after(rows), costs_bp=COSTS)
    assert found is not None
    for end in found:
        _check(end, signal)


def _check(end: Position, signal: Signal) -> None:
    if end.ending == "not_filled":
        assert (end.filled_at, end.exit, end.r) == (None, None, None)
        return
    assert end.filled_at is not None
    assert end.ended_at is not None
    assert end.exit is not None
    assert end.r is not None
    assert signal.issued_at < end.filled_at <= end.ended_at <= signal.expires_at
    assert end.r_after_costs is not None
    assert end.r_after_costs < end.r
    if end.ending == "stop":
        assert end.r <= -1.0
    else:
        assert end.r > -1.0
    assert end.exit == 105.0 or end.ending != "target"


def test_moments_survive_the_round_trip() -> None:
    assert from_ms(to_ms(T0)) == T0
