"""What a model cost is what its job was billed, never a guess."""

from datetime import timedelta
from pathlib import Path

import pytest

from models_lib.costs import CostLedger
from models_lib.registry.local import LocalStore
from models_lib.registry.registry import Registry
from models_lib.steps.costs import cost_of_training, paid_trainings
from models_lib.steps.refs import FileRef, TrainedRef
from tests.costed import LINE, NOW, line, reserve, settle
from tests.judged import at, judged


def trained(paid_job: str | None) -> TrainedRef:
    file = FileRef(path=Path("weights.safetensors"), sha256="0" * 64)
    return TrainedRef(weights=file, history=file, best_epoch=1, stopped_by_gates=(), paid_job=paid_job)


def test_training_on_this_machine_costs_nothing(tmp_path: Path) -> None:
    assert cost_of_training(tmp_path, trained(None)) == 0.0


def test_paid_training_costs_what_its_job_was_billed(tmp_path: Path) -> None:
    ledger = CostLedger(tmp_path)
    reserve(ledger, LINE)
    settle(ledger, LINE.job, 1800)
    assert cost_of_training(tmp_path, trained(LINE.job)) == pytest.approx(0.72)


def test_bill_that_is_not_known_is_said_and_not_guessed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert cost_of_training(tmp_path, trained(LINE.job)) is None
    assert f"what job {LINE.job} cost is not known" in caplog.text
    assert "another installation paid for it" in caplog.text
    reserve(CostLedger(tmp_path), LINE)
    assert cost_of_training(tmp_path, trained(LINE.job)) is None
    assert "has no bill of it yet" in caplog.text


@pytest.mark.parametrize("cost_usd", [0.0, 0.72, None])
def test_promotion_records_what_the_run_paid(tmp_path: Path, cost_usd: float | None) -> None:
    home, folder = tmp_path / "home", tmp_path / "bundle"
    bundle = judged("A", folder, cost_usd=cost_usd)
    store = LocalStore(home)
    store.put(folder)
    registry = Registry(store)
    registry.promote("BTC-USD", bundle, expected_champion=None, who="me", why="test", now=at(1))
    (entry,) = registry.history().entries
    assert entry.cost_usd == cost_usd
    assert registry.history().damage == ()


def test_page_knows_the_bills_of_its_symbol_in_order_of_time(tmp_path: Path) -> None:
    ledger = CostLedger(tmp_path)
    for job, days in (("late", 2), ("early", 1), ("runs", 0), ("eth", 3)):
        reserve(ledger, line(job, symbol="ETH-USD" if job == "eth" else "BTC-USD"))
        if days:
            settle(ledger, job, 600 * days, now=NOW + timedelta(days=days))
    bills = paid_trainings(tmp_path, "BTC-USD")
    assert [(bill.ended_at, round(bill.usd, 2)) for bill in bills] == [
        (NOW + timedelta(days=1), 0.24),
        (NOW + timedelta(days=2), 0.48),
    ]
    assert paid_trainings(tmp_path, "SOL-USD") == ()
