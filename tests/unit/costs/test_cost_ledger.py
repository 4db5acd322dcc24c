"""The ledger of costs: no order of events and no number of processes gets past a budget, and nothing recorded is lost."""

import json
import math
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models_lib.costs import BILLED_BEYOND_SECONDS, Budgets, CostLedger, Price, ceiling_usd, month_of
from models_lib.errors import PreflightError
from tests.costed import LINE, NOW, PRICE, line, paid, reserve, settle
from tests.killed import killed_at_each

ROOT = Path(__file__).parents[3]
UNKNOWN = (
    b'{"event":"settled","job":"unknown","time":"2026-11-21T02:00:00Z","billable_seconds":1,"training_seconds":1,'
    b'"cost_usd":1,"outcome":"completed"}'
)


@pytest.fixture
def ledger(tmp_path: Path) -> CostLedger:
    return CostLedger(tmp_path / "home")


def test_ceiling_is_the_time_limit_and_what_may_be_billed_beyond_it() -> None:
    assert ceiling_usd(PRICE, max_runtime_seconds=7200) == pytest.approx(1.44 * (7200 + BILLED_BEYOND_SECONDS) / 3600)


@pytest.mark.parametrize("usd_per_hour", [0.0, -1.0, math.nan, math.inf])
def test_price_that_is_no_price_is_refused(usd_per_hour: float) -> None:
    with pytest.raises(ValueError, match="usd_per_hour must be above 0"):
        Price(usd_per_hour, PRICE.as_of, "a table")


def test_job_is_reserved_settled_and_told(ledger: CostLedger) -> None:
    assert ledger.jobs() == ()
    reserved = reserve(ledger, LINE)
    assert (reserved.ceiling_usd, reserved.cost_usd, reserved.outcome) == (3.0, None, None)
    assert (reserved.price, reserved.submitted_at) == (PRICE, NOW)
    assert ledger.running() == (reserved,)
    assert ledger.spent("2026-11") == 0.0
    assert ledger.committed(NOW) == 3.0

    settled = settle(ledger, LINE.job, 1800)
    assert settled.cost_usd == pytest.approx(0.72)
    assert ledger.of_job(LINE.job) == settled
    assert ledger.of_run(LINE.run_id) == (settled,)
    assert ledger.running() == ()
    assert ledger.spent("2026-11") == ledger.committed(NOW) == pytest.approx(0.72)
    assert ledger.of_job("another") is None


def test_everything_done_twice_is_done_once(ledger: CostLedger) -> None:
    for _ in range(2):
        reserve(ledger, LINE, per_run_usd=3.0, per_month_usd=3.0)
    assert ledger.committed(NOW) == 3.0
    first = settle(ledger, LINE.job, 1800)
    assert settle(ledger, LINE.job, 9999, outcome="failed") == first
    assert reserve(ledger, LINE, per_run_usd=0.01, per_month_usd=0.01) == first, "it is paid: no budget can refuse it"
    ledger.release(LINE.job, now=NOW)
    assert ledger.jobs() == (first,)
    assert len(ledger.path.read_bytes().splitlines()) == 2


def test_reservation_that_came_to_no_job_is_taken_over_at_the_limits_of_now(ledger: CostLedger) -> None:
    """A run was killed before it created its job; the next one wants the same job for longer."""
    reserve(ledger, LINE)
    longer = line(LINE.job, run_id="the next run", ceiling_usd=9.0)
    with pytest.raises(PreflightError, match=r"at most 8\.00 allowed a run"):
        reserve(ledger, longer, per_run_usd=8.0)
    with pytest.raises(PreflightError, match=r"at most 8\.00 allowed a month"):
        reserve(ledger, longer, per_month_usd=8.0)
    assert ledger.of_job(LINE.job).run_id == LINE.run_id
    assert reserve(ledger, longer, per_run_usd=9.0, per_month_usd=9.0).run_id == "the next run"
    assert (ledger.of_run(LINE.run_id), ledger.committed(NOW)) == ((), 9.0)


