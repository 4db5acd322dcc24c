"""Live figures beside the test's: over every bar with a prediction and a label, and over the signals alone.

A bundle's test figures are over all test rows, so only all live rows compare with them, spoken about or not. A bar that the
bundle was trained, chosen or judged on is none of them, whenever it was predicted: a replay and a catching-up after a pause
go over many such. The same functions measure both. Intervals are those of SPEC 5: moving blocks, and "not measured" with fewer than 30 of them.

A new bundle every night never has 30 blocks of 240 bars of its own. So beside a bundle's own bars stand all recent bars of
its symbol whose bundles were asked the same question (the same label definition); alarms are judged on the bundle's own
bars once these are enough, and on the recent ones until then.

**Alarm.** A figure is in alarm when its live interval lies wholly on the worse side of the test's interval. The figures are
accuracy, the edge after costs, and for calibration the confidence gap: the calibration error over bins grows as rows get
fewer, so that of a few days would always look worse than that of months; a mean does not have that fault.

What does not belong here: labels and outcomes (scoring.py), and whom an alarm is told to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import add
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat, JsonValue, field_serializer, field_validator

from models_lib.calibration import expected_calibration_error
from models_lib.config import EvaluationSection, LabelSection, identity_of_evaluation
from models_lib.evaluation.blocks import Blocks
from models_lib.evaluation.bootstrap import Interval
from models_lib.evaluation.calls import call_figures, prediction_figures
from models_lib.runtime.outcomes import Outcome
from models_lib.runtime.state import EndingTotals, JudgedBars

Mode = Literal["replay", "live"]
Band = tuple[FiniteFloat, FiniteFloat]

_WORSE_WHEN_HIGHER: Final = {"accuracy": False, "confidence_gap": True, "edge_after_costs_bp": False}
"""The figures that can be in alarm."""
_WORDS: Final = {"accuracy": "accuracy", "confidence_gap": "confidence gap", "edge_after_costs_bp": "edge after costs"}


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Measured(_Said):
    """One figure."""

    value: FiniteFloat | None = None
    """None: not measured."""
    interval: Band | None = None
    """95 %; None: not measured."""


class RowFigures(_Said):
    """Figures over rows with a prediction and a label; shares in 0..1."""

    rows: int = 0
    blocks: int = 0
    """Whole bootstrap blocks in the rows."""
    effective_rows: FiniteFloat | None = None
    """Independent rows that would say as much about the accuracy; None: not measured."""
    accuracy: Measured = Measured()
    ece: Measured = Measured()
    """Without an interval: it depends on the number of rows."""
    confidence_gap: Measured = Measured()
    """Mean confidence minus accuracy; above 0: too sure."""
    edge_bp: Measured = Measured()
    """Mean forward return of UP minus that of DOWN calls."""
    edge_after_costs_bp: Measured = Measured()
    """Mean forward return in the direction of the calls, after costs."""


class SignalFigures(_Said):
    """What became of the signals, filled at the worst end of the entry range."""

    scored: int = 0
    target: int = 0
    stop: int = 0
    expired: int = 0
    not_filled: int = 0
    unknown: int = 0
    """Holes in the bars hid what happened."""
    mean_r: FiniteFloat | None = None
    """Mean result of the filled ones in units of the risk, before costs; None without any."""
    mean_r_after_costs: FiniteFloat | None = None
    hit_rate: FiniteFloat | None = None
    """Share whose label was the called class, filled or not; None without any."""
    labelled: int = 0
    """Signals behind `hit_rate`."""


class Alarm(_Said):
    """A figure that is worse live than in the test, with intervals that do not touch."""

    figure: str
    since: AwareDatetime
    sentence: str


class LiveFigures(_Said):
    """How a bundle does on bars after its own data, beside what its test promised."""

    mode: Mode
    """Where the bars came from."""
    bundle: str
    until: AwareDatetime
    """Close time of the newest bar when these were measured."""
    own: RowFigures
    """Bars that this bundle judged and could not know."""
    recent: RowFigures
    """All kept bars of the symbol, whichever bundle judged them and could not know them, asked the same question."""
    test: RowFigures
    """Of the bundle's run; not measured when it came without facts."""
    signals: SignalFigures
    """Of this bundle, at such bars."""
    alarms: tuple[Alarm, ...] = ()

    def line(self) -> str:
        """One line for people."""
        rows = self.own
        line = (
            self._of_own_bars()
            if rows.rows
            else (f"{self.mode}: no bar with a label after the bundle's own data yet, so nothing is measured")
        )
        if self.recent.rows > rows.rows and rows.accuracy.interval is None:
            recent = self.recent.accuracy
            line += f"; with earlier bundles {self.recent.rows:,} bars: accuracy {_percent(recent.value)}"
            line += f" (interval {_band(recent.interval, _percent)})"
        return line + "".join(f"; ALARM: {alarm.sentence}" for alarm in self.alarms)

    def _of_own_bars(self) -> str:
        rows = self.own
        accuracy, edge = rows.accuracy, rows.edge_after_costs_bp
        said = (
            f"{self.mode} {rows.rows:,} bars: accuracy {_percent(accuracy.value)} ",
            f"({_beside(self.test.accuracy.value, accuracy.interval, _percent)}), ",
            f"ECE {_number(rows.ece.value)} (test {_number(self.test.ece.value)}), ",
            f"edge after costs {_bp(edge.value)} ",
            f"({_beside(self.test.edge_after_costs_bp.value, edge.interval, _bp)}); ",
            _signals(self.signals),
        )
        return "".join(said)


