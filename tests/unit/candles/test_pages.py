"""Pages to ask for: every wanted minute in exactly one, and no plan with fewer."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from models_lib.candles.bars import Span, Spans
from models_lib.candles.pages import pages_of
from models_lib.candles.schema import BAR_MS

MINUTES = st.sets(st.integers(min_value=0, max_value=60), max_size=40)


def span(first: int, end: int) -> Span:
    return Span(first * BAR_MS, end * BAR_MS)


def spans_of(minutes: set[int]) -> Spans:
    return Spans.of(span(minute, minute + 1) for minute in minutes)


def test_two_years_are_asked_in_whole_pages_and_a_rest() -> None:
    pages = pages_of(Spans((span(0, 1_051_200),)), 1_000)
    assert len(pages) == 1_052  # 1,051,200 / 1,000 rounded up
    assert {page.minutes for page in pages[:-1]} == {1_000}
    assert pages[-1] == span(1_051_000, 1_051_200)


def test_near_holes_share_a_page_and_far_ones_do_not() -> None:
    wanted = Spans((span(10, 12), span(100, 101), span(309, 311), span(2_000, 2_001)))
    # The first page reaches from minute 10 to minute 309, which is the first minute of the third hole.
    assert pages_of(wanted, 300) == [span(10, 310), span(310, 311), span(2_000, 2_001)]


@given(minutes=MINUTES, page_bars=st.integers(min_value=1, max_value=20))
def test_every_wanted_minute_is_in_exactly_one_page(minutes: set[int], page_bars: int) -> None:
    pages = pages_of(spans_of(minutes), page_bars)
    asked = [at // BAR_MS for page in pages for at in range(*page, BAR_MS)]
    assert len(asked) == len(set(asked)), "a minute is asked for twice"
    assert asked == sorted(asked)
    assert minutes <= set(asked)
    assert all(1 <= page.minutes <= page_bars for page in pages)


@given(minutes=MINUTES, page_bars=st.integers(min_value=1, max_value=20))
def test_no_plan_has_fewer_pages(minutes: set[int], page_bars: int) -> None:
    """The pages' first minutes are at least a page apart, so no page can hold two of them."""
    pages = pages_of(spans_of(minutes), page_bars)
    starts = [page.start_ms // BAR_MS for page in pages]
    assert set(starts) <= minutes
    assert all(after - before >= page_bars for before, after in itertools.pairwise(starts))
