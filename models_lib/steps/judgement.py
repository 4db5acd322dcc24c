"""The judgement of any model on a market: what it emits, every figure and every gate.

A candidate of a run, a repaired or joined bundle and a file that nobody would load again all go through here, so that
a verdict means the same for all of them. What a model does not have or what cannot be measured counts as failed.

What does not belong here: candles and labels (market.py), asking the champion (champion.py), files of a run (judge.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_lib.bundle import Bundle, Manifest
from models_lib.bundle.kinds import clamped_rows
from models_lib.bundle.predictor import Predictor, probabilities_of
from models_lib.bundle.tensors import SCALER_MEAN, SCALER_SCALE
from models_lib.config import EvaluationSection, RunConfig
from models_lib.evaluation.champion import ChampionComparison
from models_lib.evaluation.drift import feature_drift
from models_lib.evaluation.evaluation import (
    Evaluation,
    EvaluationInputs,
    evaluate,
    evaluate_without_labels,
    measurements_of,
    verdict_words,
)
from models_lib.evaluation.gates import FeatureDrift, GateResult, Moments, judge
from models_lib.features import FeatureSet
from models_lib.scaling import Scaler, scaled_moments
from models_lib.steps.market import Market, Matrix, Rows

MOST = 0.8
"""Of a model's training rows, at least: fewer have a mean of their own."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelAnswers:
    """What one model emits on a market's judged rows, and what is known of its file.

    Attributes:
        logits: float [n_judged, 3], as emitted, after the temperature.
        probabilities: float [n_judged, 3], as emitted.
        names: its F features, in order.
        matrix: float32 [N, F], its own features of every row, unscaled.
        scaler: mean and scale that its file holds; None: the file holds none.
        num_non_finite_weights: NaN or infinite entries of its tensors.
        clamped_share: share of the judged rows in which its clamp cut a logit; None: it has no clamp.
        train_rows: the rows that its scaler is held against; None: the market's training rows.
    """

    logits: NDArray[np.floating]
    probabilities: NDArray[np.floating]
    names: tuple[str, ...]
    matrix: Matrix
    scaler: Scaler | None
    num_non_finite_weights: int
    clamped_share: float | None = None
    train_rows: Rows | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class JudgedModel:
    """Everything that was measured of one model, and what the gates say to it.

    Attributes:
        evaluation: figures and intervals.
        gates: every gate of the configuration; the champion's only where there is one.
        words: that every verdict must carry.
        drift: of its own features; None when not measured.
        metrics: the evaluation's, with `clamped_share`, `best_possible_accuracy` and `against_champion`.
    """

    evaluation: Evaluation
    gates: tuple[GateResult, ...]
    words: tuple[str, ...]
    drift: FeatureDrift | None
    metrics: Mapping[str, Any]

    @property
    def failed_blocking(self) -> tuple[str, ...]:
        """Names of the gates that hold it."""
        return tuple(gate.name for gate in self.gates if gate.blocks)

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain values."""
        return {
            "gates": [gate.to_json() for gate in self.gates],
            "metrics": dict(self.metrics),
            "words": list(self.words),
        }


def answers_of(bundle: Bundle, market: Market) -> ModelAnswers:
    """What the bundle answers on the market's judged rows, asked with its own features."""
    tensors, features = bundle.tensors, bundle.feature_set
    clamped = clamped_rows(bundle, market.matrix(features)[market.judged_rows])
    return answers_of_predictor(
        bundle.predictor,
        market,
        features,
        scaler=Scaler(tensors[SCALER_MEAN].astype(np.float64), tensors[SCALER_SCALE].astype(np.float64)),
        num_non_finite_weights=sum(int(np.count_nonzero(~np.isfinite(tensor))) for tensor in tensors.values()),
        clamped_share=float(clamped.mean()) if clamped is not None and clamped.size else None,
        train_rows=_own_train_rows(bundle.manifest, market),
    )


def _own_train_rows(model: Manifest, market: Market) -> Rows | None:
    """The model's own training rows, where the market has most of them.

    The training part of newer candles lies later, and within days prices leave a scaler that fits what it was fitted on.
    """
    if market.labelled is None:
        return None
    rows = market.trained_on(model)
    return rows if rows.size >= MOST * model.splits.train.rows else None


