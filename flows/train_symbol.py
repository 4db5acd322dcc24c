"""`train-symbol`: one symbol from candles to a verdict.

The recipe, in order: candles, features, labels and splits, scaler, training, temperature, candidate bundle, judgement
on what was saved and read back, the controls that were asked for, report and store, promotion and deployment as one, the
page with what became of it. A gate that says no is a result ("held"), not an exception. What raises is a fault of the data, the machine or the code,
and ends this symbol only. Steps that were finished before, by whichever run, are taken over (models_lib.steps.once).
"""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.deaf_console import outlive_the_reader
from models_lib.config import ControlName
from models_lib.errors import DeployError, TransientError
from models_lib.running import marked_as_running
from models_lib.steps.clock import StepClock
from models_lib.steps.controls import failed_control
from models_lib.steps.outcome import (
    NOT_CONFIGURED,
    Deployment,
    SymbolOutcome,
    held_outcome,
    keep_judged,
    keep_outcome,
    kept_judged,
    not_deployed,
    settled_outcome,
    unapproved,
)
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import ControlRef, Fitted, Judged, Prepared, PromotionRef
from models_lib.steps.release import both_or_neither
from tasks.adapters.links import open_ssh
from tasks.adapters.stores import registry_of
from tasks.candidate import build_candidate
from tasks.candles import fetch_candles
from tasks.controls import judge_control
from tasks.deploy import deploy_bundle
from tasks.features import compute_feature_matrix
from tasks.judge import judge_candidate
from tasks.labels import label_rows
from tasks.promote import promote_bundle
from tasks.report import finish_report
from tasks.scaler import fit_feature_scaler
from tasks.show import show_symbol
from tasks.store import store_candidate
from tasks.temperature import tune_temperature
from tasks.train import train_model
from tasks.ui.log_lines import hear_the_library
from tasks.ui.publish import for_the_eye


@flow(name="train-symbol", flow_run_name="train-{symbol}-{plan.run_id}", validate_parameters=True)
def train_symbol(symbol: str, plan: RunPlan) -> State[Any]:
    """Trains, judges and, if every blocking gate passed, promotes and deploys one symbol's model.

    Args:
        symbol: the symbol, one of the plan's.
        plan: the run that this symbol belongs to.

    Returns:
        A completed state named Promoted or Held that carries the `SymbolOutcome`.
    """
    hear_the_library()
    outlive_the_reader()  # on a work pool this is a process of its own
    with marked_as_running(plan.folder):
        judged, outcome = retrain_symbol(symbol, plan)
        keep_outcome(plan, outcome)
    for_the_eye(show_symbol, plan, judged, outcome)
    return Completed(name=outcome.outcome.capitalize(), message=outcome.line(), data=outcome)


def retrain_symbol(symbol: str, plan: RunPlan) -> tuple[Judged, SymbolOutcome]:
    """The steps in their order; a run that goes on after a pause goes on behind the judgement."""
    clock = StepClock(symbol, limit_minutes=plan.config.orchestration.symbol_time_limit_minutes)
    judged = kept_judged(plan, symbol) or train_and_judge(symbol, plan, clock)
    clock.go_on_from(judged)
    if judged.judgement.failed_blocking:
        return judged, held_outcome(judged, clock)
    promotion, deployment = promote_and_deploy(plan, judged, clock)
    with clock.step("page"):
        finish_report(plan, judged, promotion=promotion, seconds=clock.seconds)
    return judged, settled_outcome(judged, promotion=promotion, deployment=deployment, clock=clock)


def train_and_judge(symbol: str, plan: RunPlan, clock: StepClock) -> Judged:
    """From candles to a judged candidate in the store."""
    with clock.step("candles"):
        candles = fetch_candles(symbol, plan)
    with clock.step("features"):
        features = compute_feature_matrix(plan, candles)
    with clock.step("labels"):
        labels = label_rows(plan, candles)
    with clock.step("scaler"):
        scaler = fit_feature_scaler(plan, candles, features, labels)
    prepared = Prepared(candles=candles, features=features, labels=labels, scaler=scaler)
    with clock.step("train"):
        trained = train_model(plan, prepared)
    with clock.step("temperature"):
        temperature = tune_temperature(plan, prepared, trained)
    fitted = Fitted(trained=trained, temperature=temperature)
    with clock.step("candidate"):
        candidate = build_candidate(plan, prepared, fitted)
    with clock.step("judge"):
        judgement = judge_candidate(plan, prepared, fitted, candidate)
    controls = controls_beside(plan, prepared, clock)
    with clock.step("report"):
        stored = store_candidate(plan, prepared, fitted, candidate, judgement, controls=controls, seconds=clock.seconds)
    judged = Judged(
        prepared=prepared,
        fitted=fitted,
        judgement=judgement,
        stored=stored,
        seconds=clock.seconds,
        controls=controls,
        peak_rss_mb=clock.peak_rss_mb,
    )
    keep_judged(plan, judged)
    return judged


def controls_beside(plan: RunPlan, prepared: Prepared, clock: StepClock) -> tuple[ControlRef, ...]:
    """What the controls came to; none where none is asked for. Whatever goes wrong in one, the model's verdict stands."""
    wanted = plan.config.evaluation.controls
    if not wanted:
        return ()
    with clock.step("controls"):
        return tuple(control_beside(plan, prepared, name, minutes_left=clock.minutes_left) for name in wanted)


def control_beside(plan: RunPlan, prepared: Prepared, name: ControlName, *, minutes_left: float) -> ControlRef:
    """One of them. What is told to stop while it trains stops at the next step of the symbol, as everything does."""
    state: State[Any] = judge_control(plan, prepared, name, minutes_left=minutes_left, return_state=True)
    answer = state.result(raise_on_failure=False)
    return answer if isinstance(answer, ControlRef) else failed_control(prepared.symbol, name, answer)


def promote_and_deploy(plan: RunPlan, judged: Judged, clock: StepClock) -> tuple[PromotionRef, Deployment]:
    """Both or neither: a deployment that fails takes the promotion back."""
    waits = unapproved(plan, judged)
    if waits is not None:
        return waits, NOT_CONFIGURED
    try:
        registry = registry_of(plan)
        with both_or_neither(plan, judged.prepared.symbol, judged.stored, registry=registry, ssh=open_ssh):
            with clock.step("promote"):
                promotion = promote_bundle(plan, judged)
            if promotion.outcome == "held":
                return promotion, NOT_CONFIGURED
            with clock.step("deploy"):
                return promotion, deploy_bundle(plan, judged)
    except (DeployError, TransientError) as error:
        return not_deployed(plan.config.deployment.target, error)
