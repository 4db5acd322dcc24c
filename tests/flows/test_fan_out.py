"""What a launch on a work pool comes to when nobody takes it, and which outcomes of before hold."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from models_lib.config import load_config
from models_lib.interruption import allow_work, stop_requested
from models_lib.steps.outcome import SymbolOutcome, failed_outcome, keep_outcome
from models_lib.steps.plan import Approval, RunPlan, plan_run

pytestmark = [pytest.mark.xdist_group("prefect")]
NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
SYMBOL = "BTC-USD"


def plan_of(home: Path, *settings: str) -> RunPlan:
    return plan_run(load_config(None, settings), home=home, symbols=[SYMBOL], who="test", now=NOW)


def waiting_outcome() -> SymbolOutcome:
    held = {"outcome": "held", "reason": "held by approval", "bundle": "0" * 64, "awaits_approval": True}
    return failed_outcome(SYMBOL, ValueError("x")).model_copy(update=held)


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect")
def test_child_that_no_worker_takes_is_cancelled_and_the_symbol_failed_with_the_remedy(tmp_path: Path) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from flows.fan_out import collect, launch_on_pool

    plan = plan_of(
        tmp_path,
        "orchestration.symbol_time_limit_minutes=0.002",
        "orchestration.symbol_deployment=train-symbol/for-nobody",
    )

    @flow(name="train-all")
    def parent() -> SymbolOutcome:
        future = launch_on_pool.submit(SYMBOL, plan)
        future.wait()
        return collect(SYMBOL, future, plan)

    with get_client(sync_client=True) as client:
        pool = client.create_work_pool(WorkPoolCreate(name="nobody-works-here", type="process"))
        train_symbol = client.create_flow_from_name("train-symbol")
        deployed = client.create_deployment(train_symbol, name="for-nobody", work_pool_name=pool.name)
        outcome = parent()
        (child,) = [run for run in client.read_flow_runs() if run.deployment_id == deployed]
        client.delete_flow_run(child.id)
        client.delete_deployment(deployed)  # another test counts them
        client.request("DELETE", "/work_pools/{name}", path_params={"name": pool.name})
    assert child.state_type is not None
    assert child.state_type.value == "CANCELLED"
    assert {"retrain", "manual", f"symbol:{SYMBOL}"} <= set(child.tags)
    assert outcome.outcome == "failed"
    assert "after 0.002 minutes (orchestration.symbol_time_limit_minutes) and was cancelled" in outcome.reason
    assert outcome.reason.endswith("Is a worker of its pool running?")


class Interrupted(list[str]):
    """Symbols of a run that gets Ctrl-C while it submits them."""

    def __iter__(self) -> Iterator[str]:
        raise KeyboardInterrupt


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect")
def test_ctrl_c_between_two_submissions_stops_those_that_work_already(tmp_path: Path) -> None:
    """Otherwise the runner waits for them, and they may come to a promotion meanwhile."""
    from flows.fan_out import launch_symbols

    try:
        with pytest.raises(KeyboardInterrupt):
            launch_symbols(plan_of(tmp_path), Interrupted([SYMBOL]))
        assert stop_requested()
    finally:
        allow_work()


def test_ctrl_c_that_came_just_before_the_wait_is_heard() -> None:
    """Raised in another thread it does the same: Python notes it, and the main thread sleeps on.

    Without a limit the wait would end with the launch, after the time that the timer gives it.
    """
    from prefect.futures import PrefectConcurrentFuture

    from flows.task_runners import wait_for

    launch: Future[None] = Future()
    over = threading.Timer(20.0, launch.set_result, (None,))
    pressed = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        over.start()
        pressed.start()
        with pytest.raises(KeyboardInterrupt):
            wait_for([PrefectConcurrentFuture(uuid4(), launch)])
        assert not launch.done()
    finally:
        over.cancel()
        signal.signal(signal.SIGINT, before)


def test_wait_ends_when_the_last_launch_does() -> None:
    from prefect.futures import PrefectConcurrentFuture

    from flows.task_runners import wait_for

    over, failing, late = Future[None](), Future[None](), Future[None]()
    over.set_result(None)
    failing.set_exception(ValueError("x"))
    threading.Timer(0.2, late.set_result, (None,)).start()
    wait_for([PrefectConcurrentFuture(uuid4(), one) for one in (late, over, failing)])
    assert late.done()


def test_what_waited_for_approval_is_no_outcome_of_the_launch_that_follows_the_answer(tmp_path: Path) -> None:
    """Otherwise a promotion that broke would be told as a candidate that still waits."""
    from flows.fan_out import outcome_of_launch

    plan = plan_of(tmp_path)
    keep_outcome(plan, waiting_outcome())
    assert outcome_of_launch(plan, SYMBOL) is not None
    answered = plan.model_copy(update={"approvals": {SYMBOL: Approval(decision="promote", bundle="b" * 64, by="ann")}})
    assert outcome_of_launch(answered, SYMBOL) is None


def test_failure_from_before_a_pause_holds_and_a_retry_tries_it_again(tmp_path: Path) -> None:
    from flows.fan_out import known_outcome

    plan = plan_of(tmp_path)
    assert known_outcome(plan, SYMBOL, retried=False) is None
    keep_outcome(plan, failed_outcome(SYMBOL, ValueError("x")))
    kept = known_outcome(plan, SYMBOL, retried=False)
    assert kept is not None
    assert kept.outcome == "failed"
    assert known_outcome(plan, SYMBOL, retried=True) is None
    keep_outcome(plan, waiting_outcome())
    assert known_outcome(plan, SYMBOL, retried=True) is not None


def test_form_names_what_waits_and_preselects_no_decision(tmp_path: Path) -> None:
    from flows.approval import answer_form, approvals_of

    waiting = {"ETH-USD": waiting_outcome(), SYMBOL: waiting_outcome()}
    form = answer_form(plan_of(tmp_path), waiting)
    schema: dict[str, Any] = form.model_json_schema()
    fields = schema["properties"]
    assert schema["required"] == ["decision", "by"]
    assert all(field["description"] for field in fields.values())
    assert fields["symbols"]["default"] == fields["symbols"]["items"]["enum"] == [SYMBOL, "ETH-USD"]
    answer = form(decision="promote", symbols=["ETH-USD"], by="ann", note="why")
    decided = {symbol: (one.decision, one.by, one.note) for symbol, one in approvals_of(answer, waiting).items()}
    assert decided == {SYMBOL: ("hold", "ann", "why"), "ETH-USD": ("promote", "ann", "why")}
    assert {one.decision for one in approvals_of(form(decision="hold", by="ann"), waiting).values()} == {"hold"}


def test_run_without_a_deployment_asks_nobody(tmp_path: Path) -> None:
    from flows.approval import ask_person

    assert ask_person(plan_of(tmp_path), {SYMBOL: waiting_outcome()}) == {}
