"""kill -9 and Ctrl-C at any step of a real run: champions stay, files are whole or not there, nothing lives on.

The next run goes on where the stopped one ended.

A home keeps what was finished, so a run that shall work, and not take over, is given a market or a seed of its own.
"""

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from models_lib.deployment import FolderTarget
from models_lib.registry import open_registry
from tests.flows.running import (
    RunningRun,
    Standing,
    check_every_file_is_whole,
    crpbot,
    history,
    running,
    wait_for,
)
from tests.hosts import in_folder
from tests.markets import LENIENT, QUICK

pytestmark = [
    pytest.mark.xdist_group("stopped"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        sys.platform != "linux", reason="reads /proc, and only Linux lets children die with their parent"
    ),
]

SETTINGS = ("data.days=14", *QUICK, *LENIENT)
ENDLESS = ("training.max_epochs=100000", "training.patience=100000", "training.gate_stop_epochs=100000")
LINE = "crpbot: interrupted; nothing half-done is kept. `crpbot history` shows what was promoted before."
KEPT = {
    "candles": "candles",
    "features": "features",
    "labels": "labels",
    "scaler": "scaler",
    "train": "training",
    "temperature": "temperature",
    "candidate": "candidate",
    "judge": "judgement",
}
"""Steps whose results are kept, in their order, and the names under which they are."""
RELEASE = ("report", "promote", "deploy", "page")
"""Steps after them."""
MOMENTS = (
    "candles",
    ".candles.parquet.*.partial",
    "features",
    ".features.npy.*.partial",
    "labels",
    "scaler",
    "train",
    "weights.safetensors",
    "temperature",
    "candidate",
    "judge",
    *RELEASE,
)
"""When the run is killed: a step begins, or a file appears."""


@pytest.fixture(scope="module")
def champions_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion."""
    home = tmp_path_factory.mktemp("champion") / "home"
    answer = crpbot(home, "run", "--symbols", "BTC-USD", *(word for one in SETTINGS for word in ("--set", one)))
    assert answer.returncode == 0, answer.stderr
    assert "promoted" in answer.stdout
    return home


@pytest.fixture(scope="module")
def scarred_home(champions_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which one run after the other is killed, so that each finds what the others left."""
    return Path(shutil.copytree(champions_home, tmp_path_factory.mktemp("scarred") / "home"))