def test_released_job_counts_no_more_and_can_be_reserved_again(ledger: CostLedger) -> None:
    reserve(ledger, LINE, per_run_usd=3.0)
    for _ in range(2):
        ledger.release(LINE.job, now=NOW)
    assert ledger.committed(NOW) == 0.0
    assert ledger.of_run(LINE.run_id) == ()
    reserve(ledger, line("another"), per_run_usd=3.0)
    with pytest.raises(PreflightError):
        reserve(ledger, LINE, per_run_usd=3.0)


def test_job_that_was_released_and_ran_all_the_same_is_settled(ledger: CostLedger) -> None:
    reserve(ledger, LINE)
    ledger.release(LINE.job, now=NOW)
    assert settle(ledger, LINE.job).cost_usd == pytest.approx(0.72)
    assert ledger.spent("2026-11") == pytest.approx(0.72)


def test_job_found_running_is_adopted_over_every_budget(ledger: CostLedger) -> None:
    ledger.adopt(LINE, now=NOW)
    assert ledger.adopt(LINE, now=NOW) == ledger.of_job(LINE.job)
    with pytest.raises(PreflightError):
        reserve(ledger, line("another"), per_run_usd=5.9)


def test_job_that_nobody_reserved_cannot_be_settled(ledger: CostLedger) -> None:
    with pytest.raises(KeyError, match="unknown"):
        settle(ledger, "unknown")
    assert not ledger.path.exists()


def test_run_over_its_budget_is_refused_with_figures_and_remedy(ledger: CostLedger) -> None:
    reserve(ledger, line("first"), per_run_usd=6.0)
    reserve(ledger, line("second"), per_run_usd=6.0)
    written = ledger.path.read_bytes()
    with pytest.raises(PreflightError) as refused:
        reserve(ledger, line("third"), per_run_usd=6.0, per_month_usd=100.0)
    assert str(refused.value) == (
        "BTC-USD: job third may cost up to 3.00 USD. With the 6.00 USD of this run's jobs that is 9.00 USD (at most 6.00 "
        "allowed a run, by its budget or by what was approved). Lower training.sagemaker.max_runtime_seconds, train fewer "
        "symbols, raise training.sagemaker.budget_per_run_usd, or start a new run, which asks anew. It was not submitted "
        "and nothing was billed."
    )
    assert ledger.path.read_bytes() == written
    reserve(ledger, line("third", run_id="another run"), per_run_usd=6.0)


def test_ended_job_leaves_the_run_what_it_did_not_cost(ledger: CostLedger) -> None:
    reserve(ledger, line("first"), per_run_usd=3.75)
    with pytest.raises(PreflightError):
        reserve(ledger, line("second"), per_run_usd=3.75)
    settle(ledger, "first", 1800, outcome="failed")  # 0.72, and a failed one is billed as well
    reserve(ledger, line("second"), per_run_usd=3.75)


def test_month_is_the_utc_one_in_which_the_job_ended(ledger: CostLedger) -> None:
    last_second = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    reserve(ledger, LINE, per_month_usd=3.0, now=last_second)
    with pytest.raises(PreflightError, match="jobs of 2026-12"):  # it still runs, and is billed in December
        reserve(ledger, line("second"), per_month_usd=3.0, now=last_second + timedelta(seconds=1))
    tokyo = datetime.fromisoformat("2026-12-01T08:30:00+09:00")
    settled = settle(ledger, LINE.job, now=tokyo)
    assert settled.month == month_of(tokyo) == "2026-11"
    assert ledger.spent("2026-11") == pytest.approx(0.72)
    assert ledger.spent("2026-12") == 0.0
    reserve(ledger, line("second"), per_month_usd=3.0, now=last_second + timedelta(seconds=1))


def test_job_that_nobody_settled_counts_until_it_cannot_run_any_more(ledger: CostLedger) -> None:
    reserve(ledger, LINE)
    assert ledger.committed(NOW + timedelta(days=27)) == 3.0
    assert ledger.committed(NOW + timedelta(days=29)) == 0.0
    assert [job.month for job in ledger.running()] == ["2026-11"]


