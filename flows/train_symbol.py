"""`train-symbol`: one symbol from candles to a verdict.

The recipe, in order: candles, features, labels and splits, scaler, training, temperature, candidate bundle, judgement
on what was saved and read back, report and store, promotion, the page with what became of it, deployment. A gate that
says no is a result ("held"), not an exception. What raises is a fault of the data, the machine or the code, and ends
this symbol only.
"""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from models_lib.steps.clock import StepClock
from models_lib.steps.outcome import SymbolOutcome, held_outcome, keep_outcome, settled_outcome
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Fitted, Prepared
from tasks.candidate import build_candidate
from tasks.candles import fetch_candles
from tasks.deploy import deploy_bundle
from tasks.features import compute_feature_matrix
from tasks.judge import judge_candidate
from tasks.labels import label_rows
from tasks.promote import promote_bundle
from tasks.report import finish_report
from tasks.scaler import fit_feature_scaler
from tasks.store import store_candidate
from tasks.temperature import tune_temperature
from tasks.train import train_model


@flow(name="train-symbol", flow_run_name="train-{symbol}-{plan.run_id}", validate_parameters=False)
def train_symbol(symbol: str, plan: RunPlan) -> State[Any]:
    """Trains, judges and, if every blocking gate passed, promotes and deploys one symbol's model.

    Args:
        symbol: the symbol, one of the plan's.
        plan: the run that this symbol belongs to.

    Returns:
        A completed state named Promoted or Held that carries the `SymbolOutcome`.
    """
    outcome = retrain_symbol(symbol, plan)
    keep_outcome(plan, outcome)
    return Completed(name=outcome.outcome.capitalize(), message=outcome.line(), data=outcome)


def retrain_symbol(symbol: str, plan: RunPlan) -> SymbolOutcome:
    """The steps in their order."""
    clock = StepClock(symbol)
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
    with clock.step("report"):
        stored = store_candidate(plan, prepared, fitted, candidate, judgement, seconds=clock.seconds)
    if judgement.failed_blocking:
        return held_outcome(prepared, fitted, judgement, stored, clock.seconds)
    with clock.step("promote"):
        promotion = promote_bundle(plan, prepared, judgement, stored)
    with clock.step("page"):
        finish_report(plan, prepared, fitted, judgement, stored, promotion=promotion, seconds=clock.seconds)
    with clock.step("deploy"):
        deployment = deploy_bundle(plan, prepared, promotion)
    return settled_outcome(
        prepared, fitted, judgement, stored, promotion=promotion, deployment=deployment, seconds=clock.seconds
    )
