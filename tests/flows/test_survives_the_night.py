"""One home through five bad nights on a real server: whatever is killed, the next run goes on where the last one ended.

Killed with SIGKILL, each while the network trains: the training, the flow's process, the worker, the server, and in the
end everything at once. After each of them pointer and ledger are intact, each run has one verdict, and every message
came once.
"""

import json
import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models_lib.orphans import descendants
from models_lib.registry import open_registry
from tests.flows.running import check_every_file_is_whole
from tests.flows.serving import Receiver, Served, command_of, served, until
from tests.markets import LENIENT, QUICK

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("serving"),
    pytest.mark.timeout(1_500),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

SILENT_SECONDS = 60
"""Two heartbeats: so long a run whose watchers are dead, too, is taken for alive."""
LONGER = ("training.max_epochs=20", "training.patience=20")
"""A training of some seconds, so that it still works when it is killed."""
BEFORE_TRAINING = ("candles", "features", "labels", "scaler")


def ask_for_run(up: Served, seed: int) -> dict[str, Any]:
    """The same night for the same seed; gives the flow run once it is there."""
    known = {run["id"] for run in up.runs("train-all")}
    settings = [*QUICK, *LENIENT, *LONGER, f"training.seed={seed}", "data.seed=8"]
    answer = up.run("train-all/on-demand", {"symbols": ["BTC-USD"], "days": 14, "settings": settings})
    assert answer.returncode == 0, answer.stderr
    (run,) = [one for one in up.runs("train-all") if one["id"] not in known and not one["auto_scheduled"]]
    return run


def training_of(up: Served, run: dict[str, Any]) -> tuple[int, int]:
    """Process ids of the run and of its training, as soon as that has come to its first step."""

    def look() -> tuple[int, int] | None:
        pid = up.ask(f"flow_runs/{run['id']}", method="GET")["infrastructure_pid"]
        workers = [child for child in descendants(int(pid)) if "training.worker" in command_of(child)] if pid else []
        at_work = [child for child in workers if (folder_of(child) / "tensorboard").exists()]
        return (int(pid), at_work[0]) if at_work else None

    return until(look, f"the training of {run['name']}", every=0.05)


def folder_of(training: int) -> Path:
    """Where it works; nowhere when it is gone."""
    spec = next((word for word in command_of(training).split() if word.endswith(".json")), "/nowhere/spec.json")
    return Path(spec).parent


def ends(up: Served, run: dict[str, Any], as_type: str, *, within: float = 240.0) -> dict[str, Any]:
    """The final state of the run, which is of that type."""

    def look() -> dict[str, Any] | None:
        state: dict[str, Any] = up.ask(f"flow_runs/{run['id']}", method="GET")["state"]
        return state if state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

    found = until(look, f"the end of {run['name']}", seconds=within)
    assert found["type"] == as_type, (found, up.logs())
    return found


def verdict(home: Path, run: dict[str, Any]) -> dict[str, Any]:
    """BTC-USD's entry in the run's only summary."""
    (summary,) = (home / "runs").glob(f"*-{run['id'].replace('-', '')[-12:]}/summary.json")
    symbols: dict[str, dict[str, Any]] = json.loads(summary.read_text())["symbols"]
    assert list(symbols) == ["BTC-USD"]
    return symbols["BTC-USD"]


def check_champion(home: Path, promotions: int) -> str | None:
    """Pointer and ledger are sound and hold so many promotions; the champion."""
    history = open_registry(home).history()
    assert not history.damage
    assert [entry.action for entry in history.entries] == ["promote"] * promotions
    champion = open_registry(home).champion("BTC-USD")
    assert (champion.bundle if champion else None) == (history.entries[-1].to_bundle if promotions else None)
    check_every_file_is_whole(home)
    return champion.bundle if champion else None


def results(home: Path) -> dict[str, str]:
    """By which run each step before the training was finished; each is there once."""
    found = list((home / "cache" / "steps" / "BTC-USD").glob("*/result.json"))
    by = {path.parent.name.rpartition("-")[0]: json.loads(path.read_text())["run_id"] for path in found}
    assert len([path for path in found if path.parent.name.startswith(BEFORE_TRAINING)]) == len(BEFORE_TRAINING)
    return {step: by[step] for step in BEFORE_TRAINING}


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_killed_training_flow_worker_server_and_all_at_once_cost_no_champion_no_finished_step_and_no_message(
    receiver: Receiver, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    environment = {"CRPBOT_SLACK_WEBHOOK_URL": receiver.url, "CRPBOT_SILENT_SECONDS": str(SILENT_SECONDS)}
    with served(home, **environment) as up:
        first = ask_for_run(up, seed=2)
        _, training = training_of(up, first)
        kill(training)
        ends(up, first, "FAILED")
        assert "was ended by SIGKILL" in verdict(home, first)["reason"]
        assert check_champion(home, promotions=0) is None
        finished = results(home)

        second = ask_for_run(up, seed=2)
        flow, training = training_of(up, second)
        kill(flow)
        ends(up, second, "CRASHED")
        assert until(lambda: command_of(training) == "" or None, "the end of its training", seconds=30)
        assert check_champion(home, promotions=0) is None

        third = ask_for_run(up, seed=2)
        training_of(up, third)
        kill(up.child("worker start --pool crpbot ").pid)
        ends(up, third, "COMPLETED")
        assert verdict(home, third)["outcome"] == "promoted"
        champion = check_champion(home, promotions=1)
        assert results(home) == finished, "nothing of it was done a second time"

        up.hears("worker crpbot", since=0)
        fourth = ask_for_run(up, seed=3)
        training_of(up, fourth)
        kill(up.child("flows.serving.server").pid)
        ends(up, fourth, "COMPLETED")
        assert verdict(home, fourth)["outcome"] == "promoted"
        assert check_champion(home, promotions=2) != champion
        champion = check_champion(home, promotions=2)

        fifth = ask_for_run(up, seed=4)
        flow, training = training_of(up, fifth)
        kill(up.process.pid, *(child.pid for child in up.everything()), flow)

    with served(home, **environment) as up:
        assert check_champion(home, promotions=2) == champion
        ends(up, fifth, "CRASHED", within=600.0)
        sixth = ask_for_run(up, seed=4)
        ends(up, sixth, "COMPLETED")
        assert verdict(home, sixth)["outcome"] == "promoted"
        assert check_champion(home, promotions=3) != champion
        assert results(home) == finished
        for _ in range(2):
            up.watch()

    messages = Counter(found for text in receiver.texts for found in re.findall(r"message ([0-9a-f]{12})", text))
    assert [message for message, times in messages.items() if times > 1] == []
    told = Counter(what for what in ("promoted", "failed", "crashed") for text in receiver.texts if says(text, what))
    assert told == {"promoted": 3, "failed": 1, "crashed": 2}, receiver.texts


def says(text: str, event: str) -> bool:
    """Whether that is the event of the message, whose first line names subject and event."""
    return re.search(rf"\b(BTC-USD|run) {event}\b", text) is not None