class KnownBundle(_Said):
    """What scoring needs of a bundle, also after it was replaced."""

    bundle: str
    symbol: str
    knows_until: AwareDatetime
    """Open time of the last candle that its splits and their labels saw; what it says of later bars is measured live."""
    label: LabelSection
    threshold: FiniteFloat
    """Of NEUTRAL, as fitted on the training rows."""
    evaluation: EvaluationSection
    """Costs, blocks and bins with which its test figures were measured."""
    test: RowFigures

    @field_validator("evaluation", mode="before")
    @classmethod
    def _without_settings_of_newer_versions(cls, evaluation: Any) -> Any:
        """What this version does not know, it cannot measure by; the figures that it can are worth more than a refusal."""
        if not isinstance(evaluation, Mapping):
            return evaluation
        return {name: value for name, value in evaluation.items() if name in EvaluationSection.model_fields}

    @field_serializer("evaluation")
    def _as_every_version_reads_it(self, evaluation: EvaluationSection) -> dict[str, JsonValue]:
        """Without what measures nothing: versions from before it refuse the key, and an upgrade may be taken back."""
        return identity_of_evaluation(evaluation)


def promised_figures(metrics: Mapping[str, Any], rows: int) -> RowFigures:
    """The test figures in the metrics of run.json; what they do not hold is not measured.

    Args:
        metrics: of `RunFacts`.
        rows: of the test part.
    """
    named = {
        name: Measured(value=metrics.get(name), interval=metrics.get(f"{name}_interval"))
        for name in ("accuracy", "ece", "confidence_gap", "edge_bp", "edge_after_costs_bp")
    }
    return RowFigures(
        rows=rows, blocks=metrics.get("blocks") or 0, effective_rows=metrics.get("effective_rows"), **named
    )


def row_figures(bars: JudgedBars, section: EvaluationSection) -> RowFigures:
    """The figures over these bars, measured as the evaluation measures them on the test rows."""
    if bars.classes.size == 0:
        return RowFigures()
    blocks = Blocks(bars.classes.size, section)
    hits, hit_intervals = prediction_figures(bars.probabilities, bars.classes, blocks)
    calls, call_intervals = call_figures(bars.probabilities, bars.forward_return, section.costs_bp, blocks)
    values, intervals = hits | calls, hit_intervals | call_intervals
    named = {
        name: Measured(value=values[name], interval=_ends(intervals[name]))
        for name in ("accuracy", "confidence_gap", "edge_bp", "edge_after_costs_bp")
    }
    accuracy = intervals["accuracy"]
    return RowFigures(
        rows=bars.classes.size,
        blocks=bars.classes.size // blocks.block_bars,
        effective_rows=None if accuracy is None else accuracy.effective_rows,
        ece=Measured(value=_ece(bars.probabilities, bars.classes, section.ece_bins)),
        **named,
    )


