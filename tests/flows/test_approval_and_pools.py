"""Runs that wait for a person, spread their symbols over work pools or are refused, with a real server and workers.

The tests tell one story, in their order: a run waits; while it does another one works, is hit and changes a champion;
then people answer.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.waiting_runs import waiting_runs
from models_lib.costs import CostLedger, told_usd
from models_lib.registry import open_registry
from models_lib.steps.plan import token_of
from tests.aws.cloud import Cloud
from tests.aws.lasting_tables import write_lasting_tables
from tests.flows.serving import Receiver, Served, served, until
from tests.markets import LENIENT, QUICK, write_market

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("approval"),
    pytest.mark.timeout(400),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

SEED = "training.seed=2"
BEHIND_THE_JUDGEMENT = {"promote", "deploy", "report", "show"}


@pytest.fixture(scope="module")
def up(receiver: Receiver, cloud_server: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("asked") / "home"
    # The first run waits for longer than a run may be silent.
    quick = {"CRPBOT_SILENT_SECONDS": "60", "PREFECT_WORKER_QUERY_SECONDS": "5"}
    quick |= cloud_server.environment(s3_through_cloud=True)
    with served(home, CRPBOT_SLACK_WEBHOOK_URL=receiver.url, **quick) as one:
        yield one


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """There are no candles of SOL-USD."""
    folder = write_market(tmp_path_factory.mktemp("candles"), "BTC-USD", "ETH-USD")
    return ["data.source=parquet", f"data.path={folder}", *QUICK, *LENIENT]


def params(settings: list[str], *symbols: str, **choices: str) -> dict[str, Any]:
    return {"symbols": list(symbols), "settings": settings, **choices}


@dataclass
class Run:
    """One flow run of the server."""

    up: Served
    id: str

    @property
    def now(self) -> dict[str, Any]:
        found: dict[str, Any] = self.up.ask(f"flow_runs/{self.id}", method="GET")
        return found

    @property
    def verdict(self) -> tuple[str, str, str]:
        state = self.now["state"]
        return state["type"], state["name"], state["message"]

    def comes_to(self, *types: str) -> "Run":
        until(lambda: self.now["state_type"] in types or None, f"{self.id} comes to {types}; it is {self.verdict}")
        if "PAUSED" in types and self.now["state_type"] == "PAUSED":  # its form follows a moment later
            until(lambda: self.asks or self.now["state_type"] != "PAUSED" or None, f"{self.id} can be answered")
        return self

    @property
    def asks(self) -> bool:
        return self.id in {run.id for run in waiting_runs(self.up.api_url)}

    @property
    def folders(self) -> list[Path]:
        return list((self.up.home / "runs").glob(f"*-{token_of(self.id)}"))

    @property
    def symbols(self) -> dict[str, Any]:
        """The entries of its summary."""
        (folder,) = self.folders
        entries: dict[str, Any] = json.loads((folder / "summary.json").read_text())["symbols"]
        return entries

    def children(self, symbol: str) -> list[dict[str, Any]]:
        """Its runs of that symbol, the oldest first."""
        asked = {"flow_runs": {"parent_flow_run_id": {"any_": [self.id]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [run for run in self.up.ask("flow_runs/filter", asked) if run["parameters"]["symbol"] == symbol]

    def answered(self, answer: dict[str, Any]) -> str:
        """As the UI sends its form."""
        status: str = self.up.ask(f"flow_runs/{self.id}/resume", {"run_input": answer})["status"]
        return status


def started(up: Served, deployment: str, given: dict[str, Any], *, due: datetime | None = None) -> Run:
    found = up.ask(f"deployments/name/train-all/{deployment}", method="GET")
    body: dict[str, Any] = {"parameters": {"params": given}}
    if due is not None:
        body["state"] = {"type": "SCHEDULED", "state_details": {"scheduled_time": str(due)}}
    return Run(up, up.ask(f"deployments/{found['id']}/create_flow_run", body)["id"])


def steps_of(up: Served, child: dict[str, Any]) -> set[str]:
    tasks = up.ask("task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [child["id"]]}}})
    return {task["name"].partition("-")[0] for task in tasks}


def logged(up: Served, flow_run: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = up.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run]}}, "limit": 200})
    return lines


def told_of(receiver: Receiver, run: Run) -> list[str]:
    return [text for text in receiver.texts if run.id in text]


def champion(up: Served, symbol: str) -> str | None:
    found = open_registry(up.home).champion(symbol)
    return found.bundle if found else None


def crpbot(up: Served, *words: str) -> "subprocess.CompletedProcess[str]":
    return up.command("flows.cli", *words)


@pytest.fixture(scope="module")
def waiting(up: Served, settings: list[str]) -> Run:
    """Two candidates wait; the third symbol failed. They were trained in the run's own process."""
    given = params(settings, "BTC-USD", "ETH-USD", "SOL-USD", approval="required")
    return started(up, "on-demand", given).comes_to("PAUSED", "FAILED", "CRASHED", "COMPLETED")


