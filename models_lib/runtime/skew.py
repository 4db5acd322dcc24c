"""The clock of the exchange beside this host's, as it was measured last, and whether that is tolerable.

What does not belong here: measuring it (the source of the bars).
"""

import logging
from datetime import datetime

from models_lib.runtime.sources import ClockSkew

_LOG = logging.getLogger(__name__)


class MeasuredSkew:
    """The newest measurement.

    Args:
        tolerance_seconds: a skew that is certainly larger is warned of.
    """

    def __init__(self, *, tolerance_seconds: float) -> None:
        self._tolerance_seconds = tolerance_seconds
        self.skew_ms: float | None = None
        """Exchange minus host; None: nothing was measured."""
        self.uncertain_ms: float | None = None
        self.measured_at: datetime | None = None
        self.warning: str | None = None
        """What is wrong with this host's clock; None when nothing is known to be."""

    def take(self, skew: ClockSkew, *, now: datetime) -> None:
        """Remembers a measurement; a warning is logged when it begins."""
        self.skew_ms, self.uncertain_ms = skew
        self.measured_at = now
        was_warned = self.warning is not None
        self.warning = self._judged(skew)
        if self.warning is not None and not was_warned:
            _LOG.warning("%s", self.warning)

    def _judged(self, skew: ClockSkew) -> str | None:
        if abs(skew.skew_ms) - skew.uncertain_ms <= self._tolerance_seconds * 1e3:
            return None
        side = "behind" if skew.skew_ms > 0 else "ahead of"
        return (
            f"this host's clock is {abs(skew.skew_ms) / 1e3:.1f} s {side} the exchange's, known to within "
            f"{skew.uncertain_ms / 1e3:.1f} s (at most {self._tolerance_seconds:g} s allowed): bars are refused as future ones "
            f"or told late. Set it right: timedatectl set-ntp true."
        )