def test_half_a_line_is_told_and_nothing_else_is_lost(ledger: CostLedger, caplog: pytest.LogCaptureFixture) -> None:
    paid(ledger, "first")
    with ledger.path.open("ab") as stream:
        stream.write(b'{"event":"reserved","job":"half')  # a process died here
    paid(ledger, "second")
    assert [job.job for job in ledger.jobs()] == ["first", "second"]
    assert ledger.damaged_lines() == (3,)
    assert f"{ledger.path}: line 3 cannot be read and does not count" in caplog.text


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x00\xff",
        b"[]",
        b'{"event":"released","job":"","time":"2026-11-21T02:00:00Z"}',
        UNKNOWN,
        b'{"event":"refunded","job":"first","time":"2026-11-21T02:00:00Z"}',
    ],
    ids=["no text", "no object", "no name", "of no job", "no such event"],
)
def test_damaged_line_is_told_and_nothing_else_is_lost(ledger: CostLedger, damaged: bytes) -> None:
    paid(ledger, "first")
    ledger.path.write_bytes(damaged + b"\n" + ledger.path.read_bytes())
    assert ledger.damaged_lines() == (1,)
    assert [job.cost_usd for job in ledger.jobs()] == [pytest.approx(0.72)]


def test_negative_cost_is_no_cost(ledger: CostLedger) -> None:
    reserve(ledger, LINE)
    entry = json.loads(ledger.path.read_bytes())
    ledger.path.write_text(json.dumps(entry | {"ceiling_usd": -100.0}) + "\n")
    assert ledger.damaged_lines() == (1,)


def test_usual_time_is_the_median_of_completed_jobs_of_the_same_kind(ledger: CostLedger) -> None:
    asked = {"symbol": "BTC-USD", "instance_type": "ml.g5.xlarge"}
    reserve(ledger, line("running"))
    assert ledger.usual_seconds(**asked) is None
    assert ledger.estimate_usd(PRICE, **asked) is None
    for number, seconds in enumerate([600.0, 7000.0, 700.0]):
        paid(ledger, f"job-{number}", seconds)
    paid(ledger, "eth", 1.0, symbol="ETH-USD")
    paid(ledger, "large", 1.0, instance_type="ml.g5.4xlarge")
    reserve(ledger, line("failed"))
    settle(ledger, "failed", 1.0, outcome="failed")
    assert ledger.usual_seconds(**asked) == 700.0
    assert ledger.estimate_usd(PRICE, **asked) == pytest.approx(0.28)


def test_jobs_are_found_by_run_symbol_and_month(ledger: CostLedger) -> None:
    paid(ledger, "b", symbol="ETH-USD", run_id="run-2")
    paid(ledger, "a", run_id="run-2")
    reserve(ledger, line("c"), now=NOW + timedelta(days=20))
    names = {
        kind: {name: [job.job for job in jobs] for name, jobs in groups.items()}
        for kind, groups in (("run", ledger.by_run()), ("symbol", ledger.by_symbol()), ("month", ledger.by_month()))
    }
    assert names == {
        "run": {"run-2": ["b", "a"], LINE.run_id: ["c"]},
        "symbol": {"BTC-USD": ["a", "c"], "ETH-USD": ["b"]},
        "month": {"2026-11": ["b", "a"], "2026-12": ["c"]},
    }


