"""The gates: each takes measured numbers and says whether a candidate may go out.

Two laws hold for every gate: what was not measured (None) has failed, and NaN never passes. Limits and severities come
from the configuration; a gate that says no is a result, not an exception.

What does not belong here: measuring (evaluation.py, drift.py, scaling.py) and what a held candidate leads to (flows).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_lib.calibration import softmax
from models_lib.config import (
    BandGate,
    ConfidenceGate,
    Gate,
    GatesSection,
    LimitGate,
    LogitGate,
    RuleGate,
    Severity,
)
from models_lib.evaluation.bootstrap import Interval

Figure = float | tuple[float, float] | None
ROUNDING_NATS = 1e-6
"""An improvement up to this is rounding of float32 logits, not skill: a tie beats nothing."""
Moments = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class GateResult:
    """What one gate measured and decided.

    Attributes:
        name: of the gate, as in the configuration.
        split: the rows that it was measured on: train, validation, test, newest_week; or saved_file.
        value: the measured figure, (low, high) for a two-sided gate, None when it was not measured.
        limit: what it was held against, (low, high) for a two-sided gate.
        severity: blocking or advisory.
        passed: never True for an unmeasured or non-finite value.
        note: what a reader should know beside the numbers; may be empty.
    """

    name: str
    split: str
    value: Figure
    limit: Figure
    severity: Severity
    passed: bool
    note: str = ""

    @property
    def blocks(self) -> bool:
        """Whether this result holds the candidate."""
        return self.severity == "blocking" and not self.passed

    def to_json(self) -> dict[str, Any]:
        """Plain values; two-sided figures as lists, unmeasured ones as None."""
        return {
            "name": self.name,
            "split": self.split,
            "value": list(self.value) if isinstance(self.value, tuple) else self.value,
            "limit": list(self.limit) if isinstance(self.limit, tuple) else self.limit,
            "severity": self.severity,
            "passed": self.passed,
            "note": self.note,
        }


@dataclass(frozen=True, eq=False)
class FeatureDrift:
    """Population stability index of the newest week, feature by feature.

    Attributes:
        names: F feature names.
        psi: float64 [F], newest week against the training rows; 0 is no change.
        limit: float64 [F], the larger of the floor and the 99th percentile of the past weeks' values.
        num_past_weeks: whole weeks that the limits were taken from.
    """

    names: tuple[str, ...]
    psi: NDArray[np.float64]
    limit: NDArray[np.float64]
    num_past_weeks: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, in the order of the features."""
        rows = zip(self.names, self.psi.tolist(), self.limit.tolist(), strict=True)
        features = [{"name": name, "psi": psi, "limit": limit} for name, psi, limit in rows]
        return {"past_weeks": self.num_past_weeks, "features": features}


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurements:
    """All that the gates judge. None says "not measured"; only champion and clamp may be absent without failing a gate.

    Attributes:
        scaler_mean: float [F] as read back from the saved file.
        scaler_scale: float [F] as read back from the saved file.
        train_moments: mean and std [F] of the scaled training features, before any clip.
        validation_moments: the same on validation; reported, advisory.
        num_non_finite: NaN or infinite values in features, logits, probabilities and weights, counted by name.
        max_abs_logit: of the emitted logits, after temperature, on the test rows.
        share_over_99: share of test predictions with confidence > 0.99.
        share_over_90: share of them with confidence > 0.9.
        share_50_90: share of them with confidence in 0.5..0.9.
        mean_confidence: of the test predictions.
        class_shares: share of DOWN, NEUTRAL, UP among the test predictions.
        ece: expected calibration error on the test rows.
        accuracy: on the test rows.
        lift: accuracy minus the mechanical rule's.
        nll_improvement: the calibrated rule's NLL minus the model's.
        nll_improvement_interval: 95 % block-bootstrap interval of it.
        driftless_improvement: the driftless rule's NLL minus the model's.
        driftless_improvement_interval: 95 % interval of it.
        edge_after_costs_bp: mean signed forward return of acted-on calls after costs.
        drift: each feature's newest week against training.
        has_champion: whether there is a champion to compare with.
        champion_difference: champion's NLL minus the candidate's, on rows after both validations end.
        champion_difference_interval: 95 % interval of it.
        champion_note: on which rows, or why it could not be measured.
        clamped_share: share of test rows in which the model's own clamp cut a logit; None: it has no clamp.
    """

    scaler_mean: NDArray[np.floating] | None
    scaler_scale: NDArray[np.floating] | None
    train_moments: Moments | None
    validation_moments: Moments | None
    num_non_finite: Mapping[str, int] | None
    max_abs_logit: float | None
    share_over_99: float | None
    share_over_90: float | None
    share_50_90: float | None
    mean_confidence: float | None
    class_shares: tuple[float, float, float] | None
    ece: float | None
    accuracy: float | None
    lift: float | None
    nll_improvement: float | None
    nll_improvement_interval: Interval | None
    driftless_improvement: float | None
    driftless_improvement_interval: Interval | None
    edge_after_costs_bp: float | None
    drift: FeatureDrift | None
    has_champion: bool
    champion_difference: float | None
    champion_difference_interval: Interval | None
    champion_note: str = ""
    clamped_share: float | None = None