def answers_of_predictor(
    predictor: Predictor,
    market: Market,
    features: FeatureSet,
    *,
    scaler: Scaler | None,
    num_non_finite_weights: int,
    clamped_share: float | None = None,
    train_rows: Rows | None = None,
) -> ModelAnswers:
    """What any model answers on the market's judged rows.

    Args:
        predictor: the model.
        market: whose rows.
        features: its inputs, in order.
        scaler: what its file holds; None: nothing.
        num_non_finite_weights: NaN or infinite entries of its tensors.
        clamped_share: of the judged rows; None: it has no clamp.
        train_rows: that its scaler is held against; None: the market's.
    """
    matrix = market.matrix(features)
    logits = predictor.logits(matrix[market.judged_rows])
    return ModelAnswers(
        logits=logits,
        probabilities=probabilities_of(logits),
        names=features.names,
        matrix=matrix,
        scaler=scaler,
        num_non_finite_weights=num_non_finite_weights,
        clamped_share=clamped_share,
        train_rows=train_rows,
    )


def judge_answers(
    market: Market, answers: ModelAnswers, config: RunConfig, *, champion: ChampionComparison | None
) -> JudgedModel:
    """Figures, intervals and gates of what a model answered; a gate that says no is a result.

    On a market without labels everything that needs them is not measured.

    Args:
        market: whose judged rows were answered.
        answers: of the model.
        config: gates, and how figures are measured.
        champion: the model against the champion; None where there is none.
    """
    if market.labelled is None:
        evaluation = evaluate_without_labels(answers.logits, answers.probabilities)
    else:
        evaluation = evaluate(evaluation_inputs(market, answers, config.evaluation))
    drift = _drift(market, answers, floor=config.gates.feature_drift.limit)
    return JudgedModel(
        evaluation=evaluation,
        gates=_gates(market, answers, config, evaluation=evaluation, drift=drift, champion=champion),
        words=verdict_words(evaluation),
        drift=drift,
        metrics={
            **evaluation.metrics,
            "best_possible_accuracy": market.best_possible_accuracy(),
            "clamped_share": answers.clamped_share,
            "against_champion": None if champion is None else champion.to_json(),
        },
    )


def evaluation_inputs(market: Market, answers: ModelAnswers, section: EvaluationSection) -> EvaluationInputs:
    """What the evaluation of these answers looks at.

    Raises:
        DataError: the market has no labels.
    """
    labelled = market.labels
    return EvaluationInputs(
        candles=market.frame,
        label=market.label,
        threshold=labelled.threshold,
        values=labelled.values,
        classes=labelled.classes,
        splits=labelled.splits,
        logits=answers.logits,
        probabilities=answers.probabilities,
        section=section,
    )


def _drift(market: Market, answers: ModelAnswers, *, floor: float) -> FeatureDrift | None:
    if market.labelled is None:
        return None
    train = market.labelled.splits.train
    return feature_drift(answers.matrix, market.times, train, names=answers.names, floor=floor)


def _gates(
    market: Market,
    answers: ModelAnswers,
    config: RunConfig,
    *,
    evaluation: Evaluation,
    drift: FeatureDrift | None,
    champion: ChampionComparison | None,
) -> tuple[GateResult, ...]:
    splits = None if market.labelled is None else market.labelled.splits
    used = market.judged_rows if splits is None else np.concatenate((splits.train, splits.validation, splits.test))
    scaler = answers.scaler
    measured = measurements_of(
        evaluation,
        scaler_mean=None if scaler is None else scaler.mean,
        scaler_scale=None if scaler is None else scaler.scale,
        train_moments=None if splits is None else _moments(answers, _train_rows(answers, splits.train)),
        validation_moments=None if splits is None else _moments(answers, splits.validation),
        num_non_finite={
            "features": _num_non_finite(answers.matrix, used),
            "weights": answers.num_non_finite_weights,
        },
        drift=drift,
        champion=champion,
        clamped_share=answers.clamped_share,
    )
    return judge(measured, config.gates)


def _train_rows(answers: ModelAnswers, of_market: Rows) -> Rows:
    return of_market if answers.train_rows is None else answers.train_rows


def _moments(answers: ModelAnswers, rows: Rows) -> Moments | None:
    """Mean and deviation of what the first layer gets: without a scaler the features as they are.

    None for a scaler that divides by 0 or by what is no number.
    """
    scaler = answers.scaler
    if scaler is None:
        num_features = answers.matrix.shape[1]
        scaler = Scaler(mean=np.zeros(num_features), scale=np.ones(num_features))
    return scaled_moments(answers.matrix, rows, scaler) if (scaler.scale.astype(np.float32) > 0.0).all() else None


def _num_non_finite(matrix: Matrix, rows: Rows) -> int:
    """NaN or infinite entries of the given rows, counted in pieces so that no second matrix is made."""
    pieces = np.array_split(rows, max(1, rows.size // 65_536))
    return sum(int(np.count_nonzero(~np.isfinite(matrix[piece]))) for piece in pieces)
