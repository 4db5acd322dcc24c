"""`train-all`: one `train-symbol` run for each symbol, concurrently, and one summary.

One symbol's failure never stops the others. The run failed when a symbol failed; a symbol held by a gate is a normal
night. Each sub-flow is launched inside a task, so that Prefect links it to this run and its failure stays its own.
"""

import logging
from datetime import UTC, datetime
from typing import Any, cast

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.home import crpbot_home, operator, prepare_home
from flows.parameters import RetrainParams
from flows.train_symbol import train_symbol
from models_lib.backends import end_trainings
from models_lib.config import load_config
from models_lib.interruption import allow_work, request_stop
from models_lib.steps.outcome import SymbolOutcome, failed_outcome, kept_outcome
from models_lib.steps.plan import RunPlan, plan_run
from models_lib.steps.summary import parallel_symbols, write_summary
from tasks.summary_table import publish_summary


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
    params = params or RetrainParams()
    home = crpbot_home()
    prepare_home(home)
    config = load_config(params.config, params.settings)
    plan = plan_run(config, home=home, symbols=params.symbols, who=operator(), now=datetime.now(UTC))
    outcomes = launch_symbols(plan)
    summary = write_summary(plan, outcomes)
    shown = publish_summary(summary, return_state=True)
    if not shown.is_completed():
        logging.getLogger("models_lib").warning("the summary's table is missing in the UI: %s", shown.message)
    state = Failed if summary.any_failed else Completed
    return state(message=summary.headline, data=summary)


def launch_symbols(plan: RunPlan) -> dict[str, SymbolOutcome]:
    """The outcome of every symbol, in the plan's order; a failed one carries its reason."""
    runner: ThreadPoolTaskRunner[SymbolOutcome] = ThreadPoolTaskRunner(max_workers=parallel_symbols(plan))
    allow_work()
    with runner:
        futures = {symbol: runner.submit(launch, {"symbol": symbol, "plan": plan}) for symbol in plan.symbols}
        try:
            wait(list(futures.values()))
        except BaseException:  # Ctrl-C or a cancelled run: the runner waits for its threads, so they must end
            request_stop()
            end_trainings()
            raise
    return {symbol: collect(symbol, future, plan) for symbol, future in futures.items()}


@task(name="launch", task_run_name="launch-{symbol}-{plan.date}", cache_policy=NO_CACHE)
def launch(symbol: str, plan: RunPlan) -> SymbolOutcome:
    """Runs the sub-flow of one symbol inside this task run."""
    # A flow that returns a state with data answers with the data; its annotation is the state's.
    return cast("SymbolOutcome", train_symbol(symbol, plan))


def collect(symbol: str, future: PrefectFuture[SymbolOutcome], plan: RunPlan) -> SymbolOutcome:
    """The outcome of a finished launch, or a failed one that says why.

    A launch may end in an error after its steps came to an outcome, when Prefect's server went away: the model is
    promoted then, and the summary must not say that it failed.
    """
    answer: object = future.result(raise_on_failure=False)
    if isinstance(answer, SymbolOutcome):
        return answer
    return kept_outcome(plan, symbol) or failed_outcome(symbol, answer)
