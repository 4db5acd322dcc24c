"""Notices: which are the same, and how they read whatever is in them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models_lib.notifications import Figure, Notice
from models_lib.notifications.message import LONGEST_REASON, LONGEST_TITLE, MOST_FIGURES, cut

NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)


def notice(**changes: Any) -> Notice:
    return Notice.model_validate(
        {"event": "held", "run_id": "r1", "symbol": "BTC-USD", "reason": "why", "time": NOW} | changes
    )


def test_id_comes_from_event_run_symbol_and_stage_alone() -> None:
    same = notice(
        reason="other words", link="x", time=NOW.replace(hour=5), figures=(Figure(name="a", value=1, limit=2),)
    )
    assert same.id == notice().id
    others = [
        notice(event="failed"),
        notice(run_id="r2"),
        notice(symbol="ETH-USD"),
        notice(symbol=None),
        notice(stage="judge"),
    ]
    assert len({other.id for other in [notice(), *others]}) == len(others) + 1


def test_id_does_not_mix_its_parts_up() -> None:
    assert notice(symbol="A", stage=None).id != notice(symbol=None, stage="A").id


def test_title_is_one_line_with_symbol_event_and_first_line_of_the_reason() -> None:
    assert notice(reason="\n by accuracy\n more").title() == "BTC-USD held: by accuracy"
    assert notice(event="rolled_back", symbol=None, reason="").title() == "run rolled back"


def test_text_has_the_numbers_with_their_limits() -> None:
    figures = (
        Figure(name="accuracy", value=0.5, limit=0.68),
        Figure(name="class_balance", value=(0.1, 0.7), limit=(0.15, 0.6), note="DOWN 10 %"),
        Figure(name="finite", value=None, limit=0),
    )
    text = notice(figures=figures, stage="judge", link="http://ui/run").text()
    assert "- accuracy: 0.5 (limit 0.68)\n" in text
    assert "- class_balance: 0.1 to 0.7 (limit 0.15 to 0.6); DOWN 10 %\n" in text
    assert "- finite: not measured (limit 0)\n" in text
    assert "symbol: BTC-USD\nstage: judge\nrun: r1\ntime: 2026-11-21 02:30 UTC\n\nhttp://ui/run\n\nmessage " in text


def test_many_figures_are_counted_instead_of_listed() -> None:
    figures = tuple(Figure(name=f"g{number}", value=number, limit=0) for number in range(MOST_FIGURES + 7))
    lines = notice(figures=figures).figure_lines()
    assert len(lines) == MOST_FIGURES + 1
    assert lines[-1] == "and 7 more"


@settings(max_examples=30, deadline=None)
@given(
    reason=st.text(alphabet=st.characters(), max_size=300), symbol=st.text(max_size=20).filter(lambda s: "\n" not in s)
)
def test_any_words_make_a_notice_that_survives_its_file(reason: str, symbol: str) -> None:
    """Also control characters, and half a surrogate pair, as names of files that are no UTF-8 carry them."""
    made = notice(reason=reason, symbol=symbol)
    assert Notice.model_validate_json(made.model_dump_json().encode()) == made
    assert "\n" not in made.title()
    assert len(made.title()) <= LONGEST_TITLE
    assert all(character.isprintable() or character == "\n" for character in made.text())


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert notice(reason="file \udce4.parquet").told_reason() == "file ?.parquet"


def test_long_reason_is_cut() -> None:
    assert len(notice(reason="x" * 10 * LONGEST_REASON).told_reason()) == LONGEST_REASON
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde…"


@pytest.mark.parametrize(
    "changes",
    [{"event": "exploded"}, {"time": datetime(2026, 1, 1)}, {"run_id": ""}, {"symbol": "A\nB"}, {"colour": "red"}],  # noqa: DTZ001
    ids=str,
)
def test_what_is_no_notice_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        notice(**changes)
