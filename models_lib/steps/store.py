"""The report of a judged candidate, the facts of its run, and its place in the store, held or not."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models_lib.bundle import GateFact, RunFacts, add_run_facts
from models_lib.calibration import SweepRow, TemperatureSweep
from models_lib.config import LabelSection, RunConfig
from models_lib.evaluation.metrics import ReliabilityBins
from models_lib.files import write_text
from models_lib.registry import open_registry
from models_lib.reports.inputs import (
    DataWindow,
    Figures,
    GateRow,
    Intervals,
    ReportInputs,
    Temperature,
)
from models_lib.reports.writer import render_report
from models_lib.steps.judge import read_arrays
from models_lib.steps.plan import RunPlan
from models_lib.steps.provenance import Provenance, provenance
from models_lib.steps.refs import CandidateRef, Fitted, JudgementRef, Prepared, StoredRef, TemperatureRef
from models_lib.training.history import TrainingHistory

REPORT_NAME = "report.html"


def store_candidate(
    plan: RunPlan,
    prepared: Prepared,
    fitted: Fitted,
    candidate: CandidateRef,
    judgement: JudgementRef,
    *,
    seconds: dict[str, float],
    now: datetime,
) -> StoredRef:
    """Puts the candidate, with run.json and the report beside it, into the store.

    The report also stays in the run folder: a second run of the same training finds its bundle in the store already.
    """
    origin = provenance()
    measured = json.loads(judgement.judgement.checked().read_text())
    window = json.loads(prepared.candles.report.checked().read_text())
    report = _Sources(plan, prepared, fitted, candidate, judgement, measured, window, origin, seconds, now).report()
    page = render_report(report)
    path = plan.symbol_folder(prepared.symbol) / REPORT_NAME
    write_text(path, page)
    facts = RunFacts(
        run_id=plan.run_id,
        symbol=prepared.symbol,
        bundle=candidate.bundle,
        started_at=plan.started_at,
        judged_at=now,
        host=origin.host,
        commit=origin.commit,
        uncommitted_diff=origin.uncommitted_diff,
        versions=origin.versions,
        backend=plan.config.training.backend,
        champion=judgement.champion,
        gates=tuple(GateFact(**gate) for gate in measured["gates"]),
        metrics=measured["metrics"],
        words=tuple(measured["words"]),
        config=plan.config.model_dump(mode="json"),
        data=window,
        seconds=seconds,
    )
    add_run_facts(candidate.folder, facts=facts, reports={REPORT_NAME: page.encode()})
    return StoredRef(bundle=open_registry(plan.home).store.put(candidate.folder), report=path)


@dataclass(frozen=True, eq=False)
class _Sources:
    """What the page is made of."""

    plan: RunPlan
    prepared: Prepared
    fitted: Fitted
    candidate: CandidateRef
    judgement: JudgementRef
    measured: dict[str, Any]
    window: dict[str, Any]
    origin: Provenance
    seconds: dict[str, float]
    now: datetime

    def report(self) -> ReportInputs:
        """The page's inputs."""
        config, metrics, arrays = self.plan.config, self.measured["metrics"], read_arrays(self.judgement)
        history = TrainingHistory.from_json(json.loads(self.fitted.trained.history.checked().read_text()))
        held = self.judgement.failed_blocking
        return ReportInputs(
            symbol=self.prepared.symbol,
            run_id=self.plan.run_id,
            written_at=self.now,
            outcome="held" if held else "passed",
            reason=f"held by {', '.join(held)}" if held else "",
            verdict_words=tuple(self.measured["words"]),
            data_origin=self.window["origin"],
            simulated_market=config.data.market if config.data.source == "simulated" else None,
            label=label_name(config.label),
            label_meaning=label_meaning(config.label),
            gates=tuple(GateRow.from_json(gate) for gate in self.measured["gates"]),
            gates_section=config.gates,
            evaluation_section=config.evaluation,
            figures=Figures.from_metrics(metrics),
            intervals=Intervals.from_metrics(metrics, config.evaluation),
            history=history,
            confusion=arrays.get("confusion"),
            reliability=_reliability(arrays),
            probabilities=arrays["probabilities"],
            logits=arrays["logits"],
            temperature=_temperature(config, self.fitted.temperature, history),
            data=DataWindow.from_json(self.window, json.loads(self.prepared.labels.facts.checked().read_text())),
            seconds=self.seconds,
            bundle_hash=self.candidate.bundle,
            data_hash=self.prepared.candles.data_hash,
            champion=self.judgement.champion,
            provenance=_provenance(config, self.origin, history),
            best_possible_accuracy=metrics["best_possible_accuracy"],
        )


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
