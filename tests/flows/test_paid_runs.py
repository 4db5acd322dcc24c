"""Before a run pays: checks, a person's or the budgets' answer, and that nothing is submitted without both."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models_lib.config import load_config
from models_lib.costs import CostLedger
from models_lib.errors import ConfigError, PreflightError
from models_lib.steps.payment import Payment, keep_payment, kept_payment
from models_lib.steps.plan import RunPlan, plan_run
from tests.aws.cloud import Cloud
from tests.aws.lasting_tables import write_lasting_tables
from tests.costed import line, reserve
from tests.flows.artifacts import artifacts_of
from tests.flows.serving import Receiver
from tests.ports import free_port

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect")]

SYMBOLS = ("BTC-USD", "ETH-USD")
PRICE = 1.44
CEILING = 6.0
"""Of two jobs of 7,200 s, and 300 s beyond, at that price."""
NOW = datetime.now(UTC)


@dataclass
class Desk:
    """A sound account, and what of it a test changes."""

    cloud: Cloud
    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def told(self) -> list[str]:
        return [f"{name}={value}" for name, value in self.settings.items()]

    def plan(self, name: str = "first") -> RunPlan:
        token = name.encode().hex()
        return plan_run(
            load_config(None, self.told), home=self.home, symbols=SYMBOLS, who="me@here", now=NOW, token=token
        )

    def nothing_was_billed(self) -> bool:
        return self.cloud.jobs() == [] and CostLedger(self.home).jobs() == ()


@pytest.fixture
def desk(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    cloud.use(monkeypatch, s3_through_cloud=True)
    cloud.with_image("pytorch", "2.13.0-cu133-amzn2023-sagemaker")
    cloud.with_quota("ml.g5.xlarge", 2)
    home = tmp_path / "home"
    monkeypatch.setenv("CRPBOT_HOME", str(home))
    settings = {
        "aws.region": "eu-central-1",
        "training.backend": "sagemaker",
        "training.sagemaker.uri": f"s3://{cloud.with_bucket()}/trainings",
        "training.sagemaker.role_arn": cloud.with_role(),
        "training.sagemaker.tables": str(write_lasting_tables(tmp_path, usd_per_hour=PRICE)),
    }
    return Desk(cloud, home, settings)


@pytest.fixture
def decide(prefect: None) -> Callable[..., Any]:
    """What `paid_for` gives inside a flow: a plan, or the state of the run."""
    from prefect import flow

    from flows.paid import paid_for

    logging.getLogger("prefect").setLevel(logging.CRITICAL)

    def run(plan: RunPlan, *, in_advance: bool = False) -> Any:
        @flow(name="paid", validate_parameters=False)
        def paid() -> list[Any]:
            return [paid_for(plan, in_advance=in_advance)]

        state = paid(return_state=True)
        answer = state.result(raise_on_failure=False)
        if isinstance(answer, BaseException):
            raise answer
        return answer[0]

    return run


@pytest.fixture
def train(prefect: None) -> Callable[..., Any]:
    """train-all without a deployment, as `crpbot run` starts it; its state."""
    from flows.parameters import RetrainParams
    from flows.train_all import train_all

    logging.getLogger("prefect").setLevel(logging.CRITICAL)

    def run(desk: Desk) -> Any:
        return train_all(RetrainParams(symbols=SYMBOLS, settings=tuple(desk.told)), return_state=True)

    return run


def test_failed_check_ends_the_run_with_every_finding_and_people_are_told(
    desk: Desk, train: Callable[..., Any], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.serving.bad_ends import told_by_nobody
    from tasks.ui.runs import PREFLIGHT_FAILED

    monkeypatch.setenv("CRPBOT_SLACK_WEBHOOK_URL", receiver.url)
    desk.cloud.with_quota("ml.g5.xlarge", 0)
    state = train(desk)
    assert (state.type.value, state.name) == ("FAILED", PREFLIGHT_FAILED)
    assert "1 of " in state.message
    assert "no job was submitted and nothing was billed" in state.message
    assert "quota" in state.message
    assert "Ask AWS for 2" in state.message
    assert isinstance(state.result(raise_on_failure=False), PreflightError)
    assert not told_by_nobody(state)
    (told,) = receiver.texts
    assert "run preflight failed" in told
    rows = json.loads(artifacts_of(state.state_details.flow_run_id)["preflight"].data)
    assert (rows[0]["check"], rows[0]["answer"]) == ("quota", "**fail**")
    assert {row["answer"] for row in rows[1:]} == {"pass"}
    assert desk.nothing_was_billed()


def test_run_that_nobody_approved_says_what_it_may_cost_and_how_to_approve(
    desk: Desk, train: Callable[..., Any]
) -> None:
    state = train(desk)
    refusal = state.result(raise_on_failure=False)
    assert isinstance(refusal, ConfigError), "exit status 2"
    assert str(refusal) == (
        "2 jobs on ml.g5.xlarge for BTC-USD, ETH-USD may cost up to 6.00 USD together (estimate: not measured yet), at "
        "1.44 USD/h as of 2026-11-01 (price table). Nobody has approved that, so no job was submitted and nothing was "
        "billed. --yes approves it; training.sagemaker.approval=auto leaves it to the budgets."
    )
    assert desk.nothing_was_billed()
    (folder,) = (desk.home / "runs").iterdir()
    assert kept_payment(folder) is None, "a retry is not approved either"


def test_payment_approved_in_advance_is_kept_and_nothing_is_asked_again(
    desk: Desk, decide: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = desk.plan()
    payment = decide(plan, in_advance=True).payment
    assert (payment.how, payment.by, payment.decision) == ("in advance", "me@here", "approve")
    assert payment.quote.ceiling_usd == pytest.approx(CEILING)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert decide(plan).payment == payment


def test_budgets_answer_where_nobody_is_asked(desk: Desk, decide: Callable[..., Any]) -> None:
    auto = {"approval": "auto", "budget_per_run_usd": "6.0", "budget_per_month_usd": "8.0"}
    desk.settings |= {f"training.sagemaker.{name}": value for name, value in auto.items()}
    payment = decide(desk.plan("within")).payment
    assert (payment.how, payment.most_usd) == ("budgets", 6.0)

    reserve(CostLedger(desk.home), line("another", ceiling_usd=2.5), now=NOW)
    state = decide(desk.plan("beyond"))
    assert state.name == "PreflightFailed"
    assert "With the 2.50 USD that jobs of" in state.message
    assert "that is 8.50 USD (at most 8.00 allowed a month)" in state.message
    assert desk.cloud.jobs() == []


def test_refused_payment_ends_the_run_and_stays_refused(desk: Desk, decide: Callable[..., Any]) -> None:
    plan = desk.plan()
    quote = decide(desk.plan("other"), in_advance=True).payment.quote
    keep_payment(plan.folder, Payment(quote=quote, decision="refuse", how="asked", by="ann", note="not today"))
    for in_advance in (False, True):
        state = decide(plan, in_advance=in_advance)
        assert (state.type.value, state.name) == ("CANCELLED", "NotPaid")
        assert state.message.startswith("ann refused to pay up to 6.00 USD: not today. No job was submitted")
    assert desk.nothing_was_billed()


def test_local_run_pays_nothing_and_asks_nobody(tmp_path: Path, decide: Callable[..., Any]) -> None:
    plan = plan_run(load_config(None, []), home=tmp_path, symbols=SYMBOLS, who="me", now=NOW)
    assert decide(plan) == plan


def test_form_says_what_is_asked_and_refuses_other_answers(desk: Desk, decide: Callable[..., Any]) -> None:
    from pydantic import ValidationError

    from flows.paid import paid_form
    from flows.waiting_runs import ASKS

    plan = desk.plan()
    form = paid_form(plan, decide(plan, in_advance=True).payment.quote)
    decision = form.model_json_schema()["properties"]["decision"]
    assert (decision[ASKS], decision["enum"]) == ("up to 6.00 USD for BTC-USD, ETH-USD", ["approve", "refuse"])
    assert form(decision="approve", by="ann").note == ""
    for wrong in ({"decision": "promote", "by": "ann"}, {"decision": "approve", "by": ""}, {"by": "ann"}):
        with pytest.raises(ValidationError):
            form(**wrong)
