"""The page of a judged candidate: drawn when it is stored, and drawn again when it is known what became of it.

The page inside the bundle belongs to the bundle and says PASSED or HELD; whether a bundle is champion is nothing that it
can know. The page in the run folder ends with the outcome of the run.

What does not belong here: what the page says and how it looks (models_lib.reports).
"""

import json
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from models_lib.calibration import SweepRow, TemperatureSweep
from models_lib.config import LabelSection, RunConfig
from models_lib.costs import told_usd
from models_lib.errors import DataError
from models_lib.evaluation.metrics import ReliabilityBins
from models_lib.files import write_text
from models_lib.reports.controls import control_table
from models_lib.reports.inputs import (
    DataWindow,
    Drift,
    Figures,
    GateRow,
    Intervals,
    Outcome,
    ReportInputs,
    Temperature,
)
from models_lib.reports.writer import render_report
from models_lib.steps.costs import cost_of_training, paid_trainings
from models_lib.steps.judge import read_arrays
from models_lib.steps.plan import RunPlan
from models_lib.steps.provenance import Provenance, provenance
from models_lib.steps.refs import ControlRef, Fitted, Judged, JudgementRef, Prepared, PromotionRef, TemperatureRef
from models_lib.training.history import TrainingHistory

REPORT_NAME = "report.html"
_log = logging.getLogger(__name__)


def report_path(plan: RunPlan, symbol: str) -> Path:
    """Where the symbol's page lies in the run folder."""
    return plan.symbol_folder(symbol) / REPORT_NAME


def finish_report(
    plan: RunPlan, judged: Judged, *, promotion: PromotionRef, seconds: dict[str, float], now: datetime
) -> None:
    """Writes the page of the run folder again, with what became of the candidate.

    The candidate may be promoted by now. A page that cannot be written must not make that a failure: the earlier page
    stays, which says that promotion was decided after it.
    """
    try:
        known = inputs_of(plan, judged, outcome=promotion.outcome, reason=promotion.reason, seconds=seconds, now=now)
        write_text(judged.stored.report, render_report(known))
    except (OSError, DataError) as error:
        _log.warning(
            "the page keeps the state before the promotion (%s): %s",
            promotion.outcome,
            error,
            extra={"symbol": judged.prepared.symbol},
        )


def inputs_of(
    plan: RunPlan, judged: Judged, *, outcome: Outcome, reason: str, seconds: dict[str, float], now: datetime
) -> ReportInputs:
    """What is said of a candidate in the store, now that it is known what became of it.

    Raises:
        DataError: a file of an earlier step is gone or changed.
    """
    return report_inputs(
        plan,
        judged.prepared,
        judged.fitted,
        judged.judgement,
        controls=judged.controls,
        bundle=judged.stored.bundle,
        outcome=outcome,
        reason=reason,
        origin=provenance(),
        seconds=seconds,
        now=now,
    )


