"""Scoring: what every bar's label came to, what became of every signal, and how that compares with the test.

Everything is found again from the state and the window of bars, so a restart loses nothing: a bar is judged when its label
has matured, a signal when its life is over and its label has matured. What a hole in the bars hides stays unknown, and is
counted as that.

What does not belong here: the rules of a signal's end (outcomes.py) and of the figures (figures.py).
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from models_lib.bundle import Bundle
from models_lib.candles.schema import BAR_MS
from models_lib.config import EvaluationSection
from models_lib.labels import ATR_BARS, CLASS_NAMES, DOWN, UNKNOWN, UP, VOLATILITY_BARS, label_classes, label_values_of
from models_lib.runtime.figures import (
    Alarm,
    KnownBundle,
    LiveFigures,
    Mode,
    RowFigures,
    SignalTally,
    judge_alarms,
    promised_figures,
    row_figures,
    standing,
)
from models_lib.runtime.moments import from_ms, to_ms
from models_lib.runtime.outcomes import Candles, Outcome, positions
from models_lib.runtime.state import JudgedBar, JudgedBars, RuntimeState, UnjudgedBar
from models_lib.signals.signal import Signal

_RENEW_SHARE: Final = 30
"""Figures are renewed when their rows have grown by a thirtieth,"""
_RENEW_MIN_BARS, _RENEW_MAX_BARS = 15, 240
"""but not more often than every 15 bars, and at least every 240 (a block)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What one bar brought to light.

    Attributes:
        outcomes: of the signals whose time is up, by number.
        alarms: figures that fell outside the test's interval now; they are given once.
    """

    outcomes: tuple[Outcome, ...] = ()
    alarms: tuple[Alarm, ...] = ()


class Scorer:
    """Scores what one runtime said; it uses the state from the thread that opened it.

    Args:
        state: open.
        mode: where the bars come from, for the words.
    """

    def __init__(self, state: RuntimeState, *, mode: Mode) -> None:
        self._state = state
        self._mode: Mode = mode
        self._bundles = {known.bundle: known for known in map(_read, state.known_bundles()) if known is not None}
        self._serving: dict[str, KnownBundle] = {}
        self._live: dict[str, LiveFigures] = {}
        self._tallies: dict[str, SignalTally] = {}
        self._judged_since: dict[str, int] = {}

    def serves(self, symbol: str, bundle: Bundle) -> None:
        """From now on this bundle judges the symbol's bars; call it before its first bar is recorded."""
        known = known_bundle(bundle)
        if self._bundles.get(known.bundle) != known:
            self._state.know_bundle(known.bundle, known.model_dump_json())
            self._bundles[known.bundle] = known
        self._serving[symbol] = known
        self._tallies[symbol] = SignalTally(self._state.totals(symbol, known.bundle, after=known.knows_until))
        self._live.pop(symbol, None)

    def observe(self, symbol: str, candles: Candles) -> Scored:
        """Judges what has matured with the newest of these bars.

        Args:
            symbol: whose bars.
            candles: the window, with holes as holes; the newest bar last. Not empty.

        Raises:
            TransientError: the state cannot be written now; the next bar tries again.
        """
        now_ms = int(candles.times_ms[-1])
        judged = self._judge(symbol, candles, now_ms)
        outcomes = self._score(symbol, candles, now_ms)
        if symbol not in self._serving:
            return Scored(outcomes)
        alarms = self._renew(symbol, now_ms) if self._is_due(symbol, judged) else ()
        if outcomes:
            signals = self._tallies[symbol].figures()
            self._live[symbol] = self._live[symbol].model_copy(update={"signals": signals})
        return Scored(outcomes, alarms)

    def live(self, symbol: str) -> LiveFigures | None:
        """The newest figures of the bundle that serves; None before the first."""
        return self._live.get(symbol)

    def _judge(self, symbol: str, candles: Candles, now_ms: int) -> int:
        """Notes the labels that have matured; returns how many bars that were."""
        horizons = [known.label.horizon_minutes for known in self._bundles.values() if known.symbol == symbol]
        if not horizons:
            return 0
        waiting = self._state.unjudged(symbol, until=from_ms(now_ms - min(horizons) * BAR_MS))
        labels = [label for bar in waiting if (label := self._label(bar, candles, now_ms)) is not None]
        if labels:
            self._state.judge(symbol, labels)
        return len(labels)

    def _label(self, bar: UnjudgedBar, candles: Candles, now_ms: int) -> JudgedBar | None:
        """The label of one bar; None when it has not matured."""
        known = self._bundles.get(bar.bundle)
        if known is None:
            return JudgedBar(bar.bar_ms, None, None)
        if bar.bar_ms > now_ms - known.label.horizon_minutes * BAR_MS:
            return None
        return matured_label(bar.bar_ms, candles, known)

    def _score(self, symbol: str, candles: Candles, now_ms: int) -> tuple[Outcome, ...]:
        """The outcomes of the signals whose time is up."""
        outcomes = []
        for signal in self._state.unscored(symbol, until=from_ms(now_ms + BAR_MS)):
            outcome = self._outcome(signal, candles)
            if outcome is not None:
                self._state.score(outcome)
                outcomes.append(outcome)
                serving = self._serving.get(symbol)
                if serving is not None and serving.bundle == signal.bundle and signal.bar_at > serving.knows_until:
                    self._tallies[symbol].add(outcome)
        return tuple(outcomes)

    def _outcome(self, signal: Signal, candles: Candles) -> Outcome | None:
        known = self._bundles.get(signal.bundle)
        label = self._state.label_of(signal.symbol, signal.bar_at)
        waits = label is None and self._still_matures(signal, known, int(candles.times_ms[-1]))
        costs_bp = (EvaluationSection() if known is None else known.evaluation).costs_bp
        found = None if waits else positions(signal, candles, costs_bp=costs_bp)
        if found is None:
            return None
        label_class = None if label is None else label.label
        called = UP if signal.direction == "LONG" else DOWN
        return Outcome(
            number=signal.number,
            worst=found[0],
            best=found[1],
            costs_bp=costs_bp,
            label=None if label_class is None else CLASS_NAMES[label_class],
            hit=None if label_class is None else label_class == called,
        )

    @staticmethod
    def _still_matures(signal: Signal, known: KnownBundle | None, now_ms: int) -> bool:
        return known is not None and to_ms(signal.bar_at) > now_ms - known.label.horizon_minutes * BAR_MS

    def _is_due(self, symbol: str, judged: int) -> bool:
        """Whether the figures of the serving bundle should be measured anew."""
        grown = self._judged_since[symbol] = self._judged_since.get(symbol, 0) + judged
        live = self._live.get(symbol)
        if live is None:
            return True
        return grown >= min(max(live.recent.rows // _RENEW_SHARE, _RENEW_MIN_BARS), _RENEW_MAX_BARS)

    def _renew(self, symbol: str, now_ms: int) -> tuple[Alarm, ...]:
        """Measures the figures of the serving bundle; returns the alarms that are new."""
        serving = self._serving[symbol]
        until = from_ms(now_ms + BAR_MS)
        bars = self._state.judged(symbol)
        alike = [known for known in self._bundles.values() if known.label == serving.label]
        recent = row_figures(_unknown_to(bars, alike), serving.evaluation)
        of_own = _unknown_to(bars, [serving])
        own = recent if of_own.classes.size == recent.rows else row_figures(of_own, serving.evaluation)
        judgement = judge_alarms(symbol, own, recent, serving.test)
        before = self._state.alarms(symbol)
        after = standing(before, judgement, until)
        if after != before:
            self._state.set_alarms(symbol, after)
        alarms = tuple(
            Alarm(
                figure=name, since=since, sentence=judgement.worse.get(name, f"{symbol}: {name} cannot be judged now")
            )
            for name, since in sorted(after.items())
        )
        self._live[symbol] = LiveFigures(
            mode=self._mode,
            bundle=serving.bundle,
            until=until,
            own=own,
            recent=recent,
            test=serving.test,
            signals=self._tallies[symbol].figures(),
            alarms=alarms,
        )
        self._judged_since[symbol] = 0
        return tuple(alarm for alarm in alarms if alarm.figure not in before)


def known_bundle(bundle: Bundle) -> KnownBundle:
    """What scoring needs of a loaded bundle; test figures that cannot be read are not measured."""
    manifest = bundle.manifest
    evaluation, test = EvaluationSection(), RowFigures()
    if bundle.facts is not None:
        try:
            evaluation = EvaluationSection.model_validate(_known_settings(bundle))
            test = promised_figures(bundle.facts.metrics, manifest.splits.test.rows)
        except ValidationError as error:
            faults = error.error_count()
            log.warning("%s: run.json of bundle %s has unreadable figures (%d)", manifest.symbol, bundle.hash, faults)
    return KnownBundle(
        bundle=bundle.hash,
        symbol=manifest.symbol,
        knows_until=manifest.splits.test.last + timedelta(minutes=manifest.label.span_minutes),
        label=manifest.label.section,
        threshold=manifest.label.threshold,
        evaluation=evaluation,
        test=test,
    )


def _known_settings(bundle: Bundle) -> Any:
    """How the bundle's test figures were measured, as far as this version knows the settings; names the others."""
    section = bundle.facts.config.get("evaluation", {}) if bundle.facts else {}
    if not isinstance(section, dict):
        return section
    unknown = [f"evaluation.{name}" for name in section if name not in EvaluationSection.model_fields]
    if unknown:
        log.warning(
            "%s: run.json of bundle %s is of a newer version; live figures are measured without its %s",
            bundle.manifest.symbol,
            bundle.hash,
            ", ".join(unknown),
        )
    return {name: value for name, value in section.items() if name in EvaluationSection.model_fields}


def matured_label(bar_ms: int, candles: Candles, known: KnownBundle) -> JudgedBar:
    """The label of one bar from the bars around it, bit for bit that of the whole history.

    Args:
        bar_ms: open time; the bars of its horizon are closed.
        candles: bars around it.
        known: whose label.

    Returns:
        Class and forward return; None where a hole or the window's end makes them unknowable.
    """
    label = known.label
    unknowable = JudgedBar(bar_ms, None, None)
    row = int(np.searchsorted(candles.times_ms, bar_ms))
    if row == candles.times_ms.size or candles.times_ms[row] != bar_ms:
        return unknowable
    first = max(0, row - max(label.lookback_minutes, label.horizon_minutes, VOLATILITY_BARS, ATR_BARS))
    around = candles.part(first, row + label.horizon_minutes + 1)
    values = label_values_of(*around, label=label)
    found = int(label_classes(values, label, known.threshold)[row - first])
    forward = float(values.forward_return[row - first])
    if found == UNKNOWN or not np.isfinite(forward):
        return unknowable
    return JudgedBar(bar_ms, found, forward)


def _read(text: str) -> KnownBundle | None:
    """What an earlier process kept of a bundle; None where it was of another version: its bars stay unjudged."""
    try:
        return KnownBundle.model_validate_json(text)
    except ValidationError as error:
        log.warning("a bundle that another version of the runtime served is not scored any more (%s)", error.title)
        return None


def _unknown_to(bars: JudgedBars, bundles: Iterable[KnownBundle]) -> JudgedBars:
    """The bars that one of these bundles judged and that lie after its own data."""
    rows = np.zeros(bars.bar_ms.size, dtype=bool)
    for known in bundles:
        rows |= (bars.bundle == known.bundle) & (bars.bar_ms > to_ms(known.knows_until))
    return JudgedBars(
        bars.bar_ms[rows], bars.bundle[rows], bars.probabilities[rows], bars.classes[rows], bars.forward_return[rows]
    )