@pytest.fixture
def home(champions_home: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return Path(shutil.copytree(champions_home, tmp_path / "home"))


def kill(run: RunningRun) -> None:
    """Kill -9 of the run itself; its children must go by themselves."""
    children = run.children()
    assert children, "at least Prefect's server"
    run.process.send_signal(signal.SIGKILL)
    assert run.process.wait() == -signal.SIGKILL
    assert [child.command for child in children if not child.ends()] == []


def check_next_run_works(home: Path, seed: int) -> None:
    """Another candidate becomes champion."""
    words = [word for one in (*SETTINGS, f"training.seed={seed}") for word in ("--set", one)]
    before = history(home)
    answer = crpbot(home, "run", "--symbols", "BTC-USD", *words)
    assert answer.returncode == 0, answer.stderr
    assert len(history(home)) == len(before) + 1


@pytest.mark.long
def test_killed_training_leaves_the_champion_and_the_next_run_works(home: Path) -> None:
    before = Standing.of(home)
    with running(home, *SETTINGS, *ENDLESS, "training.seed=2") as run:
        run.until("BTC-USD: epoch 2 of")
        assert any("training.worker" in child.command for child in run.children())
        kill(run)
    assert Standing.of(home) == before
    assert len(history(home)) == 1
    assert check_every_file_is_whole(home) > 10
    check_next_run_works(home, seed=2)


@pytest.mark.long
@pytest.mark.parametrize("whom", ["the process", "its group, as a terminal does"])
def test_ctrl_c_ends_a_training_within_seconds_in_one_line(home: Path, whom: str) -> None:
    before = Standing.of(home)
    with running(home, *SETTINGS, *ENDLESS, "training.seed=2") as run:
        run.until("BTC-USD: epoch 2 of")
        children = run.children()
        began = time.monotonic()
        (os.kill if whom == "the process" else os.killpg)(run.process.pid, signal.SIGINT)
        status, rest = run.end()
        seconds = time.monotonic() - began
    assert status == 130
    assert seconds < 30, "4 seconds of patience, and what a busy machine adds; the training has no end"
    told = [line for line in rest.splitlines() if not line.startswith("BTC-USD: epoch")]
    assert told == [LINE]
    assert [child.command for child in children if not child.ends()] == []
    assert Standing.of(home) == before


def until_moment(run: RunningRun, home: Path, moment: str, known: frozenset[Path]) -> None:
    """Returns when the step began or the file appeared."""
    if moment in (*KEPT, *RELEASE):
        run.until(f"BTC-USD: {moment} ...")
        return
    run.until("BTC-USD: candles ...")
    wait_for(home / "cache" / "steps", moment, known=known)


def over_at(moment: str) -> set[str]:
    """The kept steps that were over for certain when a run was killed at that moment."""
    begun = [one for one in MOMENTS[: MOMENTS.index(moment) + 1] if one in KEPT]
    return set(begun) if moment in RELEASE else set(begun[:-1])


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_run_killed_at_every_step_in_turn_resumes_and_ends_like_one_that_was_never_killed(
    scarred_home: Path, tmp_path: Path
) -> None:
    """Each run goes on where the killed one before it ended, and is killed a step further."""
    settings = (*SETTINGS, "data.seed=8", *in_folder(scarred_home / "releases"))
    target = FolderTarget(scarred_home / "releases", keep=5)
    (old,) = open_registry(scarred_home).history().entries
    before, over, taken = Standing.of(scarred_home), set[str](), set[str]()
    for moment in MOMENTS:
        known = frozenset((scarred_home / "cache" / "steps").rglob("*"))
        with running(scarred_home, *settings) as run:
            until_moment(run, scarred_home, moment, known)
            kill(run)
        check_every_file_is_whole(scarred_home)
        assert not open_registry(scarred_home).history().damage
        if moment not in RELEASE[1:]:
            assert Standing.of(scarred_home) == before, moment
        if moment in (*KEPT, *RELEASE):  # what a file's moment leaves unread says nothing
            said = "".join(run.said)
            over &= over_at(moment)
            over -= {"judge"} if moment in RELEASE[2:] else set()  # the champion to beat may be another by now
            assert [step for step in over if f"{KEPT[step]}: finished before, taken over" not in said] == [], moment
            taken |= over
        over = over_at(moment)
    assert taken == set(KEPT)

    words = [word for one in settings for word in ("--set", one)]
    answer = crpbot(scarred_home, "run", "--symbols", "BTC-USD", *words)
    assert answer.returncode == 0, answer.stderr
    uninterrupted = crpbot(tmp_path / "home", "run", "--symbols", "BTC-USD", *words[: -2 * len(in_folder(tmp_path))])
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    champion = open_registry(scarred_home).champion("BTC-USD")
    assert champion is not None
    assert champion.bundle == open_registry(tmp_path / "home").history().entries[-1].to_bundle
    assert target.current("BTC-USD") == champion.bundle
    assert champion.previous == old.to_bundle
    actions = Counter(entry.action for entry in open_registry(scarred_home).history().entries[1:])
    assert actions["promote"] - actions["undo"] == 1, actions
    assert actions["undo"] <= 2, "killed at promote, and at deploy"
    assert list((scarred_home / "journal").glob("*.json")) == []


@pytest.mark.long
@pytest.mark.parametrize("step", ["candles", "features", "train", "judge", "report", "promote"])
def test_ctrl_c_at_a_step_ends_the_run(scarred_home: Path, step: str) -> None:
    entries = len(history(scarred_home))
    with running(scarred_home, *SETTINGS, "data.seed=9") as run:
        run.until(f"BTC-USD: {step} ...")
        children = run.children()
        run.process.send_signal(signal.SIGINT)
        status, rest = run.end()
    assert status == 130, rest
    assert [line for line in rest.splitlines() if not line.startswith("BTC-USD:")] == [LINE]
    assert [child.command for child in children if not child.ends()] == []
    actions = [entry["action"] for entry in history(scarred_home)[entries:]]
    # Stopped between promotion and deployment, the promotion is taken back.
    assert actions in ([[], ["promote"], ["promote", "undo"]] if step == "promote" else [[]]), rest
    check_every_file_is_whole(scarred_home)


@pytest.mark.long
def test_ctrl_c_while_prefect_starts_is_as_quiet(scarred_home: Path) -> None:
    (scarred_home / "prefect" / "server.log").unlink()
    with running(scarred_home, *SETTINGS) as run:
        wait_for(scarred_home / "prefect", "server.log")
        run.process.send_signal(signal.SIGINT)
        status, rest = run.end()
    assert (status, rest.splitlines()) == (130, [LINE])


def words_of(*settings: str) -> list[str]:
    """`crpbot run` for BTC-USD with these settings."""
    return ["run", "--symbols", "BTC-USD", "--json", *(word for one in settings for word in ("--set", one))]


@pytest.mark.long
def test_full_disk_fails_the_symbol_with_a_clear_reason_and_the_next_run_resumes(home: Path) -> None:
    """The candles fit, the features do not."""
    before, words = Standing.of(home), words_of(*SETTINGS[1:], "data.days=30")
    full = crpbot(home, *words, largest_file=8 * 2**20)
    assert full.returncode == 1, full.stderr
    entry = json.loads(full.stdout)["symbols"]["BTC-USD"]
    assert entry["outcome"] == "failed"
    assert "Free space" in entry["reason"]
    assert Standing.of(home) == before
    assert [path for path in home.rglob(".*.partial") if "cache" in path.parts] == []
    check_every_file_is_whole(home)

    again = crpbot(home, *words)
    assert again.returncode == 0, again.stderr
    assert "BTC-USD: candles: finished before, taken over" in again.stderr
    assert "BTC-USD: features: finished before, taken over" not in again.stderr
    assert json.loads(again.stdout)["symbols"]["BTC-USD"]["outcome"] == "promoted"
    assert len(history(home)) == 2


@pytest.mark.long
def test_step_that_hangs_fails_its_symbol_when_its_time_is_over_and_the_process_ends(home: Path) -> None:
    """Somebody else holds the symbol's lock of the journal, and never lets go of it."""
    before = Standing.of(home)
    (home / "journal").mkdir(exist_ok=True)
    with (home / "journal" / "BTC-USD.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        hung = crpbot(home, *words_of(*SETTINGS, "orchestration.symbol_time_limit_minutes=0.4"))
    assert hung.returncode == 1, hung.stderr
    entry = json.loads(hung.stdout)["symbols"]["BTC-USD"]
    assert entry["outcome"] == "failed"
    assert "orchestration.symbol_time_limit_minutes" in entry["reason"]
    assert Standing.of(home) == before
