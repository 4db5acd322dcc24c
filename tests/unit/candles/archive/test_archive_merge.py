"""What counts where answers about one minute differ."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_lib.candles.archive.manifest import Correction, Flag
from models_lib.candles.archive.merge import Merged, merge
from models_lib.candles.archive.page import Page
from models_lib.candles.bars import Bars, Spans
from tests.archived import at, bars, page, row, span

REVISE = 5
NOTHING = Spans()
EVERYTHING = span(-10_000, 10_000)


def merged(
    pages: Sequence[Page], stored: Bars | None = None, *, asked: Spans = NOTHING, final: Spans = NOTHING
) -> Merged:
    return merge(
        Bars.none() if stored is None else stored,
        pages,
        within=EVERYTHING,
        asked=asked,
        final=final,
        revise_minutes=REVISE,
    )


def values(minute: int, change: float = 0.0) -> tuple[float, ...]:
    return tuple(map(float, row(minute, change)[1:]))  # type: ignore[arg-type]


def test_pages_without_a_word_in_common_are_joined() -> None:
    found = merged([page(3, 6), page(0, 3)], bars(range(6, 8)))
    assert found.bars.same_as(bars(range(8)))
    assert (found.corrections, found.flags) == ((), ())


def test_the_same_said_again_changes_nothing() -> None:
    found = merged([page(0, 6), page(2, 8), page(0, 6)], bars(range(5)))
    assert found.bars.same_as(bars(range(8)))
    assert (found.corrections, found.flags) == ((), ())


def test_a_young_bar_gives_way_to_a_newer_answer_and_that_is_logged() -> None:
    """Minute 9 closed at 10 and was asked for at 10 and at 11: both times it was younger than 5 minutes."""
    older, newer = page(9, 10, closed=10), page(9, 10, closed=11, change=0.25)
    for order in ([older, newer], [newer, older]):
        found = merged(order)
        assert found.bars.same_as(bars([9], 0.25))
        assert found.corrections == (
            Correction(stamp_ms=at(9), before=values(9), after=values(9, 0.25), seen_ms=newer.received_ms),
        )
        assert found.flags == ()


def test_a_young_stored_bar_gives_way_to_a_final_answer() -> None:
    asked = Spans((span(0, 10),))
    found = merged([page(0, 10, closed=1_000, change=0.5)], bars([9]), asked=asked, final=Spans((span(0, 5),)))
    assert found.bars.values[-1].tolist() == list(values(9, 0.5))
    assert [one.stamp_ms for one in found.corrections] == [at(9)]
    assert found.flags == ()


def test_a_final_bar_stays_and_another_final_answer_raises_a_flag() -> None:
    asked = Spans((span(0, 10),))
    found = merged([page(4, 5, change=0.5)], bars([4]), asked=asked, final=asked)
    assert found.bars.same_as(bars([4]))
    assert found.corrections == ()
    close, volume = values(4)[3:]
    words = f"close {close!r} is stored, {close + 0.5!r} came later, volume {volume!r} is stored, {volume + 0.5!r} came later"
    assert found.flags == (Flag(kind="changed", stamp_ms=at(4), words=words),)


def test_a_final_bar_stays_when_an_older_young_answer_comes_late() -> None:
    asked = Spans((span(0, 10),))
    found = merged([page(4, 5, closed=6, change=0.5)], bars([4]), asked=asked, final=asked)
    assert found.bars.same_as(bars([4]))
    assert found.flags == ()


def test_what_came_along_gives_way_to_what_was_asked_for() -> None:
    beside = page(10, 12, [9, 10, 11], change=0.5, received=20_000)
    found = merged([page(9, 10), beside])
    assert found.bars.values[0].tolist() == list(values(9))


def test_only_what_opens_within_is_looked_at() -> None:
    found = merge(Bars.none(), [page(0, 10)], within=span(3, 5), asked=Spans(), final=Spans(), revise_minutes=REVISE)
    assert found.bars.same_as(bars([3, 4]))


@pytest.mark.parametrize("order", itertools.permutations(range(4)))
def test_the_order_of_arrival_never_matters(order: tuple[int, ...]) -> None:
    """Three answers to minute 9 while it was young, each later than the last, and one when it was final."""
    said = [page(9, 10, closed=10 + number, change=0.1 * number) for number in range(3)]
    said.append(page(9, 10, closed=100, change=0.7))
    assert merged([said[number] for number in order]).bars.same_as(bars([9], 0.7))
    without_final = [said[number] for number in order if number != 3]
    assert merged(without_final).bars.same_as(bars([9], 0.1 * 2))


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 8), st.integers(0, 40), st.integers(0, 2)),
        max_size=8,
        unique_by=lambda told: told[2],
    ),
    st.randoms(use_true_random=False),
)
def test_pages_at_once_give_the_same_in_any_order(
    told: list[tuple[int, int, int, int]], random: np.random.Generator
) -> None:
    """Whatever they say: each was received at another time, and that decides, not their place in the list."""
    pages = [page(first, first + length, closed=closed, change=0.5 * change) for first, length, closed, change in told]
    shuffled = list(pages)
    random.shuffle(shuffled)
    once, again = merged(pages), merged(shuffled)
    assert once.bars.same_as(again.bars)
    assert sorted(once.corrections, key=repr) == sorted(again.corrections, key=repr)
    assert once.flags == again.flags
