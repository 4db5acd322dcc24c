"""From a prediction and its circumstances to a direction, or to the reason for silence. Pure: no file, no clock.

The order of the questions goes from what silences the symbol altogether to what is about this one bar, so the reason that
is told is the one to mend first.

Age is judged at the bar's close, so a replay decides the same at every repetition; only staleness asks the wall clock.

What does not belong here: collecting the circumstances (engine.py) and what a signal says (models_lib.signals).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from models_lib.holds import Hold
from models_lib.runtime.bars import Bar, Hole
from models_lib.runtime.refusal import Refusal, RefusalKind
from models_lib.runtime.serving import Prediction

Direction = Literal["LONG", "SHORT"]
CLASS_NAMES = ("DOWN", "NEUTRAL", "UP")
_DIRECTIONS: dict[int, Direction] = {0: "SHORT", 2: "LONG"}


@dataclass(frozen=True)
class Intent:
    """A direction that is sure enough to be said."""

    direction: Direction
    confidence: float
    """Calibrated probability of the direction's class."""


@dataclass(frozen=True)
class Rules:
    """What is asked of a prediction before it is said."""

    min_confidence: float
    stale_after: timedelta


@dataclass(frozen=True)
class Terms:
    """What a bundle promises about itself."""

    bundle: str
    """Its hash."""
    judged_at: datetime | None
    """When its gates were last measured; its days count from here. None: it was never judged."""
    valid_days: int
    max_outside: int | None
    """Features outside the training range that a row may have; None: no envelope was measured."""


@dataclass(frozen=True)
class Circumstances:
    """Everything besides the prediction that may silence a bar."""

    bar: Bar
    current: str | None
    """Hash that the symbol's release link names now."""
    hold: Hold | None
    missing_bars: int
    """Bars until the features are there; 0: they are."""
    hole: Hole | None
    """The last hole before the bar."""
    now: datetime | None
    """Wall clock, for staleness; None in a replay."""


def decide(prediction: Prediction | None, around: Circumstances, terms: Terms, rules: Rules) -> Refusal | Intent:
    """The intent, or the first reason for silence.

    Args:
        prediction: of the bar; None when there is none, because bars are missing.
        around: the circumstances of the bar.
        terms: of the bundle that predicted.
        rules: of this host.
    """
    refusal = _silenced(around, terms) or _too_late(around, terms, rules) or _too_few_bars(around)
    if refusal is not None:
        return refusal
    assert prediction is not None, "a bar with enough bars before it is predicted"
    return _of_prediction(prediction, terms, rules)


def _silenced(around: Circumstances, terms: Terms) -> Refusal | None:
    if around.current is None:
        return Refusal(RefusalKind.NO_RELEASE, "the symbol has no release any more; deploy one")
    if around.current != terms.bundle:
        return Refusal(
            RefusalKind.SWAPPED,
            f"release {around.current[:12]} is current, and {terms.bundle[:12]} is loaded; restart the runtime",
        )
    if around.hold is not None:
        return Refusal(RefusalKind.ON_HOLD, around.hold.sentence())
    return None


def _too_late(around: Circumstances, terms: Terms, rules: Rules) -> Refusal | None:
    if terms.judged_at is None:
        return Refusal(RefusalKind.EXPIRED, f"bundle {terms.bundle[:12]} was never judged, so its days do not count")
    expires_at = terms.judged_at + timedelta(days=terms.valid_days)
    if around.bar.closes_at > expires_at:
        return Refusal(
            RefusalKind.EXPIRED,
            f"bundle {terms.bundle[:12]} expired at {expires_at:%Y-%m-%dT%H:%MZ}, {terms.valid_days} days after it was "
            f"judged; deploy a newer one",
        )
    if around.now is None:
        return None
    age = around.now - around.bar.closes_at
    if age > rules.stale_after:
        return Refusal(
            RefusalKind.STALE,
            f"the bar closed {age.total_seconds():,.0f} s ago (at most {rules.stale_after.total_seconds():,.0f} allowed)",
        )
    return None


def _too_few_bars(around: Circumstances) -> Refusal | None:
    if around.missing_bars == 0:
        return None
    wait = f"{around.missing_bars:,} more bars are needed"
    if around.hole is None:
        return Refusal(RefusalKind.WARMING_UP, f"{wait} before the first features")
    return Refusal(RefusalKind.GAPPED, f"{around.hole.sentence()}; {wait} without a hole")


def _of_prediction(prediction: Prediction, terms: Terms, rules: Rules) -> Refusal | Intent:
    if not prediction.finite:
        return Refusal(RefusalKind.NON_FINITE, "the features or the model's answer are no numbers")
    if terms.max_outside is None:
        return Refusal(
            RefusalKind.OUT_OF_ENVELOPE,
            f"bundle {terms.bundle[:12]} does not say where its training rows lay; train again",
        )
    if prediction.outside > terms.max_outside:
        return Refusal(
            RefusalKind.OUT_OF_ENVELOPE,
            f"{prediction.outside} of {len(prediction.features)} features lie outside the range of the training rows (at most "
            f"{terms.max_outside} allowed)",
        )
    best = prediction.likeliest
    confidence = prediction.probabilities[best]
    direction = _DIRECTIONS.get(best)
    if direction is None:
        return Refusal(RefusalKind.NEUTRAL, f"NEUTRAL is the likeliest, with {confidence:.1%}")
    if confidence < rules.min_confidence:
        return Refusal(
            RefusalKind.BELOW_CONFIDENCE,
            f"{CLASS_NAMES[best]} has {confidence:.1%} (at least {rules.min_confidence:.1%} needed)",
        )
    return Intent(direction, confidence)
