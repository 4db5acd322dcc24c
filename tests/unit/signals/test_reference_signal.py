"""The signal that operators know (SPEC 12), with the sizes and ratios that it should have had, at both fills."""

import json
from decimal import Decimal

import pytest

from models_lib.config import SignalsSection
from models_lib.signals import Signal, signal_text
from models_lib.signals.sizing import Levels, Sized, size_position
from tests.unit.signals.signal_cases import REFERENCE_SETTINGS, signal

LOW, HIGH = Decimal("78978.26"), Decimal("79568.14")
STOP, TARGET = Decimal("77793.39"), Decimal("81112.45")
RULES = SignalsSection().exchange["BTC-USD"]


def position(worst: Decimal, settings: SignalsSection | None = None) -> Sized:
    sized = size_position(Levels("LONG", LOW, worst, STOP, TARGET), RULES, settings or SignalsSection())
    assert isinstance(sized, Sized), sized
    return sized


def test_certain_fill_at_the_low_end_is_the_published_stop_distance_over_the_risk() -> None:
    sized = position(worst=LOW)
    assert str(LOW - STOP) == "1184.87"
    assert sized.risk_amount == 100
    assert round(sized.size, 4) == Decimal("0.0844"), "not the 0.127 that was published"
    assert round(sized.risk_reward, 1) == Decimal("1.8")
    assert sized.leverage == 10


def test_any_fill_of_the_range_is_sized_at_its_upper_end() -> None:
    sized = position(worst=HIGH)
    assert round(sized.size, 4) == Decimal("0.0563")
    assert sized.risk_reward == Decimal("0.87")
    assert sized.size * (HIGH - STOP) <= 100 < (sized.size + Decimal("0.00001")) * (HIGH - STOP)
    assert (round(sized.size_best, 4), round(sized.risk_reward_best, 1)) == (Decimal("0.0844"), Decimal("1.8"))


def test_size_of_the_best_fill_would_risk_150_at_the_worst() -> None:
    assert round(position(worst=LOW).size * (HIGH - STOP)) == 150


@pytest.fixture
def reference() -> Signal:
    return signal()


def test_reference_signal_has_the_published_levels(reference: Signal) -> None:
    assert (reference.price, reference.entry_low, reference.entry_high, reference.entry) == (HIGH, LOW, HIGH, LOW)
    assert (reference.stop, reference.target) == (STOP, TARGET)
    assert (round(reference.stop_percent, 1), round(reference.target_percent, 1)) == (Decimal("1.5"), Decimal("2.7"))
    assert (reference.order_type, reference.leverage, reference.risk_amount) == ("LIMIT", 10, 100)
    assert (reference.size, reference.size_best) == (Decimal("0.05634"), Decimal("0.08439"))
    assert reference.confidence == 0.683


@pytest.mark.parametrize(
    "fact",
    [
        "*Signal 1234: BTC-USD LONG 68.3 %*",
        "the mean of the next 15 minutes above the mean of the last 60",
        "Price: 79,568.14 USD",
        "LIMIT BUY 78,978.26, entry range 78,978.26-79,568.14",
        "Stop: 77,793.39 (1.50 % from the entry)",
        "LIMIT SELL 81,112.45 (2.70 % from the entry), risk:reward 1:1.80; 1:0.87 at the worst fill 79,568.14",
        "10,000.00 USD, risk 1 % = 100.00 USD, leverage 10x",
        "0.05634 BTC",
        "0.08439 BTC",
        "after 30 minutes, 2025-11-16 15:35 EST",
        "- for: momentum (RSI 64.2)",
        "- for: price 0.12 % above EMA20",
        "volume of the last 15 minutes 1.8 times",
        "Mind: no edge after costs measured",
        "It places no order.",
    ],
)
def test_text_states_the_fact(reference: Signal, fact: str) -> None:
    assert fact in signal_text(reference, time_zone=REFERENCE_SETTINGS.time_zone)


def test_json_holds_exact_figures_and_utc_times(reference: Signal) -> None:
    told = json.loads(reference.to_json())
    assert (told["stop"], told["size"], told["risk_amount"]) == ("77793.39", "0.05634", "100")
    assert (told["issued_at"], told["expires_at"]) == ("2025-11-16T20:05:00Z", "2025-11-16T20:35:00Z")
    assert Signal.model_validate_json(reference.to_json()) == reference
