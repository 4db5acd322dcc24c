"""A signal whose figures contradict each other cannot be made, and not be read either."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from pydantic import ValidationError

from models_lib.signals import Signal
from tests.unit.signals.signal_cases import signal

SHORT = {"direction": "SHORT", "probabilities": (0.7, 0.2, 0.1)}


def read_again(signal: Signal, **changes: object) -> Signal:
    return Signal.model_validate_json(json.dumps({**json.loads(signal.to_json()), **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": "0.127"}, "risks 225.39"),
        ({"size": "NaN"}, "finite"),
        ({"size": "0"}, "greater than 0"),
        ({"account_balance": "400"}, "leverage 10 carries only 4000"),
        ({"stop": "78978.26"}, "not in the order of a LONG signal"),
        ({"stop": "80000"}, "not in the order"),
        ({"target": "79568.14"}, "not in the order"),
        ({"entry": "79568.14"}, "not in the order"),
        ({"price": "79000"}, "not in the order"),
        ({"expires_at": "2025-11-16T20:05:00Z"}, "must follow each other"),
        ({"bar_at": "2025-11-16T20:05:00Z"}, "must follow each other"),
        ({"confidence": 0.9}, "is not that of LONG"),
        ({"probabilities": [0.5, 0.5, 0.683]}, "sum to 1"),
        ({"direction": "SHORT"}, "not in the order of a SHORT signal"),
        ({"number": 0}, "number"),
        ({"issued_by": "me"}, "issued_by"),
        ({"claim": ""}, "claim"),
    ],
)
def test_contradicting_signal_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        read_again(signal(), **changes)


def test_short_signal_that_sells_below_the_price_is_refused() -> None:
    short = signal(**SHORT)
    with pytest.raises(ValidationError, match="not in the order of a SHORT signal"):
        read_again(short, price=str(short.entry_low + 1))


def test_short_signal_worth_more_at_its_entry_than_its_leverage_carries_is_refused() -> None:
    """0.1256 is worth 9,993.76 at the worst fill and 10,010.32 at the entry."""
    wider = {"entry_high": "79700", "entry": "79700"}
    with pytest.raises(ValidationError, match=r"is worth 10010\.32.*leverage 1 carries only 10000"):
        read_again(signal(**SHORT), **wider, leverage=1, size="0.1256", risk_amount="300")


@pytest.mark.parametrize("name", ["stop", "target"])
def test_short_signal_with_a_level_on_the_wrong_side_is_refused(name: str) -> None:
    short = signal(**SHORT)
    wrong = short.entry_low - 1 if name == "stop" else short.entry_high + 1
    with pytest.raises(ValidationError, match="not in the order of a SHORT signal"):
        read_again(short, **{name: str(wrong)})


@pytest.mark.parametrize(
    "at",
    [
        datetime(2025, 11, 16, 20, 4),  # noqa: DTZ001  the fault that is looked for
        datetime(2025, 11, 16, 20, 4, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_time_that_is_not_utc_is_refused(at: datetime) -> None:
    with pytest.raises(ValidationError, match="UTC"):
        signal(bar_at=at)
    assert signal(bar_at=datetime(2025, 11, 16, 20, 4, tzinfo=UTC)).bar_at.tzinfo is not None


def test_worst_fill_is_the_dearest_buy_and_the_cheapest_sale() -> None:
    assert signal().worst_entry == signal().entry_high == Decimal("79568.14")
    assert signal(**SHORT).worst_entry == signal(**SHORT).entry_low == Decimal("79568.14")
