"""The judgement of a candidate: every figure and every gate, measured on what was saved and read back from disk.

The bundle folder is loaded as any reader would load it; nothing of the training's memory is used. The test rows are
looked at here and nowhere else in a run.
"""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models_lib.bundle import Bundle, load_bundle
from models_lib.bundle.hashes import verify_hashes
from models_lib.bundle.predictor import probabilities_of
from models_lib.candles.planted import best_possible_accuracy
from models_lib.candles.schema import epoch_ms
from models_lib.config import RunConfig
from models_lib.errors import BundleError, ConfigError
from models_lib.evaluation.drift import FeatureDrift, feature_drift
from models_lib.evaluation.evaluation import (
    ChampionComparison,
    Evaluation,
    EvaluationInputs,
    compare_with_champion,
    evaluate,
    measurements_of,
    verdict_words,
)
from models_lib.evaluation.gates import GateResult, judge
from models_lib.features import FEATURE_NAMES
from models_lib.files import whole_file, write_json
from models_lib.labels import label_values
from models_lib.registry import open_registry
from models_lib.scaling import Scaler, scaled_moments
from models_lib.splits import Splits
from models_lib.steps.candles import read_candles
from models_lib.steps.champion import champion_figures
from models_lib.steps.features import map_features
from models_lib.steps.labels import LabelledRows, read_labels
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import CandidateRef, FileRef, Fitted, JudgementRef, Prepared

Matrix = NDArray[np.float32]


def champion_to_beat(plan: RunPlan, symbol: str) -> str | None:
    """The hash of the reigning champion, if there is one.

    Raises:
        RecordError: its pointer is damaged.
    """
    champion = open_registry(plan.home).champion(symbol)
    return champion.bundle if champion else None


def champion_is_whole(plan: RunPlan, champion: str | None) -> bool:
    """Whether the champion's files are all there: a judgement without it must not outlive its repair."""
    if champion is None:
        return True
    try:
        verify_hashes(open_registry(plan.home).store.bundle(champion), expected_hash=champion)
    except (BundleError, ConfigError):
        return False
    return True


def judge_candidate(
    plan: RunPlan,
    prepared: Prepared,
    fitted: Fitted,
    candidate: CandidateRef,
    folder: Path,
    *,
    champion: str | None,
    now: datetime,
) -> JudgementRef:
    """Figures, intervals and gates of the candidate on the untouched test rows; a gate that says no is a result.

    Args:
        plan: the run.
        prepared: the data.
        fitted: training and temperature.
        candidate: the saved bundle.
        folder: where the judgement goes.
        champion: hash of the bundle to beat; promotion will insist that it still reigns then.
        now: time of the judgement, aware.

    Raises:
        BundleError: the saved candidate is not sound.
    """
    bundle = load_bundle(candidate.folder, symbol=prepared.symbol, expected_hash=candidate.bundle)
    frame, matrix, rows = read_candles(prepared.candles), map_features(prepared.features), read_labels(prepared.labels)
    facts = json.loads(prepared.labels.facts.checked().read_text())
    inputs = _evaluation_inputs(plan.config, bundle, matrix, frame=frame, rows=rows, facts=facts)
    evaluation = evaluate(inputs)
    times = epoch_ms(frame)
    drift = feature_drift(matrix, times, rows.train, names=FEATURE_NAMES, floor=plan.config.gates.feature_drift.limit)
    comparison = _against_champion(plan, prepared.symbol, champion, inputs=inputs, matrix=matrix, times=times)
    gates = _judge(plan.config, bundle, matrix, rows, evaluation=evaluation, drift=drift, champion=comparison)
    if fitted.trained.stopped_by_gates:
        gates = (*gates, _stopped(plan.config, fitted.trained.stopped_by_gates))
    old = champion_figures(open_registry(plan.home).store, champion, comparison)
    written = _write(plan.config, folder, frame, inputs, evaluation=evaluation, gates=gates, champion=champion, old=old)
    return JudgementRef(
        judgement=written[0],
        arrays=written[1],
        failed_blocking=tuple(gate.name for gate in gates if gate.blocks),
        champion=champion,
        judged_at=now,
    )


def _evaluation_inputs(
    config: RunConfig,
    bundle: Bundle,
    matrix: Matrix,
    *,
    frame: pd.DataFrame,
    rows: LabelledRows,
    facts: dict[str, Any],
) -> EvaluationInputs:
    logits = bundle.logits(matrix[rows.test])
    return EvaluationInputs(
        candles=frame,
        label=config.label,
        threshold=facts["threshold"],
        values=label_values(frame, config.label),
        classes=rows.classes,
        splits=Splits(
            train=rows.train,
            validation=rows.validation,
            test=rows.test,
            spans={part: (span[0], span[1]) for part, span in facts["spans"].items()},
            purge_minutes=facts["purge_minutes"],
            embargo_minutes=facts["embargo_minutes"],
        ),
        logits=logits,
        probabilities=probabilities_of(logits),
        section=config.evaluation,
    )


