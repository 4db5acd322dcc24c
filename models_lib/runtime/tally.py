"""What one symbol's bars came to since the start of the process: counts and times, of constant size.

What does not belong here: the record of bars (state.py) and the form of health.json (health.py).
"""

from datetime import datetime
from typing import Final

import numpy as np
from pydantic import JsonValue

from models_lib.candles.schema import BAR_MS
from models_lib.runtime.bars import BarWindow
from models_lib.runtime.health import Latency, ShadowDifference, SymbolHealth
from models_lib.runtime.moments import from_ms
from models_lib.runtime.refusal import Refusal
from models_lib.runtime.serving import Prediction

_NEWEST: Final = 2_048
"""Latencies that are remembered."""


class Tally:
    """Counts of one symbol."""

    def __init__(self) -> None:
        self.bars = 0
        self.signals = 0
        self.predictions = 0
        self.errors = 0
        self.last_error: str | None = None
        self.refusals: dict[str, int] = {}
        self.last_refusal: str | None = None
        self._classes = [0, 0, 0]
        self._over_99 = 0
        self._non_finite = 0
        self._latencies_ms = np.zeros(_NEWEST)
        self._shadow_bars = 0
        self._shadow_agreed = 0
        self._shadow_dp = 0.0

    def predicted(self, prediction: Prediction) -> None:
        """Counts what a model said."""
        self.predictions += 1
        probabilities = prediction.probabilities
        if not prediction.finite:
            self._non_finite += 1
            return
        self._classes[prediction.likeliest] += 1
        self._over_99 += max(probabilities) > 0.99

    def refused(self, refusal: Refusal) -> None:
        """Counts a reason for silence."""
        self.refusals[refusal.kind] = self.refusals.get(refusal.kind, 0) + 1
        self.last_refusal = str(refusal)

    def failed(self, sentence: str) -> None:
        """Counts a fault."""
        self.errors += 1
        self.last_error = sentence

    def took(self, milliseconds: float) -> None:
        """Remembers how long a predicted bar took; call after `predicted`."""
        self._latencies_ms[(self.predictions - 1) % _NEWEST] = milliseconds

    def compare_anew(self) -> None:
        """Another shadow begins: what was counted was about the one before."""
        self._shadow_bars = self._shadow_agreed = 0
        self._shadow_dp = 0.0

    def compared(self, champion: Prediction, shadow: Prediction) -> None:
        """Counts how a shadow differs from the champion."""
        self._shadow_bars += 1
        self._shadow_agreed += champion.likeliest == shadow.likeliest
        pairs = zip(champion.probabilities, shadow.probabilities, strict=True)
        self._shadow_dp += sum(abs(one - other) for one, other in pairs) / 3

    def health(
        self,
        window: BarWindow,
        *,
        bundle: str | None,
        shadow: str | None,
        live: dict[str, JsonValue] | None,
        live_line: str | None,
        now: datetime,
    ) -> SymbolHealth:
        """The counts as health.json has them."""
        last_ms = window.last_ms
        down, neutral, up = self._classes
        return SymbolHealth(
            bundle=bundle,
            shadow=shadow,
            last_bar_at=None if last_ms is None else from_ms(last_ms),
            bar_age_seconds=None if last_ms is None else (now - from_ms(last_ms + BAR_MS)).total_seconds(),
            bars=self.bars,
            predictions=self.predictions,
            signals=self.signals,
            refusals=dict(self.refusals),
            last_refusal=self.last_refusal,
            classes={"DOWN": down, "NEUTRAL": neutral, "UP": up},
            over_99=self._over_99,
            non_finite=self._non_finite,
            errors=self.errors,
            last_error=self.last_error,
            filled_minutes=window.filled_minutes,
            latency_ms=self._latency(),
            live=live,
            live_line=live_line,
            shadow_difference=self._difference(),
        )

    def _latency(self) -> Latency:
        if self.predictions == 0:
            return Latency()
        median, p99 = np.percentile(self._latencies_ms[: min(self.predictions, _NEWEST)], (50, 99)).tolist()
        return Latency(median=median, p99=p99)

    def _difference(self) -> ShadowDifference | None:
        if self._shadow_bars == 0:
            return None
        return ShadowDifference(
            bars=self._shadow_bars,
            agreement=self._shadow_agreed / self._shadow_bars,
            mean_abs_dp=self._shadow_dp / self._shadow_bars,
        )
