"""What is shown and decided about the costs of a run's jobs."""

from datetime import timedelta
from pathlib import Path

import pytest

from models_lib.config import SageMakerSection, load_config
from models_lib.costs import CostLedger
from models_lib.errors import ConfigError, PreflightError
from models_lib.steps.costs import refuse_unapproved
from models_lib.steps.payment import (
    PAYMENT_NAME,
    Payment,
    Quote,
    budgets_of,
    cost_rows,
    keep_payment,
    keep_quote,
    kept_payment,
    kept_quote,
    quote_of,
)
from models_lib.steps.plan import plan_run
from tests.costed import NOW, PRICE, line, paid, reserve, settle

SYMBOLS = ("BTC-USD", "ETH-USD")


def quoted(home: Path, **section: object) -> Quote:
    return quote_of(SageMakerSection.model_validate(section), PRICE, home=home, symbols=SYMBOLS, now=NOW)


def approved(quote: Quote, how: str = "asked") -> Payment:
    return Payment.model_validate({"quote": quote, "decision": "approve", "how": how, "by": "ann"})


def test_quote_says_what_is_measured_and_what_is_not(tmp_path: Path) -> None:
    paid(CostLedger(tmp_path), "earlier", 600)
    quote = quoted(tmp_path, budget_per_run_usd=10.0, spot=True)
    assert quote.ceiling_usd == pytest.approx(6.0)
    assert quote.estimates_usd == {"BTC-USD": pytest.approx(0.24), "ETH-USD": None}
    assert quote.estimate_usd is None
    assert quote.sentence() == (
        "2 jobs on ml.g5.xlarge (spot) for BTC-USD, ETH-USD may cost up to 6.00 USD together (estimate: not measured yet), at "
        "1.44 USD/h as of 2026-11-01 (a table)"
    )
    shown = quote.markdown()
    assert "| BTC-USD | 0.24 USD | 3.00 USD |" in shown
    assert "| ETH-USD | not measured yet | 3.00 USD |" in shown
    assert "- budget of the run: 10.00 USD" in shown
    assert "- budget of 2026-11 (UTC): none; 0.24 USD of it cost or may still cost by jobs of before" in shown
    paid(CostLedger(tmp_path), "eth", 1200, symbol="ETH-USD")
    assert quoted(tmp_path).estimate_usd == pytest.approx(0.72)


@pytest.mark.parametrize(
    ("how", "budget", "most"),
    [("asked", None, 6.0), ("in advance", 4.0, 4.0), ("asked", 10.0, 6.0), ("budgets", 10.0, 10.0)],
)
def test_jobs_never_cost_more_than_a_person_has_approved(
    tmp_path: Path, how: str, budget: float | None, most: float
) -> None:
    section = SageMakerSection.model_validate({"budget_per_run_usd": budget, "budget_per_month_usd": 50.0})
    payment = approved(quoted(tmp_path, budget_per_run_usd=budget), how)
    budgets = budgets_of(section, payment)
    assert (budgets.per_run_usd, budgets.per_month_usd) == (pytest.approx(most), 50.0)
    assert budgets_of(section, None).per_run_usd == budget


def test_quote_and_decision_are_kept_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    assert (kept_quote(tmp_path), kept_payment(tmp_path)) == (None, None)
    quote = keep_quote(tmp_path, quoted(tmp_path))
    payment = approved(quote)
    keep_payment(tmp_path, payment)
    assert (kept_quote(tmp_path), kept_payment(tmp_path)) == (quote, payment)
    (tmp_path / PAYMENT_NAME).write_text('{"decision": "appr')
    with pytest.raises(ConfigError, match="cannot be read by this version"):
        kept_payment(tmp_path)


def test_costs_of_a_run_stand_beside_estimate_and_ceiling(tmp_path: Path) -> None:
    ledger = CostLedger(tmp_path)
    payment = approved(quoted(tmp_path))
    reserve(ledger, line("btc-1", run_id="run"))
    settle(ledger, "btc-1", 60, outcome="failed", now=NOW + timedelta(hours=1))
    reserve(ledger, line("btc-2", run_id="run"))
    paid(ledger, "other", run_id="another run")
    rows = cost_rows("run", payment, home=tmp_path)
    assert [(row["symbol"], row["estimate"], row["ceiling"], row["billed"]) for row in rows] == [
        ("BTC-USD", "not measured yet", "3.00 USD", "0.02 USD for 60.0 s in 2 jobs; 1 without a bill yet"),
        ("ETH-USD", "not measured yet", "3.00 USD", "0.00 USD, no job of this run"),
    ]
    assert rows[0]["price"] == "1.44 USD/h as of 2026-11-01 (a table)"


@pytest.mark.parametrize("approval", ["required", "auto"])
def test_symbol_is_trained_on_rented_machines_only_when_somebody_answers_for_it(tmp_path: Path, approval: str) -> None:
    settings = {
        "aws.region": "eu-central-1",
        "training.backend": "sagemaker",
        "training.sagemaker.uri": "s3://some-bucket/trainings",
        "training.sagemaker.role_arn": "arn:aws:iam::123456789012:role/crpbot",
        "training.sagemaker.approval": approval,
        "training.sagemaker.budget_per_run_usd": "6.0",
        "training.sagemaker.budget_per_month_usd": "6.0",
    }
    config = load_config(None, [f"{name}={value}" for name, value in settings.items()])
    plan = plan_run(config, home=tmp_path, symbols=SYMBOLS, who="me", now=NOW)
    refuse_unapproved(plan.model_copy(update={"payment": approved(quoted(tmp_path))}))
    if approval == "auto":
        refuse_unapproved(plan)
        return
    with pytest.raises(PreflightError, match="nobody has approved what its jobs on rented machines may cost"):
        refuse_unapproved(plan)


def test_symbol_on_this_machine_needs_no_approval(tmp_path: Path) -> None:
    plan = plan_run(load_config(None, []), home=tmp_path, symbols=SYMBOLS, who="me", now=NOW)
    assert plan.payment is None
    refuse_unapproved(plan)
