"""The report of a judged candidate, the facts of its run, and its place in the store, held or not."""

import json
import shutil
from datetime import datetime
from pathlib import Path

from models_lib.bundle import add_run_facts
from models_lib.files import fresh_folder, write_text
from models_lib.registry import Registry
from models_lib.reports.writer import render_report
from models_lib.steps.costs import cost_of_training
from models_lib.steps.plan import RunPlan
from models_lib.steps.provenance import provenance
from models_lib.steps.refs import CandidateRef, ControlRef, Fitted, JudgementRef, Prepared, StoredRef
from models_lib.steps.report import REPORT_NAME, report_inputs, report_path
from models_lib.steps.run_facts import run_facts_of


def store_candidate(
    plan: RunPlan,
    prepared: Prepared,
    fitted: Fitted,
    candidate: CandidateRef,
    judgement: JudgementRef,
    *,
    registry: Registry,
    controls: tuple[ControlRef, ...] = (),
    seconds: dict[str, float],
    now: datetime,
) -> StoredRef:
    """Puts the candidate, with run.json and the report beside it, into the store.

    The report also stays in the run folder: a second run of the same training finds its bundle in the store already,
    and there it is written again when it is known what became of the candidate.
    """
    origin, held = provenance(), judgement.failed_blocking
    known = report_inputs(
        plan,
        prepared,
        fitted,
        judgement,
        controls=controls,
        bundle=candidate.bundle,
        outcome="held" if held else "passed",
        reason=f"held by {', '.join(held)}" if held else "",
        origin=origin,
        seconds=seconds,
        now=now,
    )
    path = report_path(plan, prepared.symbol)
    page = render_report(known)
    write_text(path, page)
    facts = run_facts_of(
        json.loads(judgement.judgement.checked().read_text()),
        run_id=plan.run_id,
        symbol=prepared.symbol,
        bundle=candidate.bundle,
        config=plan.config,
        champion=judgement.champion,
        data=json.loads(prepared.candles.report.checked().read_text()),
        origin=origin,
        started_at=plan.started_at,
        judged_at=judgement.judged_at,
        seconds=seconds,
        cost_usd=cost_of_training(plan.home, fitted.trained),
    )
    own = _own_copy(candidate, plan.symbol_folder(prepared.symbol) / "bundle")
    add_run_facts(own, facts=facts, reports={REPORT_NAME: page.encode()})
    return StoredRef(bundle=registry.store.put(own), report=path)


def _own_copy(candidate: CandidateRef, folder: Path) -> Path:
    """The candidate in this run's folder: facts of the run lie beside it, and other runs may share the original."""
    with fresh_folder(folder) as fresh:
        shutil.copytree(candidate.folder, fresh)
        if folder.exists():  # this step was tried before
            shutil.rmtree(folder)
        fresh.rename(folder)
    return folder
