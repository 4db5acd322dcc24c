"""Which reason for silence comes first, and what is left to say."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_lib.holds import Hold
from models_lib.runtime.bars import Bar, Hole
from models_lib.runtime.decide import Circumstances, Intent, Rules, Terms, decide
from models_lib.runtime.refusal import Refusal, RefusalKind
from models_lib.runtime.serving import Prediction

T0 = datetime(2026, 1, 5, tzinfo=UTC)
BUNDLE, OTHER = "a" * 64, "b" * 64
BAR = Bar(int(T0.timestamp() * 1000), 100.0, 101.0, 99.0, 100.5, 3.0)
RULES = Rules(min_confidence=0.6, stale_after=timedelta(seconds=120))
TERMS = Terms(bundle=BUNDLE, judged_at=T0 - timedelta(days=6), valid_days=7, max_outside=3)
CALM = Circumstances(bar=BAR, current=BUNDLE, hold=None, missing_bars=0, hole=None, now=None)
HOLD = Hold(symbol="BTC-USD", since=T0, placed_by="ops@host", reason="exchange halted")


def predicted(down: float, neutral: float, up: float, *, outside: int = 0) -> Prediction:
    return Prediction(np.zeros(72, dtype=np.float32), (down, neutral, up), outside)


SURE = predicted(0.1, 0.2, 0.7)


def test_sure_direction_is_an_intent() -> None:
    assert decide(SURE, CALM, TERMS, RULES) == Intent("LONG", 0.7)
    assert decide(predicted(0.6, 0.3, 0.1), CALM, TERMS, RULES) == Intent("SHORT", 0.6)


@pytest.mark.parametrize(
    ("around", "terms", "prediction", "kind", "sentence"),
    [
        ({"current": None}, {}, SURE, "no_release", "deploy one"),
        (
            {"current": OTHER},
            {},
            SURE,
            "swapped",
            "release bbbbbbbbbbbb is current, and aaaaaaaaaaaa is loaded; restart",
        ),
        ({"hold": HOLD}, {}, SURE, "on_hold", "by ops@host: exchange halted"),
        ({}, {"judged_at": None}, SURE, "expired", "never judged"),
        ({}, {"judged_at": T0 - timedelta(days=7)}, SURE, "expired", "expired at 2026-01-05T00:00Z, 7 days after"),
        ({"now": T0 + timedelta(seconds=181)}, {}, SURE, "stale", r"closed 121 s ago \(at most 120 allowed\)"),
        ({"missing_bars": 7}, {}, None, "warming_up", "7 more bars are needed before"),
        (
            {"missing_bars": 7, "hole": Hole(BAR.open_ms, 9, spoiled=False)},
            {},
            None,
            "gapped",
            "9 minutes from .* missing; 7 more",
        ),
        ({}, {}, predicted(float("nan"), 0.2, 0.7), "non_finite", "no numbers"),
        ({}, {"max_outside": None}, SURE, "out_of_envelope", "does not say where its training rows lay"),
        ({}, {}, replace(SURE, outside=4), "out_of_envelope", r"4 of 72 features .*\(at most 3 allowed\)"),
        ({}, {}, predicted(0.1, 0.8, 0.1), "neutral", "NEUTRAL is the likeliest, with 80.0%"),
        ({}, {}, predicted(0.1, 0.31, 0.59), "below_confidence", r"UP has 59.0% \(at least 60.0% needed\)"),
    ],
)
def test_each_reason_has_its_kind_and_its_sentence(
    around: dict[str, Any], terms: dict[str, Any], prediction: Prediction | None, kind: str, sentence: str
) -> None:
    refusal = decide(prediction, replace(CALM, **around), replace(TERMS, **terms), RULES)
    assert isinstance(refusal, Refusal)
    assert refusal.kind == kind
    assert re.search(sentence, refusal.sentence), refusal.sentence


@pytest.mark.parametrize(
    ("around", "terms"),
    [
        ({"now": T0 + timedelta(seconds=180)}, {}),  # closed 120 s ago
        ({"now": T0 - timedelta(days=1)}, {}),  # the clock went back: the bar itself is refused where it comes in
        ({}, {"judged_at": T0 + timedelta(minutes=1) - timedelta(days=7)}),
        ({}, {"judged_at": T0 + timedelta(days=3)}),  # a replay of older candles
        ({"hole": Hole(BAR.open_ms, 9, spoiled=True)}, {}),  # long enough ago
    ],
)
def test_what_is_just_allowed_is_said(around: dict[str, Any], terms: dict[str, Any]) -> None:
    assert isinstance(decide(SURE, replace(CALM, **around), replace(TERMS, **terms), RULES), Intent)


def test_reasons_about_the_symbol_come_before_those_about_the_bar() -> None:
    everything = replace(CALM, current=OTHER, hold=HOLD, missing_bars=5, now=T0 + timedelta(days=1))
    kinds = []
    for mended in ({}, {"current": BUNDLE}, {"hold": None}, {"now": None}):
        everything = replace(everything, **mended)
        refusal = decide(None, everything, TERMS, RULES)
        assert isinstance(refusal, Refusal)
        kinds.append(refusal.kind)
    assert kinds == [RefusalKind.SWAPPED, RefusalKind.ON_HOLD, RefusalKind.STALE, RefusalKind.WARMING_UP]


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(0, 72), st.integers(0, 5), st.booleans())
def test_every_bar_has_one_end_and_every_refusal_a_sentence(
    down: float, share: float, outside: int, missing: int, held: bool
) -> None:
    up = (1.0 - down) * share
    prediction = predicted(down, 1.0 - down - up, up, outside=outside)
    around = replace(CALM, missing_bars=missing, hold=HOLD if held else None)
    end = decide(None if missing else prediction, around, TERMS, RULES)
    if isinstance(end, Intent):
        assert not held
        assert not missing
        assert outside <= 3
        assert end.confidence >= 0.6
        assert end.confidence == {"LONG": up, "SHORT": down}[end.direction]
    else:
        assert len(end.sentence) > 20
