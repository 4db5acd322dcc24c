"""The honest account of one model on the test rows: its figures beside every rule that needs no model, with intervals.

Accuracy alone says little: a label that contains the known past is predictable by one line. So each figure stands next
to (a) the majority class, (b) the mechanical rule and the same calibrated, (c) lift and NLL improvement over them,
(d) directional accuracy by the return from the current close, (e) the mean of that return on UP minus DOWN calls,
(f) the driftless rule: all that volatility alone can say.

Knowable when: rules are fitted on the training rows; the test rows are looked at here and nowhere else in a run.

What does not belong here: the gates (gates.py), and the network: predictions come in as the saved bundle gave them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models_lib.config import EvaluationSection, LabelSection
from models_lib.evaluation.baselines import (
    MechanicalRule,
    fit_calibrated_rule,
    fit_driftless_rule,
    fit_mechanical_rule,
)
from models_lib.evaluation.blocks import Blocks
from models_lib.evaluation.bootstrap import Interval
from models_lib.evaluation.calls import call_figures, prediction_figures
from models_lib.evaluation.champion import ChampionComparison
from models_lib.evaluation.gates import FeatureDrift, Measurements, Moments, improves
from models_lib.evaluation.metrics import (
    ClassificationMetrics,
    EmittedFigures,
    classification_metrics,
    emitted_figures,
    nll_per_row,
)
from models_lib.evaluation.volatility import volatility_inputs
from models_lib.labels import LabelValues, in_label_units, thresholds_of_rows
from models_lib.splits import Splits

Floats = NDArray[np.float64]
Classes = NDArray[np.int8]

NO_DIRECTION = "calibrated volatility; no directional skill shown"
NO_BETTER_THAN_A_COIN = "no directional skill shown: its calls are no better than a coin"
NO_EDGE = "no edge after costs measured"


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationInputs:
    """What an evaluation looks at.

    Attributes:
        candles: the symbol's filled candles, N rows.
        label: the label's definition.
        threshold: the fitted NEUTRAL threshold, as in the bundle.
        values: label values of the N rows.
        classes: int8 [N].
        splits: rules are fitted on `train`, everything is measured on `test`.
        logits: float [n_test, 3] after temperature, from the bundle that was saved and read back.
        probabilities: float [n_test, 3], from the same.
        section: costs, blocks, samples, bins.
    """

    candles: pd.DataFrame
    label: LabelSection
    threshold: float
    values: LabelValues
    classes: Classes
    splits: Splits
    logits: NDArray[np.floating]
    probabilities: NDArray[np.floating]
    section: EvaluationSection


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """The account of one model on the test rows.

    Attributes:
        metrics: plain values for the run's summary; what could not be measured is None.
        classification: the figures of the predictions with confusion matrix and reliability bins; None when logits or
            probabilities are not finite.
        mechanical_rule: the rule that was best on the training rows; None without labels.
        intervals: by the name of the metric; None where not measured.
        block_bars: length of the bootstrap blocks; None without labels.
        num_non_finite: NaN or infinite entries of logits and probabilities.
    """

    metrics: Mapping[str, Any]
    classification: ClassificationMetrics | None
    mechanical_rule: MechanicalRule | None
    intervals: Mapping[str, Interval | None]
    block_bars: int | None
    num_non_finite: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class _Rules:
    """What the rules say on the test rows."""

    mechanical: MechanicalRule
    mechanical_correct: Floats
    calibrated_nll: Floats
    driftless_nll: Floats
    driftless_accuracy: float


def evaluate(inputs: EvaluationInputs) -> Evaluation:
    """Every figure of the honest account, on the test rows.

    Logits that are not finite give an evaluation whose model figures are None: the gates then fail as not measured.

    Raises:
        ValueError: predictions that do not fit the test rows.
    """
    test = inputs.splits.test
    if inputs.logits.shape != (test.size, 3) or inputs.probabilities.shape != (test.size, 3):
        raise ValueError(
            f"logits and probabilities must be [{test.size}, 3], one row a test row, "
            f"was {inputs.logits.shape} and {inputs.probabilities.shape}"
        )
    rules = _rules_on_test(inputs)
    blocks = Blocks(test.size, inputs.section)
    num_non_finite = _num_non_finite(inputs.logits, inputs.probabilities)
    metrics: dict[str, Any] = dict.fromkeys(_MODEL_METRICS)
    intervals: dict[str, Interval | None] = {}
    classification = None
    if not any(num_non_finite.values()):
        classification = classification_metrics(
            inputs.logits, inputs.probabilities, inputs.classes[test], bins=inputs.section.ece_bins
        )
        skill, skill_intervals = _skill(inputs, rules, blocks)
        classes, forward = inputs.classes[test], inputs.values.forward_return[test]
        hits, hit_intervals = prediction_figures(inputs.probabilities, classes, blocks)
        edge, edge_intervals = call_figures(inputs.probabilities, forward, inputs.section.costs_bp, blocks)
        metrics |= _plain(classification) | skill | hits | edge
        intervals = skill_intervals | hit_intervals | edge_intervals
    metrics |= _rule_metrics(inputs, rules)
    metrics |= {f"{name}_interval": None for name in _WITH_INTERVAL}
    metrics |= {f"{name}_interval": _bounds(interval) for name, interval in intervals.items()}
    judged = intervals.get("nll_improvement")
    metrics |= {
        "effective_rows": None if judged is None else judged.effective_rows,
        "blocks": test.size // blocks.block_bars,
        "block_bars": blocks.block_bars,
    }
    return Evaluation(
        metrics=metrics,
        classification=classification,
        mechanical_rule=rules.mechanical,
        intervals=intervals,
        block_bars=blocks.block_bars,
        num_non_finite=num_non_finite,
    )


def evaluate_without_labels(logits: NDArray[np.floating], probabilities: NDArray[np.floating]) -> Evaluation:
    """What a model's answers say by themselves; everything that needs labels is None, so its gates fail as not measured.

    Args:
        logits: float [n, 3] after temperature.
        probabilities: float [n, 3].
    """
    num_non_finite = _num_non_finite(logits, probabilities)
    names = (*_MODEL_METRICS, *_RULE_METRICS, *(f"{name}_interval" for name in _WITH_INTERVAL), *_BLOCK_METRICS)
    metrics: dict[str, Any] = dict.fromkeys(names)
    if len(logits) and not any(num_non_finite.values()):
        metrics |= _emitted(emitted_figures(logits, probabilities))
    return Evaluation(
        metrics=metrics,
        classification=None,
        mechanical_rule=None,
        intervals={},
        block_bars=None,
        num_non_finite=num_non_finite,
    )


def _num_non_finite(logits: NDArray[np.floating], probabilities: NDArray[np.floating]) -> dict[str, int]:
    emitted = {"logits": logits, "probabilities": probabilities}
    return {name: int(np.count_nonzero(~np.isfinite(values))) for name, values in emitted.items()}


_WITH_INTERVAL = (
    "accuracy",
    "confidence_gap",
    "lift",
    "nll_improvement",
    "driftless_improvement",
    "directional_accuracy",
    "edge_bp",
    "edge_after_costs_bp",
)
_MODEL_METRICS = (
    "ece",
    "nll",
    "mean_confidence",
    "share_over_90",
    "share_over_99",
    "share_50_90",
    "max_abs_logit",
    "class_shares",
    *_WITH_INTERVAL,
)
_RULE_METRICS = (
    "majority_accuracy",
    "mechanical_rule",
    "mechanical_rule_accuracy",
    "mechanical_rule_nll",
    "driftless_rule_nll",
    "driftless_rule_accuracy",
)
_BLOCK_METRICS = ("effective_rows", "blocks", "block_bars")


def _plain(figures: ClassificationMetrics) -> dict[str, Any]:
    """The figures of the predictions as plain values, without those that get an interval."""
    return {"ece": figures.ece, "nll": figures.nll} | _emitted(figures)


def _emitted(figures: EmittedFigures) -> dict[str, Any]:
    """Those that need no classes."""
    return {
        "mean_confidence": figures.mean_confidence,
        "share_over_90": figures.share_over_90,
        "share_over_99": figures.share_over_99,
        "share_50_90": figures.share_50_90,
        "max_abs_logit": figures.max_abs_logit,
        "class_shares": list(figures.class_shares),
    }


def _rules_on_test(inputs: EvaluationInputs) -> _Rules:
    """Fits the rules on the training rows and applies them to the test rows."""
    train, test, values = inputs.splits.train, inputs.splits.test, inputs.values
    known_part = in_label_units(values.known_part, values, inputs.label)
    train_classes, test_classes = inputs.classes[train], inputs.classes[test]
    rows = np.arange(test.size)

    mechanical = fit_mechanical_rule(known_part[train], train_classes)
    calibrated = fit_calibrated_rule(known_part[train], train_classes)

    location, theta = _location_and_threshold(inputs)
    volatility = volatility_inputs(inputs.candles)
    driftless = fit_driftless_rule(location[train], theta[train], volatility[train], train_classes)
    driftless_log_p = driftless.log_probabilities(location[test], theta[test], volatility[test])
    return _Rules(
        mechanical=mechanical,
        mechanical_correct=(mechanical.predict(known_part[test]) == test_classes).astype(np.float64),
        calibrated_nll=-calibrated.log_probabilities(known_part[test])[rows, test_classes],
        driftless_nll=-driftless_log_p[rows, test_classes],
        driftless_accuracy=float((driftless_log_p.argmax(axis=1) == test_classes).mean()),
    )


def _location_and_threshold(inputs: EvaluationInputs) -> tuple[Floats, Floats]:
    """Where the driftless rule centres each row and where NEUTRAL ends, float64 [N] each.

    For `triple_barrier` the unit is the barrier's width, which the fitted scale absorbs.
    """
    values = inputs.values
    location = values.known_part if values.known_part_inside else np.zeros_like(values.known_part)
    if inputs.label.kind == "triple_barrier":
        return location, np.ones_like(location)
    return location, thresholds_of_rows(values, inputs.label, inputs.threshold)


def _rule_metrics(inputs: EvaluationInputs, rules: _Rules) -> dict[str, Any]:
    """What needs no model: majority, mechanical, calibrated and driftless rule on the test rows."""
    test_classes = inputs.classes[inputs.splits.test]
    return {
        "majority_accuracy": float((test_classes == rules.mechanical.majority_class).mean()),
        "mechanical_rule": rules.mechanical.kind,
        "mechanical_rule_accuracy": float(rules.mechanical_correct.mean()),
        "mechanical_rule_nll": float(rules.calibrated_nll.mean()),
        "driftless_rule_nll": float(rules.driftless_nll.mean()),
        "driftless_rule_accuracy": rules.driftless_accuracy,
    }


def _skill(
    inputs: EvaluationInputs, rules: _Rules, blocks: Blocks
) -> tuple[dict[str, Any], dict[str, Interval | None]]:
    """The model against the rules, row by row."""
    classes = inputs.classes[inputs.splits.test]
    nll = nll_per_row(inputs.logits, classes)
    correct = (inputs.probabilities.argmax(axis=1) == classes).astype(np.float64)
    per_row = {
        "lift": correct - rules.mechanical_correct,
        "nll_improvement": rules.calibrated_nll - nll,
        "driftless_improvement": rules.driftless_nll - nll,
    }
    figures = {name: float(difference.mean()) for name, difference in per_row.items()}
    return figures, {name: blocks.mean(difference) for name, difference in per_row.items()}


def _bounds(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def verdict_words(evaluation: Evaluation) -> tuple[str, ...]:
    """The words that a verdict must carry: none, or what was not shown. Not measured counts as not shown.

    Better probabilities than the driftless rule's may come from a better volatility alone (two years of candles are
    enough for that), so direction is only shown when the calls' directional accuracy lies above one half as well.
    """
    words = []
    if not _shown(evaluation, "driftless_improvement", above=0.0):
        words.append(NO_DIRECTION)
    elif not _shown(evaluation, "directional_accuracy", above=0.5):
        words.append(NO_BETTER_THAN_A_COIN)
    edge = evaluation.metrics["edge_after_costs_bp"]
    if edge is None or not edge > 0.0:
        words.append(NO_EDGE)
    return tuple(words)


def _shown(evaluation: Evaluation, name: str, *, above: float) -> bool:
    return improves(evaluation.metrics[name], evaluation.intervals.get(name), limit=above)


def measurements_of(
    evaluation: Evaluation,
    *,
    scaler_mean: NDArray[np.floating] | None,
    scaler_scale: NDArray[np.floating] | None,
    train_moments: Moments | None,
    validation_moments: Moments | None,
    num_non_finite: Mapping[str, int],
    drift: FeatureDrift | None,
    champion: ChampionComparison | None,
    clamped_share: float | None = None,
) -> Measurements:
    """What the gates judge: this evaluation together with what was read back from the saved files.

    Args:
        evaluation: of the candidate.
        scaler_mean: float [F] read back from the file, None when it holds none.
        scaler_scale: float [F] read back from the file, None when it holds none.
        train_moments: of the scaled training features.
        validation_moments: of the scaled validation features.
        num_non_finite: counts for features and weights; those of logits and probabilities are added here.
        drift: of the newest week.
        champion: None when there is no champion.
        clamped_share: of the judged rows; None for a model without a clamp.
    """
    metrics, intervals = evaluation.metrics, evaluation.intervals
    shares = metrics["class_shares"]
    return Measurements(
        scaler_mean=scaler_mean,
        scaler_scale=scaler_scale,
        train_moments=train_moments,
        validation_moments=validation_moments,
        num_non_finite=dict(num_non_finite) | dict(evaluation.num_non_finite),
        max_abs_logit=metrics["max_abs_logit"],
        share_over_99=metrics["share_over_99"],
        share_over_90=metrics["share_over_90"],
        share_50_90=metrics["share_50_90"],
        mean_confidence=metrics["mean_confidence"],
        class_shares=None if shares is None else (shares[0], shares[1], shares[2]),
        ece=metrics["ece"],
        accuracy=metrics["accuracy"],
        lift=metrics["lift"],
        nll_improvement=metrics["nll_improvement"],
        nll_improvement_interval=intervals.get("nll_improvement"),
        driftless_improvement=metrics["driftless_improvement"],
        driftless_improvement_interval=intervals.get("driftless_improvement"),
        edge_after_costs_bp=metrics["edge_after_costs_bp"],
        drift=drift,
        has_champion=champion is not None,
        champion_difference=None if champion is None else champion.difference,
        champion_difference_interval=None if champion is None else champion.interval,
        champion_note="" if champion is None else champion.note,
        clamped_share=clamped_share,
    )