def judge(measured: Measurements, gates: GatesSection) -> tuple[GateResult, ...]:
    """Every gate, in the order of the configuration.

    `not_worse_than_champion` is left out when there is no champion; everything else is always there, measured or not.
    `feature_normalisation` comes twice: on train with its configured severity, on validation as advisory.
    """
    results = [
        scaler_present(measured.scaler_mean, measured.scaler_scale, gates.scaler_present),
        feature_normalisation(measured.train_moments, gates.feature_normalisation, split="train"),
        feature_normalisation(
            measured.validation_moments,
            gates.feature_normalisation.model_copy(update={"severity": "advisory"}),
            split="validation",
        ),
        logit_range(measured.max_abs_logit, gates.logit_range, clamped_share=measured.clamped_share),
        overconfidence(measured.share_over_99, gates.overconfidence, share_over_90=measured.share_over_90),
        class_balance(measured.class_shares, gates.class_balance),
        finite(measured.num_non_finite, gates.finite),
        calibration_error(measured.ece, gates.calibration_error),
        accuracy(measured.accuracy, gates.accuracy),
        beats_mechanical_rule(
            measured.nll_improvement, measured.nll_improvement_interval, measured.lift, gates.beats_mechanical_rule
        ),
        beats_driftless_rule(
            measured.driftless_improvement, measured.driftless_improvement_interval, gates.beats_driftless_rule
        ),
        confidence_band(measured.mean_confidence, measured.share_50_90, gates.confidence_band),
        edge_after_costs(measured.edge_after_costs_bp, gates.edge_after_costs),
        feature_drift(measured.drift, gates.feature_drift),
    ]
    if measured.has_champion:
        results.append(
            not_worse_than_champion(
                measured.champion_difference,
                measured.champion_difference_interval,
                gates.not_worse_than_champion,
                beside=measured.champion_note,
            )
        )
    return tuple(results)


@dataclass(frozen=True)
class LogitFigures:
    """What the gates ask of logits [n, 3] after temperature.

    Attributes:
        num_non_finite: entries that are NaN or infinite.
        largest: the largest |logit|; this and what follows is None where an entry is not finite, or there is none.
        over_99: share of rows with a confidence above 0.99.
        over_90: the same above 0.9.
        class_shares: of the predictions, DOWN, NEUTRAL, UP.
    """

    num_non_finite: int
    largest: float | None = None
    over_99: float | None = None
    over_90: float | None = None
    class_shares: tuple[float, float, float] | None = None