class SignalTally:
    """Counts and sums over the outcomes of one bundle's signals; as small after a million as after one.

    Args:
        totals: what was scored before, by ending.
    """

    def __init__(self, totals: Sequence[EndingTotals] = ()) -> None:
        self._totals = {total.ending: total for total in totals}

    def add(self, outcome: Outcome) -> None:
        """Counts one more."""
        ending = outcome.worst.ending
        one = EndingTotals(
            ending=ending,
            signals=1,
            filled=int(outcome.worst.r is not None),
            sum_r=outcome.worst.r or 0.0,
            sum_r_after_costs=outcome.worst.r_after_costs or 0.0,
            labelled=int(outcome.hit is not None),
            hits=int(outcome.hit or False),
        )
        before = self._totals.get(ending)
        self._totals[ending] = one if before is None else EndingTotals(ending, *map(add, before[1:], one[1:]))

    def figures(self) -> SignalFigures:
        """Counts and means."""
        totals = self._totals.values()
        filled, labelled = sum(total.filled for total in totals), sum(total.labelled for total in totals)
        endings: dict[str, Any] = {total.ending: total.signals for total in totals}
        return SignalFigures(
            scored=sum(total.signals for total in totals),
            mean_r=_share(sum(total.sum_r for total in totals), filled),
            mean_r_after_costs=_share(sum(total.sum_r_after_costs for total in totals), filled),
            hit_rate=_share(sum(total.hits for total in totals), labelled),
            labelled=labelled,
            **endings,
        )


@dataclass(frozen=True)
class Judgement:
    """The figures in alarm, each with its sentence; and those that could be judged at all."""

    worse: Mapping[str, str]
    judged: frozenset[str]


def judge_alarms(symbol: str, own: RowFigures, recent: RowFigures, test: RowFigures) -> Judgement:
    """Which figures lie wholly on the worse side of the test's interval."""
    rows = own if own.accuracy.interval is not None else recent
    worse, judged = {}, set()
    for name, higher in _WORSE_WHEN_HIGHER.items():
        live, promised = getattr(rows, name).interval, getattr(test, name).interval
        if live is None or promised is None:
            continue
        judged.add(name)
        if (live[0] > promised[1]) if higher else (live[1] < promised[0]):
            said = _bp if name.endswith("_bp") else _percent
            worse[name] = (
                f"{symbol}: {_WORDS[name]} is {_band(live, said)} over the last {rows.rows:,} bars, "
                f"{'above' if higher else 'below'} the test's {_band(promised, said)}. Look at the newest report; "
                f"`crpbot hold {symbol}` silences it."
            )
    return Judgement(worse, frozenset(judged))


def standing(before: Mapping[str, datetime], now: Judgement, at: datetime) -> dict[str, datetime]:
    """The alarms that stand, and since when. One that cannot be judged any more stands until it can."""
    kept = {name: since for name, since in before.items() if name in now.worse or name not in now.judged}
    return dict.fromkeys(now.worse, at) | kept


def _ece(probabilities: NDArray[np.float64], classes: NDArray[np.int64], bins: int) -> float:
    correct = probabilities.argmax(axis=1) == classes
    return expected_calibration_error(probabilities.max(axis=1), correct, bins=bins)


def _ends(interval: Interval | None) -> Band | None:
    return None if interval is None else (interval.low, interval.high)


def _share(total: float, count: int) -> float | None:
    return total / count if count else None


def _signals(figures: SignalFigures) -> str:
    endings = {
        "target": figures.target,
        "stop": figures.stop,
        "expired": figures.expired,
        "not filled": figures.not_filled,
        "unknown": figures.unknown,
    }
    told = ", ".join(f"{count} {name}" for name, count in endings.items() if count)
    mean = "" if figures.mean_r_after_costs is None else f", mean {figures.mean_r_after_costs:+.2f} R after costs"
    return f"{figures.scored} {'signal' if figures.scored == 1 else 'signals'}{f': {told}{mean}' if told else ''}"


def _beside(test: float | None, interval: Band | None, said: Callable[[float | None], str]) -> str:
    return f"test {said(test)}, interval {_band(interval, said)}"


def _band(band: Band | None, said: Callable[[float | None], str]) -> str:
    return "not measured" if band is None else f"{said(band[0])} to {said(band[1])}"


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _bp(value: float | None) -> str:
    return "not measured" if value is None else f"{value:+.1f} bp"
