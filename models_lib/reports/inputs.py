"""What the page of one symbol must know: plain values and arrays, checked so that the page cannot contradict itself.

Every field that could not be measured is None and is shown as "not measured". Fields without a default must be chosen.

What does not belong here: how the values were measured, and how they look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from models_lib.calibration import TemperatureSweep
from models_lib.config import EvaluationSection, GatesSection, Severity
from models_lib.evaluation.metrics import ReliabilityBins
from models_lib.reports.controls import ControlTable
from models_lib.training.history import TrainingHistory

Outcome = Literal["promoted", "passed", "held"]
"""`passed`: every blocking gate passed, and promotion is decided after the page is written. A symbol that failed has no
candidate to be judged, and no page."""
Bounds = tuple[float, float]


def _bounds(value: Any) -> Bounds | None:
    if value is None:
        return None
    low, high = value
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class GateRow:
    """One line of the gate table; two-sided gates have (low, high) as value and limit, unmeasured ones no value."""

    name: str
    split: str
    value: float | bool | Bounds | None
    limit: float | Bounds | None
    severity: Severity
    passed: bool
    note: str = ""

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The row of a gate as the run's summary writes it, with an optional `note`."""
        value, limit = row["value"], row["limit"]
        return cls(
            name=row["name"],
            split=row["split"],
            value=_bounds(value) if isinstance(value, Sequence) else value,
            limit=_bounds(limit) if isinstance(limit, Sequence) else limit,
            severity=row["severity"],
            passed=row["passed"],
            note=row.get("note", ""),
        )


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured number with its 95 % block-bootstrap interval; either may be missing."""

    value: float | None = None
    interval: Bounds | None = None

    @property
    def above(self) -> Literal["yes", "no", "unclear"] | None:
        """Whether the interval lies above zero, below it, or holds it; None where it was not measured."""
        return self.against(0.0)

    def against(self, neutral: float) -> Literal["yes", "no", "unclear"] | None:
        """Where the interval lies against `neutral`; None without a value or an interval."""
        if self.value is None or self.interval is None or not np.isfinite((self.value, *self.interval)).all():
            return None
        if self.interval[0] > neutral:
            return "yes"
        return "no" if self.interval[1] < neutral else "unclear"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of the test rows (SPEC 4): each accuracy beside what needs no model.

    Shares and accuracies lie in [0, 1], NLL in nats a row, edges in basis points of the price.
    """

    accuracy: float | None
    nll: float | None
    ece: float | None
    mean_confidence: float | None
    share_over_90: float | None
    share_over_99: float | None
    share_50_90: float | None
    max_abs_logit: float | None
    class_shares: tuple[float, float, float] | None
    majority_accuracy: float | None
    mechanical_rule_accuracy: float | None
    mechanical_rule_nll: float | None
    driftless_rule_nll: float | None
    lift: Figure
    nll_improvement: Figure
    driftless_improvement: Figure
    """Driftless rule's NLL minus the model's: above zero the model knows more than volatility."""
    directional_accuracy: Figure
    """Share of UP and DOWN calls whose return from the current close had that sign; a coin has one half."""
    edge_bp: Figure
    edge_after_costs_bp: Figure
    effective_rows: float | None
    driftless_rule_accuracy: float | None = None

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, Any]) -> Self:
        """The figures of a `metrics.test` mapping of the run's summary.

        Required are the summary's own keys (a missing one is an error: a misspelt key must not read as "not
        measured"); taken where present are `<figure>_interval` of the other figures, `driftless_improvement`,
        `driftless_improvement_interval` and `driftless_rule_accuracy`.

        Raises:
            ValueError: a required key is missing.
        """
        plain = [
            "accuracy",
            "nll",
            "ece",
            "mean_confidence",
            "share_over_90",
            "share_over_99",
            "share_50_90",
            "max_abs_logit",
            "majority_accuracy",
            "mechanical_rule_accuracy",
            "mechanical_rule_nll",
            "driftless_rule_nll",
            "effective_rows",
        ]
        required = [
            *plain,
            *["class_shares", "lift", "nll_improvement", "directional_accuracy", "edge_bp", "edge_after_costs_bp"],
        ]
        if missing := [key for key in required if key not in metrics]:
            raise ValueError(f"metrics.test must hold {', '.join(missing)}; it has {', '.join(sorted(metrics))}")
        shares = metrics["class_shares"]

        def figure(name: str) -> Figure:
            return Figure(value=metrics.get(name), interval=_bounds(metrics.get(f"{name}_interval")))

        improvement = figure("driftless_improvement")
        if improvement.value is None and metrics["driftless_rule_nll"] is not None and metrics["nll"] is not None:
            difference = float(metrics["driftless_rule_nll"]) - float(metrics["nll"])
            improvement = Figure(value=difference, interval=improvement.interval)
        return cls(
            **{key: metrics[key] for key in plain},
            class_shares=None if shares is None else (float(shares[0]), float(shares[1]), float(shares[2])),
            lift=figure("lift"),
            nll_improvement=figure("nll_improvement"),
            driftless_improvement=improvement,
            directional_accuracy=figure("directional_accuracy"),
            edge_bp=figure("edge_bp"),
            edge_after_costs_bp=figure("edge_after_costs_bp"),
            driftless_rule_accuracy=metrics.get("driftless_rule_accuracy"),
        )


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """How the intervals were made."""

    blocks: int | None
    """Whole blocks in the test part; None where nobody counted."""
    min_blocks: int
    """With fewer blocks there is no interval."""
    block_bars: int
    samples: int
    seed: int

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, Any], section: EvaluationSection) -> Self:
        """The intervals behind a `metrics.test` mapping that holds `blocks` and `block_bars`."""
        return cls(
            blocks=metrics["blocks"],
            min_blocks=section.min_blocks,
            block_bars=metrics["block_bars"],
            samples=section.bootstrap_samples,
            seed=section.bootstrap_seed,
        )


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """The fitted temperature, and the sweep that informs beside it."""

    fitted: float
    """Divides the raw logits; the one in the bundle."""
    learned: float | None
    """What the network had learned itself; replaced by `fitted`."""
    sweep: TemperatureSweep
    target_low: float
    target_high: float
    ece_limit: float


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A stretch without candles; no window and no label reaches across it."""

    start: datetime
    end: datetime
    minutes: int
    cause: str | None = None
    """Why, as far as the source knows."""


@dataclass(frozen=True, kw_only=True)
class CandleCheck:
    """A cross-check of the newest candles."""

    name: str
    value: float | None
    limit: float
    alarm: bool
    words: str


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What the exchange said beside the candles."""

    exchange: str
    market: str
    volume_unit: str
    corrections: int
    skew_ms: float | None
    holes_by_cause: Mapping[str, Mapping[str, int]]
    """Cause -> `holes` and `minutes`, before any minute was filled."""
    checks: tuple[CandleCheck, ...]
    """Empty where nobody checked."""

    @classmethod
    def from_json(cls, fetched: Mapping[str, Any]) -> Self:
        """From what the candle report holds of it."""
        plain = ("exchange", "market", "volume_unit", "corrections", "skew_ms", "holes_by_cause")
        checks = tuple(CandleCheck(**check) for check in fetched["checks"] or ())
        return cls(**{name: fetched[name] for name in plain}, checks=checks)