def logit_figures(logits: NDArray[np.floating]) -> LogitFigures:
    """The figures of logits [n, 3] after temperature."""
    num_non_finite = int(np.count_nonzero(~np.isfinite(logits)))
    if num_non_finite or len(logits) == 0:
        return LogitFigures(num_non_finite)
    confidence = softmax(logits).max(axis=1)
    counts = np.bincount(logits.argmax(axis=1), minlength=3) / len(logits)
    return LogitFigures(
        num_non_finite,
        largest=float(np.abs(logits).max()),
        over_99=float((confidence > 0.99).mean()),
        over_90=float((confidence > 0.9).mean()),
        class_shares=(float(counts[0]), float(counts[1]), float(counts[2])),
    )


def epoch_gates(
    *,
    scaler_mean: NDArray[np.floating] | None,
    scaler_scale: NDArray[np.floating] | None,
    logits: LogitFigures,
    num_non_finite_weights: int,
    gates: GatesSection,
) -> tuple[GateResult, ...]:
    """The gates that are judged after each epoch, on validation.

    Args:
        scaler_mean: float [F], written and read back; None for a network without scaler.
        scaler_scale: float [F], written and read back; None for a network without scaler.
        logits: figures of the logits divided by this epoch's fitted temperature.
        num_non_finite_weights: NaN or infinite entries of the weights.
        gates: limits and severities.

    Returns:
        scaler_present, logit_range, overconfidence, class_balance, finite, in this order.
    """
    non_finite = {"logits": logits.num_non_finite, "weights": num_non_finite_weights}
    return (
        scaler_present(scaler_mean, scaler_scale, gates.scaler_present),
        logit_range(logits.largest, gates.logit_range, split="validation"),
        overconfidence(logits.over_99, gates.overconfidence, share_over_90=logits.over_90, split="validation"),
        class_balance(logits.class_shares, gates.class_balance, split="validation"),
        finite(non_finite, gates.finite, split="validation"),
    )


def scaler_present(mean: NDArray[np.floating] | None, scale: NDArray[np.floating] | None, gate: Gate) -> GateResult:
    """Passes when the saved file holds a finite mean and a finite scale above 0; the value is the smallest scale."""
    if mean is None or scale is None or scale.size == 0 or mean.shape != scale.shape:
        return _result("scaler_present", "saved_file", None, 0.0, gate, passed=False, note="the file holds no scaler")
    all_finite = bool(np.isfinite(mean).all() and np.isfinite(scale).all())
    smallest = float(scale.min())
    note = "" if all_finite else "mean or scale is not finite"
    return _result("scaler_present", "saved_file", smallest, 0.0, gate, passed=all_finite and smallest > 0.0, note=note)


def feature_normalisation(moments: Moments | None, gate: LimitGate, *, split: str) -> GateResult:
    """Passes when |mean| and |std - 1| of every scaled feature are below the limit; the value is the worst of them."""
    if moments is None or moments[0].size == 0:
        return _below("feature_normalisation", split, None, gate)
    mean, std = moments
    worst = float(np.maximum(np.abs(mean), np.abs(std - 1.0)).max())  # max carries a NaN on
    return _below("feature_normalisation", split, worst, gate, note=f"worst of {mean.size} features")


def logit_range(
    max_abs_logit: float | None, gate: LogitGate, *, clamped_share: float | None = None, split: str = "test"
) -> GateResult:
    """Passes when the largest |logit| after temperature is below the limit, and a clamp, if there is one, seldom acts."""
    below = max_abs_logit is not None and max_abs_logit < gate.limit
    if clamped_share is None:
        return _result("logit_range", split, max_abs_logit, gate.limit, gate, passed=below)
    return _result(
        "logit_range",
        split,
        max_abs_logit,
        gate.limit,
        gate,
        passed=below and clamped_share <= gate.max_clamped_share,
        also_needed=(clamped_share,),
        note=f"clamped in {clamped_share:.2%} of the rows (at most {gate.max_clamped_share:.2%})",
    )


def overconfidence(
    share_over_99: float | None, gate: LimitGate, *, share_over_90: float | None = None, split: str = "test"
) -> GateResult:
    """Passes when the share of predictions above 0.99 is below the limit; the share above 0.9 is only reported."""
    note = "" if share_over_90 is None else f"{share_over_90:.1%} above 0.9"
    return _below("overconfidence", split, share_over_99, gate, note=note)


