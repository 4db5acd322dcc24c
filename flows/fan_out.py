"""How the symbols of a run are spread: in this process, over a Dask or Ray cluster, or as runs on a work pool.

Each symbol is launched by a task of the parent, so that Prefect links its run to the parent and its failure stays its
own. A symbol that came to its outcome before this run was paused or retried is not launched again.

What does not belong here: what becomes of the outcomes (train_all.py).
"""

from collections.abc import Sequence
from typing import Any, cast

from prefect import tags, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelling

from flows.task_runners import answer_of, stop_launches, task_runner, wait_for
from flows.train_symbol import train_symbol
from models_lib.errors import CrpbotError, TrainingError
from models_lib.interruption import allow_work
from models_lib.steps.data_facts import data_facts_so_far
from models_lib.steps.outcome import SymbolOutcome, failed_outcome, kept_outcome
from models_lib.steps.plan import RunPlan
from models_lib.steps.summary import parallel_symbols
from tasks.ui.runs import symbol_tags

_LOOK_EVERY_SECONDS = 2.0
"""Prefect's client asks for a child's state so often."""


def train_symbols(plan: RunPlan, symbols: Sequence[str]) -> dict[str, SymbolOutcome]:
    """The outcome of every symbol, in the given order; a failed one carries its reason.

    What failed before the run was paused has failed. A run that is retried tries it again.
    """
    retried = flow_run.run_count > 1  # Prefect counts retries, and no resumption after a pause
    known = {symbol: known_outcome(plan, symbol, retried=retried) for symbol in symbols}
    launched = launch_symbols(plan, [symbol for symbol in symbols if known[symbol] is None])
    return {symbol: known[symbol] or launched[symbol] for symbol in symbols}


def known_outcome(plan: RunPlan, symbol: str, *, retried: bool) -> SymbolOutcome | None:
    """The outcome from before this run was paused or retried; None when the symbol is to be launched."""
    outcome = kept_outcome(plan, symbol)
    return None if outcome is not None and retried and outcome.outcome == "failed" else outcome


def launch_symbols(plan: RunPlan, symbols: Sequence[str]) -> dict[str, SymbolOutcome]:
    """Launches each symbol, whatever is known of it, and waits for all."""
    if not symbols:
        return {}
    orchestration = plan.config.orchestration
    launch = launch_on_pool if orchestration.fanout == "deployment" else launch_here
    allow_work()
    with task_runner(orchestration, max_workers=parallel_symbols(plan)) as runner:
        try:  # a symbol that was submitted works already, while others are still being submitted
            futures = {symbol: runner.submit(launch, {"symbol": symbol, "plan": plan}) for symbol in symbols}
            wait_for(list(futures.values()))
        except BaseException:  # Ctrl-C or a cancelled run: the runner waits for its threads, so they must end
            stop_launches(runner)
            raise
    return {symbol: collect(symbol, future, plan) for symbol, future in futures.items()}


@task(name="launch", task_run_name="launch-{symbol}-{plan.date}", cache_policy=NO_CACHE)
def launch_here(symbol: str, plan: RunPlan) -> SymbolOutcome:
    """Runs the sub-flow of one symbol inside this task run."""
    # A flow that returns a state with data answers with the data; its annotation is the state's.
    with tags(*symbol_tags(symbol, flow_run.tags)):
        return cast("SymbolOutcome", train_symbol(symbol, plan))


@task(name="launch-on-pool", task_run_name="launch-{symbol}-{plan.date}", cache_policy=NO_CACHE)
def launch_on_pool(symbol: str, plan: RunPlan) -> SymbolOutcome:
    """Has a worker run the symbol, and waits for it; worker and parent see the same home.

    Raises:
        TrainingError: the run ended without an outcome, or not within its limit.
    """
    orchestration = plan.config.orchestration
    answer = run_deployment(
        orchestration.symbol_deployment,
        parameters={"symbol": symbol, "plan": plan.model_dump(mode="json")},
        timeout=orchestration.symbol_time_limit_minutes * 60,
        poll_interval=_LOOK_EVERY_SECONDS,
        tags=symbol_tags(symbol, flow_run.tags),
        # A parent that is carried out again asks for the same run, not for a second one; one that is retried wants anew.
        idempotency_key=f"{plan.run_id} {symbol} {len(plan.approvals)} {flow_run.run_count}",
    )
    run = cast("FlowRun", answer)  # in a thread without an event loop it is no coroutine
    outcome = outcome_of_launch(plan, symbol)
    if run.state is not None and run.state.is_completed() and outcome is not None:
        return outcome
    raise no_outcome(run, symbol, plan)


def no_outcome(run: FlowRun, symbol: str, plan: RunPlan) -> CrpbotError:
    """Why a run on the pool gave no outcome; one that still runs is cancelled."""
    state = run.state
    if state is not None and state.is_final():
        fact = f"its run {run.name} on the work pool ended {state.name}: {state.message or 'no reason given'}"
        return TrainingError(f"{symbol}: {fact}")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling(message="orchestration.symbol_time_limit_minutes is over"))
    minutes = plan.config.orchestration.symbol_time_limit_minutes
    return TrainingError(
        f"{symbol}: its run {run.name} on the work pool was {state.name if state else 'unknown'} after {minutes:g} minutes "
        f"(orchestration.symbol_time_limit_minutes) and was cancelled. Is a worker of its pool running?"
    )


def collect(symbol: str, future: PrefectFuture[Any], plan: RunPlan) -> SymbolOutcome:
    """The outcome of a finished launch, or a failed one that says why.

    A launch may end in an error after its steps came to an outcome, when Prefect's server went away: the model is
    promoted then, and the summary must not say that it failed.
    """
    answer = answer_of(future)
    if isinstance(answer, SymbolOutcome):
        return answer
    return outcome_of_launch(plan, symbol) or failed_outcome(symbol, answer, data=data_facts_so_far(plan, symbol))


def outcome_of_launch(plan: RunPlan, symbol: str) -> SymbolOutcome | None:
    """The outcome that a launch left; not the one from before a person approved, which still waits."""
    outcome = kept_outcome(plan, symbol)
    return None if outcome is not None and outcome.awaits_approval and symbol in plan.approvals else outcome