@dataclass(frozen=True, kw_only=True)
class FeatureShift:
    """How far one feature's newest week is from its training rows."""

    name: str
    psi: float
    limit: float
    """From its own past weeks, and at least the gate's floor."""

    @property
    def above(self) -> bool:
        """Whether it is further away than its past weeks were; a NaN is."""
        return not self.psi <= self.limit


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Every feature's shift, the worst beside its own limit first."""

    past_weeks: int
    features: tuple[FeatureShift, ...]

    @classmethod
    def from_json(cls, drift: Mapping[str, Any]) -> Self:
        """From what the judgement holds of it."""
        shifts = [FeatureShift(**feature) for feature in drift["features"]]
        return cls(
            past_weeks=drift["past_weeks"],
            features=tuple(sorted(shifts, key=lambda shift: (not shift.above, -shift.psi / shift.limit))),
        )


@dataclass(frozen=True, kw_only=True)
class Part:
    """Train, validation or test: times of its first and last row, and its rows."""

    name: str
    first: datetime
    last: datetime
    rows: int


@dataclass(frozen=True, kw_only=True)
class DataWindow:
    """Which candles were used, what is missing in them, and how they were split."""

    first: datetime
    last: datetime
    rows: int
    expected_minutes: int
    missing_minutes: int
    filled_minutes: int
    """Minutes without trades that were filled with the last close and zero volume."""
    holes: tuple[Hole, ...]
    parts: tuple[Part, ...]
    """In order of time; empty where the split never happened."""
    purge_minutes: int
    embargo_minutes: int
    warnings: tuple[str, ...] = ()
    fetched: Fetched | None = None
    """None where no exchange was asked for these candles."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """Names of the cross-checks beyond their limits."""
        return () if self.fetched is None else tuple(check.name for check in self.fetched.checks if check.alarm)

    @classmethod
    def from_json(cls, candles: Mapping[str, Any], splits: Mapping[str, Any] | None) -> Self:
        """From the JSON forms of the candle report and of the splits (None: the split never happened)."""
        fetched = candles["fetched"]
        causes = {} if fetched is None else {hole["start"]: hole["cause"] for hole in fetched["holes"]}
        return cls(
            first=_time(candles["first"]),
            last=_time(candles["last"]),
            rows=candles["rows"],
            expected_minutes=candles["expected_minutes"],
            missing_minutes=candles["missing_minutes"],
            filled_minutes=candles["filled_minutes"],
            holes=tuple(
                Hole(
                    start=_time(gap["start"]),
                    end=_time(gap["end"]),
                    minutes=gap["minutes"],
                    cause=causes.get(gap["start"]),
                )
                for gap in candles["gaps"]
            ),
            parts=_parts(splits) if splits else (),
            purge_minutes=splits["purge_minutes"] if splits else 0,
            embargo_minutes=splits["embargo_minutes"] if splits else 0,
            warnings=tuple(candles["warnings"]),
            fetched=None if fetched is None else Fetched.from_json(fetched),
        )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _parts(splits: Mapping[str, Any]) -> tuple[Part, ...]:
    spans = {name: [datetime.fromtimestamp(ms / 1_000, UTC) for ms in span] for name, span in splits["spans"].items()}
    return tuple(
        Part(name=name, first=spans[name][0], last=spans[name][1], rows=splits["rows"][name])
        for name in ("train", "validation", "test")
    )


@dataclass(frozen=True, kw_only=True)
class PaidTraining:
    """What one job on a rented machine was billed."""

    ended_at: datetime
    usd: float


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """Everything that the page of one symbol shows.

    Raises:
        ValueError: the outcome and the gates contradict each other, or a time is naive.
    """

    symbol: str
    run_id: str
    written_at: datetime
    """Aware; the clock is the caller's."""
    outcome: Outcome
    reason: str
    """One line; empty where the outcome says it all."""
    verdict_words: tuple[str, ...]
    """Words that the verdict must carry, such as "no edge after costs measured"."""
    data_origin: str
    """Where the candles came from, for a reader: a folder, or the simulated market and its seed."""
    simulated_market: str | None
    """Kind of the simulated market; None for real candles."""
    label: str
    """Short name of the label with its numbers: `trend(60, 15)`."""
    label_meaning: str
    """What UP means, in one sentence."""
    gates: tuple[GateRow, ...]
    gates_section: GatesSection
    """The limits in force; those that differ from the shipped ones are pointed out."""
    evaluation_section: EvaluationSection
    """How the figures were measured; what differs from the shipped way is pointed out."""
    figures: Figures
    intervals: Intervals
    history: TrainingHistory
    gate_stop_epochs: int
    """Consecutive epochs with a failed blocking gate that end the training."""
    confusion: NDArray[np.int64] | None
    """[3, 3] rows of the test part: true class by row, predicted class by column."""
    reliability: ReliabilityBins | None
    probabilities: NDArray[np.float32]
    """[n, 3] of the test rows, after temperature."""
    logits: NDArray[np.float32]
    """[n, 3] of the test rows, after temperature."""
    temperature: Temperature
    data: DataWindow
    seconds: Mapping[str, float]
    """Seconds of each step, in the order of the steps."""
    bundle_hash: str
    data_hash: str
    champion: str | None
    """Bundle hash of the champion that this candidate was judged against; None where there was none."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """More facts of the run in reading order: seeds, commit, host, library versions."""
    drift: Drift | None = None
    """None: not measured."""
    best_possible_accuracy: float | None = None
    """Of the planted market, computed from its formula; None elsewhere."""
    paid: tuple[PaidTraining, ...] = ()
    """Of this symbol, in order of time; empty where nothing was paid."""
    controls: ControlTable | None = None
    """The model beside trainings that must find nothing; None where none was asked for."""

    def __post_init__(self) -> None:
        if self.written_at.tzinfo is None:
            raise ValueError("written_at must be an aware time, was naive")
        blocking = [gate for gate in self.gates if gate.severity == "blocking"]
        failed = [gate.name for gate in blocking if not gate.passed]
        if self.outcome in ("promoted", "passed") and (failed or not blocking):
            raise ValueError(
                f"{self.symbol}: a page must not say {self.outcome} "
                f"{'with failed blocking gates: ' + ', '.join(failed) if failed else 'without a blocking gate measured'}"
            )
