"""`train-all`: one `train-symbol` run for each symbol, concurrently, and one summary.

One symbol's failure never stops the others. The run failed when a symbol failed; a symbol held by a gate is a normal
night. In order: what killed runs left half-done is settled; the symbols are trained (fan_out.py); where the configuration
asks for it, a person approves (approval.py); then the summary and its table, and what follows them (aftermath.py).

A run of a deployment is refused while another one works in the same home, and skipped when it could start only so late
that the next one is near.
"""

from datetime import UTC, datetime
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
from flows.parameters import RetrainParams
from models_lib.config import RunConfig, load_config
from models_lib.running import marked_as_running
from models_lib.steps.admission import sole_retrain, too_late
from models_lib.steps.outcome import SymbolOutcome
from models_lib.steps.plan import RunPlan, plan_run
from models_lib.steps.release import settle
from models_lib.steps.summary import RunSummary, write_summary
from tasks.summary_table import publish_summary
from tasks.ui.log_lines import hear_the_library
from tasks.ui.publish import for_the_eye


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
    if deployment.id is None:
        return retrain(plan_of_run(config, home, params))
    now = datetime.now(UTC)
    # A run that goes on after a pause has been admitted before: it is not late, and waits for its turn.
    goes_on = flow_run.run_count > 1
    late = too_late(flow_run.scheduled_start_time, now, limit_hours=config.orchestration.late_limit_hours)
    if late and not goes_on:
        return Cancelled(name="TooLate", message=late)
    with sole_retrain(home, flow_run.name, wait=goes_on) as other:
        if other:
            return Cancelled(name="Refused", message=f"{other} is retraining in {home}. Start again when it is done.")
        return retrain(plan_of_run(config, home, params))


def plan_of_run(config: RunConfig, home: Path, params: RetrainParams) -> RunPlan:
    """The plan of this flow run; the one of before when it is run again."""
    # The end of the id: Prefect's ids begin with the time at which a whole batch of nights was scheduled.
    token = flow_run.id.replace("-", "")[-12:]
    return plan_run(config, home=home, symbols=params.symbols, who=operator(), now=datetime.now(UTC), token=token)


def retrain(plan: RunPlan) -> State[Any]:
    """Everything from the admission on."""
    with marked_as_running(plan.folder):
        tell_settled(plan, settle(plan.home, who=plan.who))
        outcomes = approved(plan, train_symbols(plan, plan.symbols))
        summary = show_summary(plan, outcomes)
        after_the_verdicts(plan, outcomes)
    state = Failed if summary.any_failed else Completed
    return state(name=summary.state_name, message=summary.headline, data=summary)


def approved(plan: RunPlan, outcomes: dict[str, SymbolOutcome]) -> dict[str, SymbolOutcome]:
    """The outcomes after a person was asked about those that wait for one; all of them when none does."""
    waiting = {symbol: outcome for symbol, outcome in outcomes.items() if outcome.awaits_approval}
    if not waiting:
        return outcomes
    show_summary(plan, outcomes)  # what holds if nobody ever answers
    tell_question(plan, outcomes, waiting)
    decided = plan.model_copy(update={"approvals": ask_person(plan, waiting)})
    return outcomes | launch_symbols(decided, list(decided.approvals))


def show_summary(plan: RunPlan, outcomes: dict[str, SymbolOutcome]) -> RunSummary:
    """The summary, written and shown in the UI; a table that cannot be shown is a warning."""
    summary = write_summary(plan, outcomes)
    for_the_eye(publish_summary, summary)
    return summary