def test_run_waits_without_a_process_and_what_holds_without_an_answer_is_written(
    up: Served, receiver: Receiver, waiting: Run
) -> None:
    assert waiting.now["state_name"] == "Suspended"
    gone = Path(f"/proc/{waiting.now['infrastructure_pid']}")
    until(lambda: not gone.exists() or None, "its process is gone")
    assert {symbol: (entry["outcome"], entry["reason"][:16]) for symbol, entry in waiting.symbols.items()} == {
        "BTC-USD": ("held", "held by approval"),
        "ETH-USD": ("held", "held by approval"),
        "SOL-USD": ("failed", waiting.symbols["SOL-USD"]["reason"][:16]),
    }
    assert "SOL-USD.parquet" in waiting.symbols["SOL-USD"]["reason"]
    assert open_registry(up.home).history().entries == ()
    (asked,) = [text for text in told_of(receiver, waiting) if "approval needed" in text]
    assert "approval needed: BTC-USD, ETH-USD" in asked
    listed = crpbot(up, "approve")
    assert f"{waiting.now['name']}  {waiting.id}  BTC-USD, ETH-USD  until " in listed.stdout, listed.stderr
    status = json.loads(crpbot(up, "status", "--json").stdout)["symbols"]
    assert {symbol: row["waiting"] is not None for symbol, row in status.items()} == {
        "BTC-USD": True,
        "ETH-USD": True,
        "SOL-USD": False,
    }


