"""The steps whose results are kept: what each is made from, and the call that makes it when nobody did before.

A setting that a step reads and that is missing here would let a stale result pass for a fresh one, so each step names
whole sections rather than fields. The candles are asked for anew each day, because their report tells their age.

What does not belong here: how results are kept (finished.py), and steps that write into the run itself: report, store,
promotion, deployment.
"""

from datetime import UTC, datetime
from typing import Any

from models_lib.backends import TrainingBackend
from models_lib.candles.sources import CandleSource
from models_lib.config import ControlName, RunConfig, identity_of_evaluation, identity_of_training
from models_lib.registry import Registry
from models_lib.steps import candidate, candles, champion, controls, features, judge, labels, scaler, temperature, train
from models_lib.steps.finished import done_once
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import (
    CandidateRef,
    CandlesRef,
    ControlRef,
    FeaturesRef,
    Fitted,
    JudgementRef,
    LabelsRef,
    Prepared,
    ScalerRef,
    TemperatureRef,
    TrainedRef,
)
from models_lib.steps.shared_results import SharedResults


def fetch_candles(plan: RunPlan, symbol: str, *, source: CandleSource, shared: SharedResults) -> CandlesRef:
    """Checked and filled candles of the symbol.

    Raises:
        DataError: the candles are missing or break a rule.
    """
    data = plan.config.data
    return done_once(
        plan,
        symbol,
        "candles",
        CandlesRef,
        lambda folder: candles.fetch_candles(symbol, data, folder, source=source, now=plan.started_at),
        shared=shared,
        data=data,
        content=source.content(symbol),
        day=plan.date,
    )


def compute_features(plan: RunPlan, frame: CandlesRef, *, shared: SharedResults) -> FeaturesRef:
    """The feature matrix of the symbol's candles."""
    return done_once(
        plan,
        frame.symbol,
        "features",
        FeaturesRef,
        lambda folder: features.compute_feature_matrix(frame, folder, threads=1),
        shared=shared,
        candles=frame.data_hash,
    )


def label_rows(plan: RunPlan, frame: CandlesRef, *, shared: SharedResults) -> LabelsRef:
    """Labels and splits of the symbol's candles."""
    config = plan.config
    return done_once(
        plan,
        frame.symbol,
        "labels",
        LabelsRef,
        lambda folder: labels.label_rows(frame, config.label, config.splits, folder),
        shared=shared,
        candles=frame.data_hash,
        label=config.label,
        splits=config.splits,
    )


def fit_scaler(
    plan: RunPlan, frame: CandlesRef, matrix: FeaturesRef, rows: LabelsRef, *, shared: SharedResults
) -> ScalerRef:
    """The scaler of the training rows."""
    return done_once(
        plan,
        frame.symbol,
        "scaler",
        ScalerRef,
        lambda folder: scaler.fit_feature_scaler(matrix, rows, folder),
        shared=shared,
        features=matrix,
        labels=rows,
    )


def train_model(plan: RunPlan, prepared: Prepared, *, backend: TrainingBackend, shared: SharedResults) -> TrainedRef:
    """Weights of the best epoch, and the history of all."""
    config = plan.config
    return done_once(
        plan,
        prepared.symbol,
        "training",
        TrainedRef,
        lambda folder: train.train_model(config, prepared, folder, backend=backend),
        shared=shared,
        **_data(prepared),
        network=config.network,
        training=identity_of_training(config.training),
        gates=config.gates,
    )


def tune_temperature(
    plan: RunPlan, prepared: Prepared, trained: TrainedRef, *, shared: SharedResults
) -> TemperatureRef:
    """The temperature with the smallest validation NLL, and the sweep beside it."""
    config = plan.config
    return done_once(
        plan,
        prepared.symbol,
        "temperature",
        TemperatureRef,
        lambda folder: temperature.tune_temperature(config, prepared, trained, folder),
        shared=shared,
        **_data(prepared),
        trained=trained,
        network=config.network,
        temperature=config.temperature,
        gates=config.gates,
        evaluation=identity_of_evaluation(config.evaluation),
    )


def build_candidate(plan: RunPlan, prepared: Prepared, fitted: Fitted, *, shared: SharedResults) -> CandidateRef:
    """A complete bundle folder with golden vectors."""
    config = plan.config
    return done_once(
        plan,
        prepared.symbol,
        "candidate",
        CandidateRef,
        lambda folder: candidate.build_candidate(config, prepared, fitted, folder),
        shared=shared,
        **_data(prepared),
        fitted=fitted,
        data=config.data,
        label=config.label,
        splits=config.splits,
        network=config.network,
        training=identity_of_training(config.training),
        bundle=config.bundle,
    )


def judge_candidate(
    plan: RunPlan,
    prepared: Prepared,
    fitted: Fitted,
    bundle: CandidateRef,
    *,
    registry: Registry,
    shared: SharedResults,
) -> JudgementRef:
    """Figures and gates on the untouched test rows, against the champion of this moment."""
    config = plan.config
    reigning = champion.champion_to_beat(registry, prepared.symbol)
    return done_once(
        plan,
        prepared.symbol,
        "judgement",
        JudgementRef,
        lambda folder: judge.judge_candidate(
            plan, prepared, fitted, bundle, folder, registry=registry, champion=reigning, now=datetime.now(UTC)
        ),
        shared=shared,
        **_data(prepared),
        candidate=bundle,
        stopped_by_gates=fitted.trained.stopped_by_gates,
        champion=reigning,
        champion_is_whole=judge.champion_is_whole(registry, reigning),
        data=config.data,
        label=config.label,
        training=config.training.gate_stop_epochs,
        gates=config.gates,
        evaluation=identity_of_evaluation(config.evaluation),
    )


def judge_control(
    plan: RunPlan,
    prepared: Prepared,
    control: ControlName,
    *,
    config: RunConfig,
    backend: TrainingBackend,
    shared: SharedResults,
) -> ControlRef:
    """The figures of a training that must find nothing, whatever became of the model; `config` says where it trains."""
    return done_once(
        plan,
        prepared.symbol,
        f"control-{control}",
        ControlRef,
        lambda folder: controls.judge_control(config, prepared, control, folder, backend=backend),
        shared=shared,
        **_data(prepared),
        data=config.data,
        label=config.label,
        splits=config.splits,
        network=config.network,
        training=identity_of_training(config.training),
        gates=config.gates,
        temperature=config.temperature,
        evaluation=identity_of_evaluation(config.evaluation),
    )


def _data(prepared: Prepared) -> dict[str, Any]:
    """What training and judging read. The candles' report is not part of it: it tells their age, too."""
    return {
        "candles": prepared.candles.data_hash,
        "features": prepared.features,
        "labels": prepared.labels,
        "scaler": prepared.scaler,
    }