def class_balance(
    class_shares: tuple[float, float, float] | None, gate: BandGate, *, split: str = "test"
) -> GateResult:
    """Passes when each class takes a share of the predictions within the band; the value is (smallest, largest)."""
    if class_shares is None:
        return _within("class_balance", split, None, gate)
    note = "DOWN {:.1%}, NEUTRAL {:.1%}, UP {:.1%}".format(*class_shares)
    if not all(math.isfinite(share) for share in class_shares):  # min and max may step over a NaN
        return _within("class_balance", split, None, gate, note=note)
    return _within("class_balance", split, (min(class_shares), max(class_shares)), gate, note=note)


def finite(num_non_finite: Mapping[str, int] | None, gate: Gate, *, split: str = "test") -> GateResult:
    """Passes when nothing that was counted is NaN or infinite; the value is the number that is."""
    if not num_non_finite:
        return _result("finite", split, None, 0.0, gate, passed=False)
    total = float(sum(num_non_finite.values()))
    note = ", ".join(f"{count:,} in {name}" for name, count in num_non_finite.items() if count)
    return _result("finite", split, total, 0.0, gate, passed=total == 0.0, note=note)


def calibration_error(ece: float | None, gate: LimitGate) -> GateResult:
    """Passes when the expected calibration error is below the limit."""
    return _below("calibration_error", "test", ece, gate)


def accuracy(value: float | None, gate: LimitGate) -> GateResult:
    """Passes when the accuracy reaches the limit; comparable only within one label definition."""
    return _result("accuracy", "test", value, gate.limit, gate, passed=value is not None and value >= gate.limit)


def improves(improvement: float | None, interval: Interval | None, *, limit: float) -> bool:
    """Whether an NLL improvement and the lower end of its interval are finite and exceed the limit by more than rounding."""
    if improvement is None or interval is None or not math.isfinite(improvement):
        return False
    return improvement > limit + ROUNDING_NATS and interval.low > limit + ROUNDING_NATS


def beats_mechanical_rule(
    nll_improvement: float | None, interval: Interval | None, lift: float | None, gate: RuleGate
) -> GateResult:
    """Passes when the NLL beats the calibrated rule's and the accuracy is not clearly below the best rule's.

    The value is the lower end of the 95 % interval of the improvement; it must exceed the limit, the improvement itself
    too, and the lift must reach `min_lift`.
    """
    passed = improves(nll_improvement, interval, limit=gate.limit) and lift is not None and lift >= gate.min_lift
    return _result(
        "beats_mechanical_rule",
        "test",
        None if interval is None else interval.low,
        gate.limit,
        gate,
        passed=passed,
        also_needed=(nll_improvement, lift),
        note=f"NLL improvement {_said(nll_improvement)}, lift {_said(lift)} (at least {gate.min_lift:+.4f})",
    )


def beats_driftless_rule(improvement: float | None, interval: Interval | None, gate: LimitGate) -> GateResult:
    """Passes when the NLL is below the driftless rule's, by an interval whose lower end (the value) exceeds the limit."""
    return _result(
        "beats_driftless_rule",
        "test",
        None if interval is None else interval.low,
        gate.limit,
        gate,
        passed=improves(improvement, interval, limit=gate.limit),
        also_needed=(improvement,),
        note=f"NLL improvement {_said(improvement)}",
    )


def not_worse_than_champion(
    difference: float | None, interval: Interval | None, gate: LimitGate, *, beside: str = ""
) -> GateResult:
    """Passes unless the interval of (champion NLL - candidate NLL) lies wholly below the limit; the value is its upper end."""
    return _result(
        "not_worse_than_champion",
        "test",
        None if interval is None else interval.high,
        gate.limit,
        gate,
        passed=interval is not None and interval.high >= gate.limit,
        also_needed=(difference,),
        note="; ".join(part for part in (f"champion NLL - candidate NLL {_said(difference)}", beside) if part),
    )


