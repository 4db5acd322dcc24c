"""`crpbot costs` through the front door."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.cli import main
from models_lib.costs import CostLedger
from tests.costed import line, paid, reserve, settle
from tests.old_homes import write_change

A, B = "a" * 64, "b" * 64
Heard = pytest.CaptureFixture[str]
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("CRPBOT_HOME", str(folder))
    return folder


@pytest.fixture
def ledger(home: Path) -> CostLedger:
    """Two runs in November 2026, and a spot job that began now and has no end yet."""
    ledger = CostLedger(home)
    paid(ledger, "btc-1", 600, run_id="run-1")
    reserve(ledger, line("btc-2", run_id="run-2"))
    settle(ledger, "btc-2", 60, outcome="failed")
    paid(ledger, "btc-3", 1800, run_id="run-2")
    reserve(ledger, line("eth-1", run_id="run-2", symbol="ETH-USD", spot=True))
    settle(ledger, "eth-1", 600, training_seconds=2000)
    reserve(ledger, line("sol-1", run_id="run-3", symbol="SOL-USD", spot=True), now=NOW)
    return ledger


def rows(heard: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in heard.splitlines()]


@pytest.mark.parametrize("by", ["run", "symbol", "month", "model"])
def test_empty_ledger_says_that_nothing_was_paid(home: Path, capsys: Heard, by: str) -> None:
    assert main(["costs", "--by", by]) == 0
    assert capsys.readouterr() == ("nothing was paid: no training was billed\n", "")
    assert main(["costs", "--by", by, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == []
    assert not home.exists()


@pytest.mark.usefixtures("ledger")
def test_costs_by_run_are_a_line_each_with_the_price_and_its_date(capsys: Heard) -> None:
    assert main(["costs"]) == 0
    price = "ml.g5.xlarge 1.44 USD/h of 2026-11-01"
    found = rows(capsys.readouterr().out)
    assert found[:5] == [
        ["run", "jobs", "billed time", "billed USD", "may yet be USD", "spot saved", "prices"],
        ["run-1", "1", "0:10:00", "0.24", "0.00", "-", price],
        ["run-2", "3 (1 failed)", "0:41:00", "0.98", "0.00", "70%", price],
        ["run-3", "1", "0:00:00", "0.00", "3.00", "-", price],
        ["together", "5 (1 failed)", "0:51:00", "1.22", "3.00", "70%", price],
    ]
    assert found[5][0].startswith(f"{NOW:%Y-%m} (UTC): ")
    assert found[5][0].endswith(" 3.00 may yet be")
    assert found[6][0].startswith("SOL-USD: sol-1 was submitted ")


@pytest.mark.usefixtures("ledger")
def test_costs_by_symbol_and_by_month_sum_the_same_jobs(capsys: Heard) -> None:
    sums = {}
    for by in ("run", "symbol", "month"):
        assert main(["costs", "--by", by, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["by"] == by
        sums[by] = {item["name"]: round(item["cost_usd"], 3) for item in document["items"]}
        jobs = [job["job"] for item in document["items"] for job in item["jobs"]]
        assert sorted(jobs) == ["btc-1", "btc-2", "btc-3", "eth-1", "sol-1"]
        assert document["damaged_lines"] == []
    assert sums["symbol"] == {"BTC-USD": 0.984, "ETH-USD": 0.24, "SOL-USD": 0.0}
    assert sums["month"] == {"2026-11": 1.224} | ({f"{NOW:%Y-%m}": 0.0} if f"{NOW:%Y-%m}" != "2026-11" else {})
    assert sums["run"] == {"run-1": 0.24, "run-2": 0.984, "run-3": 0.0}


def test_costs_by_model_are_those_of_its_promotion(home: Path, ledger: CostLedger, capsys: Heard) -> None:
    write_change(home, "BTC-USD", A, 20, run_id="run-2", cost_usd=0.72)
    write_change(home, "BTC-USD", B, 10)  # trained on this machine
    write_change(home, "BTC-USD", None, 5)
    assert main(["costs", "--by", "model"]) == 0
    header, paid_one, free_one, sum_of_both, *_ = rows(capsys.readouterr().out)
    assert header[:4] == ["model", "symbol", "promoted (UTC)", "run"]
    assert [paid_one[0], paid_one[1], *paid_one[3:7]] == [A[:12], "BTC-USD", "run-2", "2 (1 failed)", "0:31:00", "0.72"]
    assert [free_one[0], *free_one[3:7]] == [B[:12], "-", "0", "0:00:00", "0.00"]
    assert sum_of_both[0] == "together"
    assert sum_of_both[3] == "0.72"
    assert main(["costs", "--by", "model", "--json"]) == 0
    first, _ = json.loads(capsys.readouterr().out)["items"]
    assert (first["name"], first["run_id"], first["cost_usd"]) == (A, "run-2", 0.72)
    assert [(job["job"], job["outcome"]) for job in first["jobs"]] == [("btc-2", "failed"), ("btc-3", "completed")]
    assert first["jobs"][0]["price_as_of"] == "2026-11-01"
    assert first["jobs"][0]["submitted_at"] == "2026-11-21T02:00:00+00:00"
    assert ledger.of_run("run-2")


def test_damaged_line_is_told_beside_all_others(ledger: CostLedger, capsys: Heard) -> None:
    with ledger.path.open("ab") as stream:
        stream.write(b'{"event":"sett')
    assert main(["costs"]) == 0
    heard = capsys.readouterr()
    assert "together" in heard.out
    assert heard.err.startswith(f"crpbot: {ledger.path}: line 10 cannot be read and does not count; ")
    assert main(["costs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["damaged_lines"] == [10]