def _against_champion(
    plan: RunPlan,
    symbol: str,
    champion: str | None,
    *,
    inputs: EvaluationInputs,
    matrix: Matrix,
    times: NDArray[np.int64],
) -> ChampionComparison | None:
    """The champion on the candidate's own test rows; None without a champion.

    Not measured, so that the champion stays: a champion that was asked another question (another label), one that this
    code cannot load, and one that was trained on real candles when this run is on the simulated market, which says
    nothing about it. The other way round, a champion of the simulated market shares no bar with real candles, whatever
    the dates of both.
    """
    if champion is None:
        return None
    try:
        reigning = load_bundle(open_registry(plan.home).store.bundle(champion), symbol=symbol, expected_hash=champion)
    except BundleError as error:
        return ChampionComparison(None, None, f"the champion cannot be loaded: {error}")
    if reigning.manifest.label.section != inputs.label:
        return ChampionComparison(None, None, "the champion was trained on another label, so they cannot be compared")
    simulated = plan.config.data.source == "simulated"
    reigning_simulated = reigning.manifest.simulated_market is not None
    if simulated and not reigning_simulated:
        return ChampionComparison(None, None, "a model of the simulated market never replaces one of real candles")
    validation_end = int(reigning.manifest.splits.validation.last.timestamp() * 1_000)
    return compare_with_champion(
        inputs,
        reigning.logits(matrix[inputs.splits.test]),
        timestamps_ms=times,
        champion_validation_end_ms=validation_end if simulated == reigning_simulated else None,
    )


def _judge(
    config: RunConfig,
    bundle: Bundle,
    matrix: Matrix,
    rows: LabelledRows,
    *,
    evaluation: Evaluation,
    drift: FeatureDrift | None,
    champion: ChampionComparison | None,
) -> tuple[GateResult, ...]:
    mean, scale = bundle.tensors.get("scaler_mean"), bundle.tensors.get("scaler_scale")
    scaler = None if mean is None or scale is None else Scaler(mean.astype(np.float64), scale.astype(np.float64))
    used = np.concatenate((rows.train, rows.validation, rows.test))
    measured = measurements_of(
        evaluation,
        scaler_mean=mean,
        scaler_scale=scale,
        train_moments=None if scaler is None else scaled_moments(matrix, rows.train, scaler),
        validation_moments=None if scaler is None else scaled_moments(matrix, rows.validation, scaler),
        num_non_finite={
            "features": _num_non_finite(matrix, used),
            "weights": sum(int(np.count_nonzero(~np.isfinite(tensor))) for tensor in bundle.tensors.values()),
        },
        drift=drift,
        champion=champion,
    )
    return judge(measured, config.gates)


def _num_non_finite(matrix: Matrix, rows: NDArray[np.int64]) -> int:
    """NaN or infinite entries of the given rows, counted in pieces so that no second matrix is made."""
    pieces = np.array_split(rows, max(1, rows.size // 65_536))
    return sum(int(np.count_nonzero(~np.isfinite(matrix[piece]))) for piece in pieces)


def _stopped(config: RunConfig, names: tuple[str, ...]) -> GateResult:
    """The result that holds a candidate whose training was ended by its gates."""
    epochs = float(config.training.gate_stop_epochs)
    note = f"training stopped: a blocking gate failed in each of {epochs:.0f} consecutive epochs: {', '.join(names)}"
    return GateResult("epoch_gates", "validation", epochs, epochs, "blocking", passed=False, note=note)


def _write(
    config: RunConfig,
    folder: Path,
    frame: pd.DataFrame,
    inputs: EvaluationInputs,
    *,
    evaluation: Evaluation,
    gates: tuple[GateResult, ...],
    champion: str | None,
    old: dict[str, Any] | None,
) -> tuple[FileRef, FileRef]:
    """Keeps the judgement, and the predictions behind it for the report; in this order."""
    arrays = folder / "judgement.safetensors"
    with whole_file(arrays) as fresh:
        save_file(_arrays(inputs, evaluation), fresh)
    path = folder / "judgement.json"
    best_possible = None
    if config.data.source == "simulated" and config.data.market == "planted":
        best_possible = best_possible_accuracy(
            frame, label=inputs.label, threshold=inputs.threshold, rows=inputs.splits.test
        )
    write_json(
        path,
        {
            "gates": [gate.to_json() for gate in gates],
            "metrics": {**evaluation.metrics, "best_possible_accuracy": best_possible},
            "words": list(verdict_words(evaluation)),
            "champion": champion,
            "champion_figures": old,
        },
    )
    return FileRef.of(path), FileRef.of(arrays)


def _arrays(inputs: EvaluationInputs, evaluation: Evaluation) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "logits": np.ascontiguousarray(inputs.logits),
        "probabilities": np.ascontiguousarray(inputs.probabilities),
    }
    if evaluation.classification is not None:
        arrays["confusion"] = evaluation.classification.confusion
        arrays |= {
            f"reliability_{name}": array for name, array in asdict(evaluation.classification.reliability).items()
        }
    return arrays


def read_arrays(ref: JudgementRef) -> dict[str, NDArray[Any]]:
    """The predictions and diagrams behind a judgement, by name."""
    arrays: dict[str, NDArray[Any]] = load_file(ref.arrays.checked())
    return arrays