@dataclass
class Night:
    """What came of the other run."""

    run: Run
    refused: Run
    late: Run
    watched: "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def night(up: Served, waiting: Run, settings: list[str]) -> Night:
    """A nightly run one of whose children is killed; while it works, another is refused and one comes too late."""
    given = json.dumps(params([*settings, SEED], "BTC-USD", "ETH-USD", fanout="deployment"))
    command = ["prefect", "deployment", "run", "train-all/nightly", "-p", f"params={given}", "--watch"]
    watching = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=up.environment | {"PREFECT_HOME": str(up.home / "watching")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def begun() -> Run | None:
        return next(
            (Run(up, run["id"]) for run in up.runs("train-all") if "nightly" in run["tags"] and run["start_time"]), None
        )

    run = until(begun, "the night begins")

    def at_work() -> int | None:
        return next(
            (int(child["infrastructure_pid"]) for child in run.children("BTC-USD") if child["infrastructure_pid"]), None
        )

    child = until(at_work, "BTC-USD is at work")
    os.kill(child, signal.SIGSTOP)  # the night lasts until the others were refused
    refused = started(up, "on-demand", params(settings, "BTC-USD"))
    late = started(up, "on-demand", params(settings, "BTC-USD"), due=datetime.now(UTC) - timedelta(days=2))
    for each in (refused, late):
        each.comes_to("CANCELLED", "COMPLETED", "FAILED")
    os.kill(child, signal.SIGKILL)
    output, _ = watching.communicate(timeout=200)
    run.comes_to("COMPLETED", "FAILED")
    return Night(run, refused, late, subprocess.CompletedProcess(command, watching.returncode, output))


def test_killed_child_costs_its_symbol_only_and_the_shell_learns_it(up: Served, night: Night) -> None:
    assert night.run.verdict == ("FAILED", "Failed", "1 of 2 promoted; failed: BTC-USD")
    assert night.watched.returncode == 1, night.watched.stdout
    reason = night.run.symbols["BTC-USD"]["reason"]
    assert "on the work pool ended Crashed" in reason
    assert "-9" in reason
    assert night.run.symbols["ETH-USD"]["outcome"] == "promoted"


def test_symbols_are_runs_of_their_own_with_tags_and_the_library_s_words(up: Served, night: Night) -> None:
    (killed,), (child,) = night.run.children("BTC-USD"), night.run.children("ETH-USD")
    assert [run["state_type"] for run in (killed, child)] == ["CRASHED", "COMPLETED"]
    assert {run["work_pool_name"] for run in (killed, child)} == {"crpbot-symbols"}
    assert len({run["infrastructure_pid"] for run in (killed, child, night.run.now)}) == 3
    assert {"retrain", "nightly", "symbol:ETH-USD"} <= set(child["tags"])
    said = [line for line in logged(up, child["id"]) if line["name"].startswith("models_lib")]
    assert any(line["task_run_id"] for line in said), "attached to the step that says it"


def test_failed_run_logs_its_headline_and_not_its_summary(up: Served, night: Night) -> None:
    said = [line["message"] for line in logged(up, night.run.id)]
    assert any("1 of 2 promoted; failed: BTC-USD" in line for line in said)
    kept = (up.home / "logs" / "worker-crpbot.log").read_text()
    assert [mark for mark in ("Unexpected result", "RunSummary(", "TypeError") if mark in kept + "".join(said)] == []


def test_run_that_is_not_admitted_says_why_leaves_nothing_and_is_told_once(
    up: Served, receiver: Receiver, night: Night
) -> None:
    kind, name, message = night.refused.verdict
    assert (kind, name) == ("CANCELLED", "Refused")
    assert message.startswith(f"{night.run.now['name']} is retraining in {up.home}")
    kind, name, message = night.late.verdict
    assert (kind, name) == ("CANCELLED", "TooLate")
    assert "at most 23: orchestration.late_limit_hours" in message
    assert night.refused.folders == night.late.folders == []
    for run in (night.refused, night.late):
        until(lambda run=run: told_of(receiver, run) or None, "somebody is told at once")  # type: ignore[misc]


def test_wrong_answers_are_refused_and_the_run_goes_on_waiting(up: Served, waiting: Run) -> None:
    right = {"decision": "promote", "symbols": ["BTC-USD"], "by": "ann"}
    wrong: dict[str, Any]
    for wrong in ({"by": ""}, {"symbols": ["DOGE-USD"]}, {"symbols": []}, {"decision": "perhaps"}):
        assert waiting.answered(right | wrong) == "REJECT", wrong
    answer = crpbot(up, "approve", waiting.id, "DOGE-USD")
    assert answer.returncode == 2
    assert "'DOGE-USD' is not one of ['BTC-USD', 'ETH-USD']" in answer.stderr
    assert crpbot(up, "approve", "no-such-run").returncode == 2
    assert waiting.now["state_type"] == "PAUSED"


def test_approved_run_goes_on_behind_the_judgement_and_only_against_the_champion_it_was_judged_by(
    up: Served, waiting: Run, night: Night
) -> None:
    """The champion of ETH-USD is the night's; when the candidate was judged there was none."""
    answer = crpbot(up, "approve", waiting.now["name"], "--by", "ann", "--note", "looked at the report")
    assert answer.returncode == 0, answer.stderr
    waiting.comes_to("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    assert waiting.verdict[2] == "1 of 3 promoted; held: ETH-USD; failed: SOL-USD"
    entries = waiting.symbols
    assert entries["BTC-USD"]["outcome"] == "promoted"
    assert "champion" in entries["ETH-USD"]["reason"]
    assert champion(up, "BTC-USD") == entries["BTC-USD"]["bundle"]
    assert champion(up, "ETH-USD") == night.run.symbols["ETH-USD"]["bundle"]
    (change,) = open_registry(up.home).history("BTC-USD").entries
    assert change.why.endswith("approved by ann: looked at the report")
    for symbol in ("BTC-USD", "ETH-USD"):
        before, after = waiting.children(symbol)
        assert "train" in steps_of(up, before)
        assert steps_of(up, after) <= BEHIND_THE_JUDGEMENT
    assert len(waiting.children("SOL-USD")) == 1, "what failed has failed"
    late = crpbot(up, "approve", waiting.id)
    assert late.returncode == 1
    assert "waits no longer (Failed: 1 of 3 promoted" in late.stderr


@pytest.fixture(scope="module")
def gpu(up: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A worker of the pool `gpu` that was started where no working tree is; gives its log."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    command = [sys.executable, "-m", "flows.serving.worker", "gpu", "--parent", str(os.getpid())]
    with (elsewhere / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=elsewhere, env=up.environment, stdout=log, stderr=log)
    yield elsewhere / "worker.log"
    worker.kill()  # Prefect's worker turns SIGTERM into a SIGINT to itself, which it was seen to swallow
    worker.wait()


def test_form_of_the_pages_holds_and_a_machine_with_a_gpu_gives_the_same_bundle(
    up: Served, waiting: Run, gpu: Path, settings: list[str]
) -> None:
    chosen = [*settings, "orchestration.symbol_deployment=train-symbol/on-gpu"]
    run = started(up, "on-demand", params(chosen, "ETH-USD", approval="required", fanout="deployment"))
    run.comes_to("PAUSED", "FAILED", "CRASHED", "COMPLETED")
    assert run.now["state_type"] == "PAUSED", (run.verdict, gpu.read_text())
    assert run.answered({"decision": "hold", "symbols": ["ETH-USD"], "by": "bob", "note": "not yet"}) == "ACCEPT"
    run.comes_to("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    assert run.verdict == ("COMPLETED", "Held", "0 of 1 promoted; held: ETH-USD")
    assert run.symbols["ETH-USD"]["reason"] == "held by approval: bob refused it: not yet"
    assert run.symbols["ETH-USD"]["bundle"] == waiting.symbols["ETH-USD"]["bundle"]
    before, after = run.children("ETH-USD")
    assert {child["work_pool_name"] for child in (before, after)} == {"gpu"}
    assert steps_of(up, after) <= BEHIND_THE_JUDGEMENT


@pytest.fixture(scope="module")
def unanswered(up: Served, settings: list[str]) -> Run:
    """A run that waits for a second."""
    given = params([*settings, "approval.time_limit_hours=0.0003"], "ETH-USD", approval="required")
    return started(up, "on-demand", given).comes_to("PAUSED", "FAILED", "CRASHED", "COMPLETED", "CANCELLED")


@pytest.mark.usefixtures("unanswered")
def test_command_line_with_yes_asks_nobody_and_promotes_at_once(up: Served, settings: list[str]) -> None:
    words = ["run", "--symbols", "ETH-USD", "--json", "--yes"]
    for setting in (*settings, "approval.promotion=required"):
        words += ["--set", setting]
    answer = crpbot(up, *words)
    assert answer.returncode == 0, answer.stderr
    entry = json.loads(answer.stdout)["symbols"]["ETH-USD"]
    assert entry["outcome"] == "promoted"
    assert entry["seconds"]["train"] < 5.0, "what was trained is taken over"


def test_run_without_an_answer_in_time_changes_no_champion_and_somebody_is_told(
    up: Served, receiver: Receiver, unanswered: Run
) -> None:
    unanswered.comes_to("FAILED", "CRASHED", "COMPLETED", "CANCELLED")
    assert unanswered.verdict == ("FAILED", "Failed", "The flow was paused and never resumed.")
    (folder,) = unanswered.folders
    assert folder.name not in {entry.run_id for entry in open_registry(up.home).history().entries}
    answer = crpbot(up, "approve", unanswered.id, "ETH-USD")
    assert answer.returncode == 1
    assert "waits no longer (Failed: The flow was paused and never resumed.)" in answer.stderr
    until(
        lambda: [text for text in told_of(receiver, unanswered) if "never resumed" in text] or None,
        "somebody is told at once",
    )


@pytest.fixture(scope="module")
def paid_settings(cloud_server: Cloud, settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A sound account, on which the jobs run without the toolkit of AWS's container."""
    cloud_server.reset()
    cloud_server.configure(runner="direct")
    cloud_server.with_image("pytorch", "2.13.0-cpu-amzn2023-sagemaker")
    cloud_server.with_quota("ml.c5.xlarge", 1)
    tables = write_lasting_tables(tmp_path_factory.mktemp("tables"), usd_per_hour=1.44)
    return [
        *settings,
        "training.seed=3",  # what was trained on this machine already is paid to nobody
        "data.days=14",
        "aws.region=eu-central-1",
        "training.backend=sagemaker",
        "training.sagemaker.instance_type=ml.c5.xlarge",
        f"training.sagemaker.uri=s3://{cloud_server.with_bucket()}/trainings",
        f"training.sagemaker.role_arn={cloud_server.with_role()}",
        f"training.sagemaker.tables={tables}",
        "training.sagemaker.poll_seconds=0.5",
    ]


def test_run_asks_before_it_pays_and_a_no_bills_nothing(
    up: Served, receiver: Receiver, cloud_server: Cloud, paid_settings: list[str]
) -> None:
    run = started(up, "on-demand", params(paid_settings, "BTC-USD")).comes_to(
        "PAUSED", "FAILED", "CRASHED", "COMPLETED"
    )
    assert run.now["state_name"] == "Suspended", run.verdict
    (asked,) = [text for text in told_of(receiver, run) if "approval needed" in text]
    assert "may cost up to 3.00 USD together (estimate: not measured yet), at 1.44 USD/h as of 2026-11-01" in asked
    listed = crpbot(up, "approve")
    assert f"{run.id}  payment of up to 3.00 USD for BTC-USD  until " in listed.stdout, listed.stderr
    status = json.loads(crpbot(up, "status", "BTC-USD", "--json").stdout)["symbols"]
    assert run.now["name"] in status["BTC-USD"]["waiting"]
    assert run.answered({"decision": "promote", "by": "ann"}) == "REJECT"
    answer = crpbot(up, "approve", run.id, "BTC-USD")
    assert answer.returncode == 2
    assert "that is answered as a whole" in answer.stderr
    assert crpbot(up, "approve", run.id, "--hold", "--by", "ann", "--note", "not today").returncode == 0
    run.comes_to("CANCELLED", "COMPLETED", "FAILED", "CRASHED")
    kind, name, message = run.verdict
    assert (kind, name) == ("CANCELLED", "NotPaid")
    assert message.startswith("ann refused to pay up to 3.00 USD: not today. No job was submitted")
    assert run.children("BTC-USD") == []
    assert cloud_server.jobs() == []
    assert CostLedger(up.home).jobs() == ()


def test_approved_run_pays_once_and_what_it_paid_is_known(
    up: Served, cloud_server: Cloud, paid_settings: list[str]
) -> None:
    run = started(up, "on-demand", params(paid_settings, "BTC-USD")).comes_to(
        "PAUSED", "FAILED", "CRASHED", "COMPLETED"
    )
    answer = crpbot(up, "approve", run.id, "--by", "ann")
    assert answer.returncode == 0, answer.stderr
    assert "approve payment of up to 3.00 USD for BTC-USD, by ann" in answer.stdout
    run.comes_to("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    (job,) = CostLedger(up.home).jobs()
    assert [(seen.name, seen.status) for seen in cloud_server.jobs()] == [(job.job, "Completed")], run.verdict
    assert job.cost_usd == pytest.approx(job.billable_seconds / 3600 * 1.44)
    (folder,) = run.folders
    facts = json.loads((folder / "BTC-USD" / "bundle" / "run.json").read_text())
    assert (facts["backend"], facts["cost_usd"]) == ("sagemaker", job.cost_usd)
    assert (
        f"| BTC-USD | not measured yet | 3.00 USD | {told_usd(job.cost_usd)} USD for "
        in (folder / "summary.md").read_text()
    )
    by_model = json.loads(crpbot(up, "costs", "--by", "model", "--json").stdout)["items"]
    assert [(item["name"], item["cost_usd"]) for item in by_model if item["cost_usd"]] == [
        (champion(up, "BTC-USD"), job.cost_usd)
    ]


def test_nobody_was_told_twice_of_what_was_not_admitted(receiver: Receiver, night: Night) -> None:
    """The night-watch has looked several times since."""
    assert [len(told_of(receiver, run)) for run in (night.refused, night.late)] == [1, 1]
