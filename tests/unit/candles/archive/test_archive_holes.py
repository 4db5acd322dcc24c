"""Which minutes are missing, why, and when they are asked for again."""

from collections.abc import Sequence

import pytest

from models_lib.candles.archive.holes import due, find_holes
from models_lib.candles.archive.manifest import Hole
from models_lib.candles.archive.page import Page
from models_lib.candles.bars import Spans
from tests.archived import NEW_YEAR_MS, NIGHT_MS, at, page, span

NOON_MS = NEW_YEAR_MS + NIGHT_MS // 2


def holes(asked: Spans, present: Spans, *, known: Sequence[Hole] = (), pages: Sequence[Page] = ()) -> tuple[Hole, ...]:
    return find_holes(asked, present, known=known, pages=pages, outage_minutes=60)


def hole(first: int, minutes: int, *, times: int = 1, last_ms: int | None = NOON_MS) -> Hole:
    return Hole(start_ms=at(first), minutes=minutes, cause="no trades", times_asked=times, last_asked_ms=last_ms)


def told(*found: Hole) -> list[tuple[int, int, str, int]]:
    return [((one.start_ms - at(0)) // 60_000, one.minutes, one.cause, one.times_asked) for one in found]


def test_answered_minutes_between_bars_are_holes_and_what_nobody_asked_for_is_none() -> None:
    asked = Spans((span(0, 20), span(30, 40)))
    present = Spans((span(2, 5), span(8, 20), span(30, 35)))
    assert told(*holes(asked, present)) == [(5, 3, "no trades", 0)]


def test_before_the_first_and_after_the_last_bar_there_is_no_hole() -> None:
    assert holes(Spans((span(0, 20),)), Spans((span(5, 10),))) == ()
    assert holes(Spans((span(0, 20),)), Spans()) == ()


def test_an_hour_is_an_outage_and_a_minute_less_is_not() -> None:
    asked = Spans((span(0, 200),))
    present = Spans((span(0, 10), span(69, 100), span(160, 200)))
    assert told(*holes(asked, present)) == [(10, 59, "no trades", 0), (100, 60, "outage", 0)]


def test_a_hole_in_an_answer_after_a_failure_is_an_outage_and_stays_one() -> None:
    asked, present = Spans((span(0, 20),)), Spans((span(0, 5), span(8, 12), span(14, 20)))
    found = holes(asked, present, pages=[page(0, 10, [], troubled=True), page(10, 20, [])])
    assert told(*found) == [(5, 3, "outage", 1), (12, 2, "no trades", 1)]
    assert told(*holes(asked, present, known=found)) == told(*found)


def test_a_hole_is_asked_once_a_day_however_often_it_is_asked() -> None:
    asked, present = Spans((span(0, 20),)), Spans((span(0, 5), span(8, 20)))

    def again(known: Sequence[Hole], minute: float) -> tuple[Hole, ...]:
        return holes(asked, present, known=known, pages=[page(0, 20, [], closed=minute)])

    first = again((), 101)  # 00:01 of the new year
    assert (first[0].times_asked, first[0].last_asked_ms) == (1, at(101))
    same_day = again(first, 101 + 23 * 60)
    assert (same_day[0].times_asked, same_day[0].last_asked_ms) == (1, at(101 + 23 * 60))
    assert again(same_day, 100 + 24 * 60)[0].times_asked == 2
    assert again(first, 101) == first


@pytest.mark.parametrize("machine_days", [-3, 3])
def test_the_day_is_the_exchanges_whatever_this_machines_clock_says(machine_days: int) -> None:
    """Else a machine that is behind asks in every fetch, and one that is ahead not for days."""
    asked, present = Spans((span(0, 20),)), Spans((span(0, 5), span(8, 20)))
    answer = page(0, 20, [], closed=101, received=101 + machine_days * 1_440)
    (found,) = holes(asked, present, pages=[answer])
    assert not due([found], now_ms=at(200), hole_nights=7, page_minutes=300)
    assert due([found], now_ms=at(101) + NIGHT_MS, hole_nights=7, page_minutes=300)


def test_a_hole_asked_for_while_the_exchange_was_in_another_year_is_due() -> None:
    early = hole(5, 2, last_ms=NOON_MS + 400 * NIGHT_MS)
    assert due([early], now_ms=NOON_MS, hole_nights=7, page_minutes=300) == Spans((span(5, 7),))


def test_what_is_left_of_a_hole_remembers_how_often_it_was_asked() -> None:
    asked = Spans((span(0, 20),))
    left = holes(asked, Spans((span(0, 5), span(7, 8), span(10, 20))), known=[hole(5, 5, times=3)])
    assert told(*left) == [(5, 2, "no trades", 3), (8, 2, "no trades", 3)]


def test_a_hole_joined_of_two_was_asked_as_often_as_the_one_asked_less() -> None:
    asked = Spans((span(0, 20),))
    joined = holes(
        asked, Spans((span(0, 5), span(10, 20))), known=[hole(5, 2, times=6), hole(8, 2, times=2, last_ms=None)]
    )
    assert told(*joined) == [(5, 5, "no trades", 2)]


@pytest.mark.parametrize(
    ("now_ms", "is_due"),
    [
        (NOON_MS + 60_000, False),
        (NEW_YEAR_MS - 1, False),  # the clock is measured to some milliseconds, and it was asked right after midnight
        (NEW_YEAR_MS + NIGHT_MS - 1, False),
        (NEW_YEAR_MS + NIGHT_MS, True),
        (NOON_MS + 10 * NIGHT_MS, True),
    ],
)
def test_a_hole_is_due_again_on_the_next_day(now_ms: int, is_due: bool) -> None:
    found = due([hole(5, 2)], now_ms=now_ms, hole_nights=7, page_minutes=300)
    assert found == (Spans((span(5, 7),)) if is_due else Spans())


def test_a_hole_is_asked_for_on_so_many_later_days_and_no_more() -> None:
    asked, present = Spans((span(0, 20),)), Spans((span(0, 5), span(8, 20)))
    nights, known = [], holes(asked, present, pages=[page(0, 20, [], closed=101)])
    for night in range(1, 12):
        now_ms = at(101) + night * NIGHT_MS
        if due(known, now_ms=now_ms, hole_nights=7, page_minutes=300):
            nights.append(night)
            again = page(0, 20, [], closed=101 + night * 1_440)
            known = holes(asked, present, known=known, pages=[again])
    assert nights == [1, 2, 3, 4, 5, 6, 7]
    assert not due([hole(5, 2)], now_ms=NOON_MS + NIGHT_MS, hole_nights=0, page_minutes=300)


def test_holes_that_one_page_can_hold_are_asked_for_together() -> None:
    known = [hole(0, 1), hole(150, 1), hole(299, 1), hole(300, 1), hole(700, 400), hole(1_200, 1)]
    found = due(known, now_ms=NOON_MS + NIGHT_MS, hole_nights=7, page_minutes=300)
    # 300 touches 299, so both are one span of 301 minutes: two pages as without it
    assert found == Spans((span(0, 301), span(700, 1_100), span(1_200, 1_201)))
