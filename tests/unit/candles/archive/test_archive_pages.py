"""What of an exchange's answer is taken, and which answers are refused whole."""

import pytest

from models_lib.candles.archive.page import Page
from models_lib.candles.bars import Span, Spans
from models_lib.candles.exchange import Answer
from models_lib.errors import DataError
from tests.archived import SYMBOL, at, bars, page, row, span


def answer(*rows: object, closed: float = 100.0) -> Answer:
    return Answer(span(0, 10), list(rows), at(0) + int(closed * 60_000), at(200))  # type: ignore[arg-type]


def test_rows_in_any_order_and_told_twice_are_bars_in_order() -> None:
    found = Page.of(SYMBOL, answer(row(2), row(0), row(1), row(0)))
    assert found.bars.same_as(bars(range(3)))


def test_a_bar_that_is_not_closed_by_the_exchanges_clock_is_left_out_whatever_it_says() -> None:
    found = Page.of(SYMBOL, answer(row(0), row(1), [at(2), 5.0, 1.0, 9.0, 5.0, 0.0], closed=2.999))
    assert found.bars.same_as(bars(range(2)))
    assert found.answered == Spans((span(0, 2),))


def test_a_bar_counts_as_closed_in_the_millisecond_in_which_its_minute_ends() -> None:
    assert len(Page.of(SYMBOL, answer(row(2), closed=3.0)).bars) == 1


def test_bars_beside_the_span_are_taken_but_not_answered() -> None:
    found = Page.of(SYMBOL, answer(row(-3), row(4), row(12)))
    assert found.bars.same_as(bars([-3, 4, 12]))
    assert found.answered == Spans((span(0, 10),))


def test_an_empty_answer_is_an_answer() -> None:
    found = Page.of(SYMBOL, answer())
    assert (len(found.bars), found.answered.minutes) == (0, 10)


def test_minutes_are_final_when_they_were_closed_for_long_enough() -> None:
    assert page(0, 10, closed=12).final(5) == Spans((span(0, 7),))
    assert page(0, 10, closed=12).final(2) == Spans((span(0, 10),))
    assert page(0, 10, closed=12).final(12) == Spans()


BAD_ROWS = {
    "six numbers": [
        [at(1), 2.0, 3.0, 1.0, 2.0],
        [at(1), 2.0, 3.0, 1.0, None, 5.0],
        [at(1), "2.0", 3.0, 1.0, 2.0, 5.0],
        None,
    ],
    "fit into 64 bits": [[10**400, 2.0, 3.0, 1.0, 2.0, 5.0], [at(1), 2.0, 3.0, 1.0, 2.0, 10**400]],
    "a whole minute": [
        [at(1) + 1_000, 2.0, 3.0, 1.0, 2.0, 5.0],
        [float("nan"), 2.0, 3.0, 1.0, 2.0, 5.0],
        [float("inf"), 2.0, 3.0, 1.0, 2.0, 5.0],
    ],
    "more than a day beside": [[at(1) // 60_000_000 * 60_000, 2.0, 3.0, 1.0, 2.0, 5.0], row(1_450), row(-1_441)],
    "must be finite": [[at(1), 2.0, float("inf"), 1.0, 2.0, 5.0], [at(1), 2.0, 3.0, 1.0, 2.0, float("nan")]],
    "must be above 0": [[at(1), 2.0, 3.0, 0.0, 2.0, 5.0], [at(1), 2.0, 3.0, -1.0, 2.0, 5.0]],
    "must be at least 0": [[at(1), 2.0, 3.0, 1.0, 2.0, -0.5]],
    "enclose open and close": [
        [at(1), 2.0, 1.9, 1.0, 1.5, 5.0],
        [at(1), 2.0, 3.0, 2.1, 2.5, 5.0],
        [at(1), 2.0, 3.0, 1.0, 3.1, 5.0],
    ],
    "another row of the same minute says": [row(0, 0.5)],
}


@pytest.mark.parametrize(("rule", "bad"), [(rule, bad) for rule, rows in BAD_ROWS.items() for bad in rows])
def test_an_answer_with_a_row_that_is_no_bar_is_refused_whole(rule: str, bad: object) -> None:
    with pytest.raises(DataError, match=rule) as refused:
        Page.of(SYMBOL, answer(row(0), bad, row(3)))
    assert str(refused.value).startswith("BTC-USD: the exchange answered with a row that is no bar")


def test_the_refusal_names_the_minute() -> None:
    with pytest.raises(
        DataError, match=r"at 2025-12-31T22:21Z \(\[2.0, 3.0, 0.0, 2.0, 5.0\]\): every price must be above 0"
    ):
        Page.of(SYMBOL, answer([at(1), 2.0, 3.0, 0.0, 2.0, 5.0]))


def test_an_answer_about_minutes_to_come_answers_nothing() -> None:
    early = Page.of(SYMBOL, Answer(Span(at(50), at(60)), [], at(50), at(50)))
    assert not early.answered
    assert not early.final(0)
