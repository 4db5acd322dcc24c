"""The algebra of spans, against sets of minutes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models_lib.candles.bars import Span, Spans
from models_lib.candles.schema import BAR_MS

starts = st.integers(min_value=0, max_value=60)
some = st.lists(st.tuples(starts, starts), max_size=8).map(
    lambda pairs: [Span(a * BAR_MS, b * BAR_MS) for a, b in pairs]
)


def minutes(spans) -> set[int]:
    return {minute for span in spans for minute in range(span.start_ms, span.end_ms, BAR_MS)}


@given(some, some)
def test_spans_are_sets_of_minutes(one, other):
    a, b = Spans.of(one), Spans.of(other)
    assert minutes(a) == minutes(one)
    assert minutes(a.union(b)) == minutes(one) | minutes(other)
    assert minutes(a.minus(b)) == minutes(one) - minutes(other)
    assert a.minutes == len(minutes(one))
    assert (a == b) == (minutes(one) == minutes(other))
    assert Spans.of(a.minus(b)) == a.minus(b)


@given(some, st.tuples(starts, starts))
def test_part_within_a_span_is_the_intersection(one, window):
    span = Span(window[0] * BAR_MS, window[1] * BAR_MS)
    assert minutes(Spans.of(one).within(span)) == minutes(one) & minutes([span])


@given(st.sets(st.integers(min_value=0, max_value=60)))
def test_spans_of_stamps_are_their_minutes(opened):
    stamps = np.array(sorted(opened), dtype=np.int64) * BAR_MS
    assert minutes(Spans.of_stamps(stamps)) == set(stamps.tolist())
    assert Spans.of(Spans.of_stamps(stamps)) == Spans.of_stamps(stamps)