def confidence_band(mean_confidence: float | None, share_50_90: float | None, gate: ConfidenceGate) -> GateResult:
    """Passes when the mean confidence and the share of predictions in 0.5..0.9 are within their bands.

    The value is the mean confidence, given twice because a two-sided gate has (low, high).
    """
    band = f"{gate.share_50_90_low:.0%}-{gate.share_50_90_high:.0%}"
    said = "not measured" if share_50_90 is None else f"{share_50_90:.1%}"
    value = None if mean_confidence is None else (mean_confidence, mean_confidence)
    share_fits = share_50_90 is not None and gate.share_50_90_low <= share_50_90 <= gate.share_50_90_high
    return _result(
        "confidence_band",
        "test",
        value,
        (gate.low, gate.high),
        gate,
        passed=mean_confidence is not None and gate.low <= mean_confidence <= gate.high and share_fits,
        also_needed=(share_50_90,),
        note=f"share of predictions between 0.5 and 0.9: {said} (wanted {band})",
    )


def edge_after_costs(edge_after_costs_bp: float | None, gate: LimitGate) -> GateResult:
    """Passes when acted-on calls earn more than the limit after costs, in basis points."""
    passed = edge_after_costs_bp is not None and edge_after_costs_bp > gate.limit
    return _result(
        "edge_after_costs", "test", edge_after_costs_bp, gate.limit, gate, passed=passed, note="basis points"
    )


def feature_drift(drift: FeatureDrift | None, gate: LimitGate) -> GateResult:
    """Passes when no feature's newest week is further from training than its own limit; the value is the worst feature's."""
    if drift is None or drift.psi.size == 0:
        return _result("feature_drift", "newest_week", None, gate.limit, gate, passed=False)
    above = ~(drift.psi <= drift.limit)  # a NaN is above
    worst = int(np.argmax(np.where(np.isfinite(drift.psi), drift.psi / drift.limit, np.inf)))
    note = f"{int(above.sum())} of {drift.psi.size} features above their limit; worst is {drift.names[worst]}"
    return _result(
        "feature_drift",
        "newest_week",
        float(drift.psi[worst]),
        float(drift.limit[worst]),
        gate,
        passed=not above.any(),
        note=note,
    )


def _below(name: str, split: str, value: float | None, gate: LimitGate, *, note: str = "") -> GateResult:
    """Passes strictly below the limit."""
    return _result(name, split, value, gate.limit, gate, passed=value is not None and value < gate.limit, note=note)


def _within(name: str, split: str, value: tuple[float, float] | None, gate: BandGate, *, note: str = "") -> GateResult:
    """Passes when both ends of the value lie within the band, its ends included."""
    passed = value is not None and gate.low <= value[0] and value[1] <= gate.high
    return _result(name, split, value, (gate.low, gate.high), gate, passed=passed, note=note)


def _said(figure: float | None) -> str:
    """The figure as a note says it."""
    return "not measured" if figure is None else f"{figure:+.4f}"


def _result(
    name: str,
    split: str,
    value: Figure,
    limit: Figure,
    gate: Gate,
    *,
    passed: bool,
    also_needed: tuple[float | None, ...] = (),
    note: str = "",
) -> GateResult:
    """The result, with the two laws enforced here for every gate.

    A value, or a figure that the gate needs beside it, that is absent or not finite makes the value None and the gate
    fail, whatever `passed` says.
    """
    figures: tuple[float | None, ...] = (value if isinstance(value, tuple) else (value,)) + also_needed
    absent = any(figure is None for figure in figures)
    measured = not absent and all(figure is not None and math.isfinite(figure) for figure in figures)
    if not measured:
        note = "; ".join(filter(None, ("not measured" if absent else "not finite", note)))
    return GateResult(
        name=name,
        split=split,
        value=value if measured else None,
        limit=limit,
        severity=gate.severity,
        passed=bool(passed and measured),
        note=note,
    )
