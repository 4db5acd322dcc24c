"""The judgement of a run's candidate, measured on what was saved and read back from disk.

The bundle folder is loaded as any reader would load it; nothing of the training's memory is used. The test rows are
looked at here and nowhere else in a run.

What does not belong here: how a model is judged (judgement.py), and the comparison with the champion (champion.py).
"""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models_lib.bundle import load_bundle
from models_lib.bundle.hashes import verify_hashes
from models_lib.config import RunConfig
from models_lib.errors import BundleError, ConfigError
from models_lib.evaluation.gates import GateResult
from models_lib.files import whole_file, write_json
from models_lib.registry import Registry
from models_lib.steps.champion import against_champion, champion_figures
from models_lib.steps.judgement import JudgedModel, ModelAnswers, answers_of, judge_answers
from models_lib.steps.market import market_of_run
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import CandidateRef, FileRef, Fitted, JudgementRef, Prepared


def champion_is_whole(registry: Registry, champion: str | None) -> bool:
    """Whether the champion's files are all there: a judgement without it must not outlive its repair."""
    if champion is None:
        return True
    try:
        verify_hashes(registry.store.bundle(champion), expected_hash=champion)
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
    registry: Registry,
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
        registry: where the champion is kept.
        champion: hash of the bundle to beat; promotion will insist that it still reigns then.
        now: time of the judgement, aware.

    Raises:
        BundleError: the saved candidate is not sound.
    """
    config = plan.config
    bundle = load_bundle(candidate.folder, symbol=prepared.symbol, expected_hash=candidate.bundle)
    market = market_of_run(config, prepared)
    answers = answers_of(bundle, market)
    comparison = against_champion(
        registry, champion, market, answers, candidate=bundle.manifest, section=config.evaluation
    )
    judged = judge_answers(market, answers, config, champion=comparison)
    stopped = fitted.trained.stopped_by_gates
    gates = (*judged.gates, _stopped(config, stopped)) if stopped else judged.gates
    verdict = judged.to_json() | {
        "gates": [gate.to_json() for gate in gates],
        "champion": champion,
        "champion_figures": champion_figures(registry.store, champion, comparison),
        "drift": None if judged.drift is None else judged.drift.to_json(),
    }
    written = _write(folder, verdict, _arrays(answers, judged))
    return JudgementRef(
        judgement=written[0],
        arrays=written[1],
        failed_blocking=tuple(gate.name for gate in gates if gate.blocks),
        champion=champion,
        judged_at=now,
    )


def _stopped(config: RunConfig, names: tuple[str, ...]) -> GateResult:
    """The result that holds a candidate whose training was ended by its gates."""
    epochs = float(config.training.gate_stop_epochs)
    note = f"training stopped: a blocking gate failed in each of {epochs:.0f} consecutive epochs: {', '.join(names)}"
    return GateResult("epoch_gates", "validation", epochs, epochs, "blocking", passed=False, note=note)


def _write(folder: Path, verdict: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> tuple[FileRef, FileRef]:
    """Keeps the judgement, and the predictions behind it for the report."""
    predictions, path = folder / "judgement.safetensors", folder / "judgement.json"
    with whole_file(predictions) as fresh:
        save_file(arrays, fresh)
    write_json(path, verdict)
    return FileRef.of(path), FileRef.of(predictions)


def _arrays(answers: ModelAnswers, judged: JudgedModel) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "logits": np.ascontiguousarray(answers.logits),
        "probabilities": np.ascontiguousarray(answers.probabilities),
    }
    figures = judged.evaluation.classification
    if figures is not None:
        arrays["confusion"] = figures.confusion
        arrays |= {f"reliability_{name}": array for name, array in asdict(figures.reliability).items()}
    return arrays


def read_arrays(ref: JudgementRef) -> dict[str, NDArray[Any]]:
    """The predictions and diagrams behind a judgement, by name."""
    arrays: dict[str, NDArray[Any]] = load_file(ref.arrays.checked())
    return arrays