def report_inputs(
    plan: RunPlan,
    prepared: Prepared,
    fitted: Fitted,
    judgement: JudgementRef,
    *,
    controls: tuple[ControlRef, ...] = (),
    bundle: str,
    outcome: Outcome,
    reason: str,
    origin: Provenance,
    seconds: dict[str, float],
    now: datetime,
) -> ReportInputs:
    """What the page says, from the files that the steps left."""
    config, arrays = plan.config, read_arrays(judgement)
    measured = json.loads(judgement.judgement.checked().read_text())
    window = json.loads(prepared.candles.report.checked().read_text())
    history = TrainingHistory.from_json(json.loads(fitted.trained.history.checked().read_text()))
    metrics: dict[str, Any] = measured["metrics"]
    return ReportInputs(
        symbol=prepared.symbol,
        run_id=plan.run_id,
        written_at=now,
        outcome=outcome,
        reason=reason,
        verdict_words=tuple(measured["words"]),
        data_origin=window["origin"],
        simulated_market=config.data.simulated_market,
        label=label_name(config.label),
        label_meaning=label_meaning(config.label),
        gates=tuple(GateRow.from_json(gate) for gate in measured["gates"]),
        gates_section=config.gates,
        evaluation_section=config.evaluation,
        figures=Figures.from_metrics(metrics),
        intervals=Intervals.from_metrics(metrics, config.evaluation),
        history=history,
        gate_stop_epochs=config.training.gate_stop_epochs,
        confusion=arrays.get("confusion"),
        reliability=_reliability(arrays),
        probabilities=arrays["probabilities"],
        logits=arrays["logits"],
        temperature=_temperature(config, fitted.temperature, history),
        data=DataWindow.from_json(window, json.loads(prepared.labels.facts.checked().read_text())),
        seconds=seconds,
        bundle_hash=bundle,
        data_hash=prepared.candles.data_hash,
        champion=judgement.champion,
        drift=None if measured["drift"] is None else Drift.from_json(measured["drift"]),
        provenance=_provenance(config, origin, history) | _bill(plan, fitted),
        best_possible_accuracy=metrics["best_possible_accuracy"],
        paid=paid_trainings(plan.home, prepared.symbol),
        controls=control_table(
            metrics,
            [control.model_dump(mode="json") for control in controls],
            unpaid=config.training.backend != "local",
        ),
    )


def _bill(plan: RunPlan, fitted: Fitted) -> dict[str, str]:
    """What the training was billed; nothing where nothing was paid."""
    if (job := fitted.trained.paid_job) is None:
        return {}
    cost = cost_of_training(plan.home, fitted.trained)
    return {"billed": f"{'not known' if cost is None else f'{told_usd(cost)} USD'}, job {job}"}


def label_name(label: LabelSection) -> str:
    """The label with its numbers, such as `trend(60, 15)`."""
    numbers = f"{label.lookback_minutes}, {label.horizon_minutes}" if label.kind == "trend" else label.horizon_minutes
    return f"{label.kind}({numbers})"


def label_meaning(label: LabelSection) -> str:
    """What UP means, in one sentence, no more than the label says."""
    match label.kind:
        case "trend":
            return (
                f"UP: the mean of the next {label.horizon_minutes} minutes lies clearly above the mean of the last "
                f"{label.lookback_minutes}."
            )
        case "forward_return":
            return f"UP: the close {label.horizon_minutes} minutes ahead lies clearly above the current close."
        case "triple_barrier":
            return f"UP: within {label.horizon_minutes} minutes the upper barrier is touched before the lower one."


def _reliability(arrays: dict[str, Any]) -> ReliabilityBins | None:
    if "reliability_edges" not in arrays:
        return None
    return ReliabilityBins(
        **{name: arrays[f"reliability_{name}"] for name in ("edges", "counts", "confidence", "accuracy")}
    )


def _temperature(config: RunConfig, temperature: TemperatureRef, history: TrainingHistory) -> Temperature:
    sweep = json.loads(temperature.study.checked().read_text())["sweep"]
    return Temperature(
        fitted=temperature.temperature,
        learned=history.best.learned_temperature,
        sweep=TemperatureSweep(
            rows=tuple(SweepRow(**row) for row in sweep["rows"]), chosen=sweep["chosen"], reason=sweep["reason"]
        ),
        target_low=config.temperature.target_low,
        target_high=config.temperature.target_high,
        ece_limit=config.gates.calibration_error.limit,
    )


def _provenance(config: RunConfig, origin: Provenance, history: TrainingHistory) -> dict[str, str]:
    commit = origin.commit or "not in a repository"
    return {
        "training seed": str(config.training.seed),
        "bootstrap seed": str(config.evaluation.bootstrap_seed),
        "device": history.device,
        "host": origin.host,
        "commit": commit + (" with uncommitted changes" if origin.uncommitted_diff else ""),
        **origin.versions,
    }