def test_spot_saving_is_the_training_time_that_was_not_billed(ledger: CostLedger) -> None:
    reserve(ledger, line("spot", spot=True))
    assert settle(ledger, "spot", 600, training_seconds=2000).spot_saving == pytest.approx(0.7)
    assert paid(ledger, "on demand").spot_saving is None


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "release"]),
        st.integers(0, 7),  # job
        st.integers(0, 1),  # run
        st.floats(0.0, 1.0),  # share of the ceiling that is billed
        st.integers(0, 3),  # days until then
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS)
def test_no_order_of_events_gets_past_a_budget(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int, int, float, int]]
) -> None:
    """Over two months, with jobs that never cost more than their ceilings."""
    ledger, now = CostLedger(tmp_path_factory.mktemp("home")), datetime(2026, 11, 20, tzinfo=UTC)
    for event, number, run, share, days in events:
        now, job = now + timedelta(days=days), f"job-{number}"
        match event:
            case "reserve":
                try:
                    asked = line(job, run_id=f"run-{run}", ceiling_usd=1.0 + number)
                    reserve(ledger, asked, per_run_usd=9.0, per_month_usd=12.0, now=now)
                except PreflightError:
                    pass
            case "settle" if (known := ledger.of_job(job)) is not None:
                settle(ledger, job, share * known.ceiling_usd / known.usd_per_hour * 3600, now=now)
            case "release":
                ledger.release(job, now=now)
        assert ledger.committed(now) <= 12.0 + 1e-6
        for jobs in ledger.by_run().values():
            assert math.fsum(job.committed_usd for job in jobs) <= 9.0 + 1e-6
        assert all(ledger.spent(month) <= 12.0 + 1e-6 for month in ledger.by_month())
    assert ledger.damaged_lines() == ()


ROUNDS = 120
_RESERVES = f"""
import sys
from pathlib import Path
from models_lib.costs import CostLedger
from models_lib.errors import PreflightError
from tests.costed import line, reserve
ledger, name = CostLedger(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range({ROUNDS}):
    try:
        reserve(ledger, line(f"{{name}}-{{number}}", run_id=f"run-{{number}}"), per_run_usd=3.0)
    except PreflightError:
        continue
    print(f"{{name}}-{{number}}", flush=True)
"""


class Reserving:
    """A process that, when it is told to, tries to be the one whose job fits the budget of each of many runs."""

    def __init__(self, home: Path, name: str) -> None:
        command = [sys.executable, "-c", _RESERVES, str(home), name]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def test_processes_that_reserve_at_once_share_one_budget_and_a_kill_counts_too_much(tmp_path: Path) -> None:
    others = [Reserving(tmp_path, name) for name in ("a", "b", "c")]
    try:
        assert [other.hear() for other in others] == ["ready"] * 3
        for other in others:
            other.tell("go")
        told = {others[0].hear()}
        others[0].process.send_signal(signal.SIGKILL)
        for other in others:
            told |= set(other.process.communicate(timeout=60)[0].split())
    finally:
        for other in others:
            other.process.kill()
            other.process.wait()
    ledger = CostLedger(tmp_path)
    winners = {run: [job.job for job in jobs] for run, jobs in ledger.by_run().items()}
    assert len(winners) == ROUNDS
    assert {run: jobs for run, jobs in winners.items() if len(jobs) != 1} == {}, "each run has money for one job"
    counted = {job.job for job in ledger.jobs()}
    assert told - {""} <= counted, "what was told was durable before"
    assert ledger.damaged_lines() == ()
    assert Budgets(3.0, None).overdrawn_by(0.01, ledger.jobs(), run_id="run-0", now=NOW)
    again = winners["run-0"][0]
    assert reserve(ledger, line(again, run_id="run-0"), per_run_usd=3.0).job == again


def test_kill_at_any_step_of_a_reservation_leaves_it_whole_or_not_made(tmp_path: Path) -> None:
    def ledger(step: int) -> CostLedger:
        return CostLedger(tmp_path / f"home-{step}")

    steps = 0
    for step, _ in killed_at_each(
        1,
        lambda step: reserve(ledger(step), LINE, per_run_usd=4.0),
        before=lambda step: paid(ledger(step), "earlier"),
    ):
        steps = step
        assert [job.job for job in ledger(step).jobs()] in (["earlier"], ["earlier", LINE.job])
        reserve(ledger(step), LINE, per_run_usd=4.0)
        settle(ledger(step), LINE.job)
        assert ledger(step).committed(NOW) == pytest.approx(1.44)
    assert steps > 5
