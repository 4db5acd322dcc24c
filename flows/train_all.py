"""`train-all`: one `train-symbol` run for each symbol, concurrently, and one summary.

One symbol's failure never stops the others. The run failed when a symbol failed; a symbol held by a gate is a normal
night. In order: what killed runs left half-done is settled; for rented machines everything is checked, and somebody answers
for the costs (paid.py); the symbols are trained (fan_out.py); where the configuration asks for it, a person approves
(approval.py); then the summary and its table, and what follows them (aftermath.py).

A run of a deployment is refused while another one works in the same home, and skipped when it could start only so late
that the next one is near. Such a run writes nothing; the server has people told of it (flows/serving/bad_ends.py).
"""

import logging
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.aftermath import after_the_verdicts, tell_question, tell_settled
from flows.approval import ask_person
from flows.deaf_console import outlive_the_reader
from flows.fan_out import launch_symbols, train_symbols
from flows.home import config_file, crpbot_home, operator, prepare_home
from flows.paid import paid_for, show_costs
from flows.parameters import RetrainParams
from models_lib.config import RunConfig, load_config
from models_lib.errors import TransientError, VerdictError
from models_lib.running import marked_as_running
from models_lib.steps.admission import running_retrain, sole_retrain, too_late
from models_lib.steps.outcome import SymbolOutcome, keep_outcome
from models_lib.steps.plan import RunPlan, begun_plan, plan_run, token_of
from models_lib.steps.release import settle
from models_lib.steps.summary import RunSummary, write_summary
from tasks.adapters.links import open_ssh
from tasks.adapters.sources import check_source
from tasks.adapters.stores import check_storage, registry_of
from tasks.summary_table import publish_summary
from tasks.ui.log_lines import hear_the_library
from tasks.ui.publish import for_the_eye
from tasks.ui.runs import REFUSED, TOO_LATE

_log = logging.getLogger("models_lib")


def name_of_run() -> str:
    """The name of the present flow run: what it trains, and the day for which it was scheduled."""
    asked = RetrainParams.model_validate(flow_run.parameters.get("params") or {})
    return f"train-all-{asked.label}-{flow_run.scheduled_start_time:%Y-%m-%d}"


@flow(name="train-all", flow_run_name=name_of_run, validate_parameters=True)
def train_all(params: RetrainParams | None = None) -> State[Any]:
    """Retrains every requested symbol and ends with one verdict each.

    Args:
        params: configuration, symbols and settings; the defaults train every configured symbol.
    """
    hear_the_library()
    outlive_the_reader()
    params = params or RetrainParams()
    home = crpbot_home()
    prepare_home(home)
    config = load_config(config_file(params.config), params.overrides)
    look_at_storage(home, config)
    if deployment.id is None:
        return retrain(plan_of_run(config, home, params), pays=params.pays)
    # A run that goes on after a pause has been admitted before: it is not late, and it waits for its turn. Its plan tells,
    # not its run count: Prefect counts no resumption.
    admitted = begun_plan(home, token_of(str(flow_run.id))) is not None
    if not admitted and (late := lateness(config)):
        return Cancelled(name=TOO_LATE, message=late)
    if admitted and (other := running_retrain(home)):
        _log.warning("%s is retraining in %s; this run goes on when that one is done", other, home)
    with sole_retrain(home, flow_run.name, wait=admitted) as other:
        if other:
            return Cancelled(name=REFUSED, message=f"{other} is retraining in {home}. Start again when it is done.")
        return retrain(plan_of_run(config, home, params), pays=params.pays)


def look_at_storage(home: Path, config: RunConfig) -> None:
    """Refuses a place that cannot keep a model; one that does not answer now may do so when there is a model to keep.

    Raises:
        ConfigError: naming what must be mended.
    """
    try:
        check_storage(home, config)
    except TransientError as error:
        _log.warning("%s This run begins all the same.", error)


def lateness(config: RunConfig) -> str | None:
    """Why this run begins too late; None when it does not."""
    limit_hours = config.orchestration.late_limit_hours
    return too_late(flow_run.scheduled_start_time, datetime.now(UTC), limit_hours=limit_hours)


def plan_of_run(config: RunConfig, home: Path, params: RetrainParams) -> RunPlan:
    """The plan of this flow run; the one of before when it is run again."""
    check_source(config, home=home)
    now, token = datetime.now(UTC), token_of(str(flow_run.id))
    return plan_run(config, home=home, symbols=params.symbols, who=operator(), now=now, token=token)


def retrain(plan: RunPlan, *, pays: bool) -> State[Any]:
    """Everything from the admission on; `pays`: who started it has approved what it costs."""
    with marked_as_running(plan.folder):
        settled = settle(plan.home, registry=partial(registry_of, plan), who=plan.who, ssh=open_ssh)
        tell_settled(plan, settled)
        admitted = paid_for(plan, in_advance=pays)
        if isinstance(admitted, State):
            return admitted
        plan = admitted
        outcomes = approved(plan, train_symbols(plan, plan.symbols))
        summary = show_summary(plan, outcomes)
        show_costs(plan)
        after_the_verdicts(plan, outcomes)
    if not summary.any_failed:
        return Completed(name=summary.state_name, message=summary.headline, data=summary)
    # Prefect raises what a failed state carries, and a worker logs it: one line, not the whole summary.
    failure = VerdictError(summary.headline)
    failure.summary = summary.file.path
    return Failed(name=summary.state_name, message=summary.headline, data=failure)


def approved(plan: RunPlan, outcomes: dict[str, SymbolOutcome]) -> dict[str, SymbolOutcome]:
    """The outcomes after a person was asked about those that wait for one; all of them when none does."""
    waiting = {symbol: outcome for symbol, outcome in outcomes.items() if outcome.awaits_approval}
    if not waiting:
        return outcomes
    show_summary(plan, outcomes)  # what holds if nobody ever answers
    for outcome in outcomes.values():  # failed ones, too: they are not tried again hours later
        keep_outcome(plan, outcome)
    tell_question(plan, outcomes, waiting)
    decided = plan.model_copy(update={"approvals": ask_person(plan, waiting)})
    return outcomes | launch_symbols(decided, list(decided.approvals))


def show_summary(plan: RunPlan, outcomes: dict[str, SymbolOutcome]) -> RunSummary:
    """The summary, written and shown in the UI; a table that cannot be shown is a warning."""
    summary = write_summary(plan, outcomes)
    for_the_eye(publish_summary, summary)
    return summary
