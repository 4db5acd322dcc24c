"""Why nothing is said about a bar: a kind to count by, and a sentence for people.

What does not belong here: finding out which refusal it is (decide.py, engine.py).
"""

from dataclasses import dataclass
from enum import StrEnum


class RefusalKind(StrEnum):
    """The kinds, in the order in which they are looked for."""

    BAD_CANDLE = "bad_candle"
    """What the source gave is no bar, or does not follow."""
    NO_RELEASE = "no_release"
    """There is no bundle for the symbol, or it was refused."""
    SWAPPED = "swapped"
    """The release was switched while another one is loaded; a restart loads it."""
    ON_HOLD = "on_hold"
    """A person, or the system itself, silenced the symbol."""
    EXPIRED = "expired"
    """The bundle was last judged too long ago."""
    STALE = "stale"
    """The bar is too old when it comes; live mode only."""
    GAPPED = "gapped"
    """Too few bars since the last hole."""
    WARMING_UP = "warming_up"
    """Too few bars since the first one."""
    NON_FINITE = "non_finite"
    """The features or the model's answer are no numbers."""
    OUT_OF_ENVELOPE = "out_of_envelope"
    """The features lie too far from everything that the model was trained on, or that was not measured."""
    NEUTRAL = "neutral"
    """The likeliest class is no direction."""
    BELOW_CONFIDENCE = "below_confidence"
    """Less sure than `signals.min_confidence`."""
    OPEN_SIGNAL = "open_signal"
    """An earlier signal in the same direction has not expired (`signals.one_at_a_time`)."""
    SIZING = "sizing"
    """No position can be sized: exchange minimum, leverage, volatility."""
    SAID_BEFORE = "said_before"
    """An earlier process decided on the bar; a repeated replay says nothing twice."""
    ERROR = "error"
    """A fault of this program; the log has the traceback."""


@dataclass(frozen=True)
class Refusal:
    """The reason for silence about one bar."""

    kind: RefusalKind
    sentence: str
    """The fact with its limit and, where there is one, the remedy."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.sentence}"
