"""kill -9 and Ctrl-C at any step of a real run: champions stay, files are whole or not there, nothing lives on."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.flows.running import (
    RunningRun,
    Standing,
    check_every_file_is_whole,
    crpbot,
    history,
    running,
    wait_for,
)
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
STEPS = (
    "candles",
    "features",
    "labels",
    "scaler",
    "train",
    "temperature",
    "candidate",
    "judge",
    "report",
    "promote",
    "page",
)


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


@pytest.mark.parametrize("whom", [pytest.param("the process", marks=pytest.mark.long), "its group, as a terminal does"])
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
    assert seconds < 15, "4 seconds of patience, and what a busy machine adds"
    told = [line for line in rest.splitlines() if not line.startswith("BTC-USD: epoch")]
    assert told == [LINE]
    assert [child.command for child in children if not child.ends()] == []
    assert Standing.of(home) == before


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_run_killed_at_a_step_leaves_everything_sound(scarred_home: Path, step: str) -> None:
    before, entries = Standing.of(scarred_home), len(history(scarred_home))
    with running(scarred_home, *SETTINGS, "training.seed=2") as run:
        run.until(f"BTC-USD: {step} ...")
        kill(run)
    done = len(history(scarred_home)) - entries
    assert done in {"promote": (0, 1), "page": (1,)}.get(step, (0,)), "done or not done"
    if not done:
        assert Standing.of(scarred_home) == before
    check_every_file_is_whole(scarred_home)


@pytest.mark.long
@pytest.mark.parametrize("file", [".candles.parquet.*.partial", ".features.npy.*.partial", "weights.safetensors"])
def test_run_killed_when_a_file_appears_leaves_everything_sound(scarred_home: Path, file: str) -> None:
    before = Standing.of(scarred_home)
    with running(scarred_home, *SETTINGS, "training.seed=3") as run:
        run.until("BTC-USD: candles ...")
        wait_for(scarred_home / "cache" / "steps", file)
        kill(run)
    history(scarred_home)
    assert Standing.of(scarred_home) == before
    check_every_file_is_whole(scarred_home)


@pytest.mark.long
@pytest.mark.parametrize("step", ["candles", "features", "train", "judge", "report", "promote"])
def test_ctrl_c_at_a_step_ends_the_run(scarred_home: Path, step: str) -> None:
    entries = len(history(scarred_home))
    with running(scarred_home, *SETTINGS, "training.seed=4") as run:
        run.until(f"BTC-USD: {step} ...")
        children = run.children()
        run.process.send_signal(signal.SIGINT)
        status, rest = run.end()
    assert status == 130, rest
    assert [line for line in rest.splitlines() if not line.startswith("BTC-USD:")] == [LINE]
    assert [child.command for child in children if not child.ends()] == []
    assert len(history(scarred_home)) - entries in ((0, 1) if step == "promote" else (0,))
    check_every_file_is_whole(scarred_home)


@pytest.mark.long
def test_ctrl_c_while_prefect_starts_is_as_quiet(scarred_home: Path) -> None:
    (scarred_home / "prefect" / "server.log").unlink()
    with running(scarred_home, *SETTINGS) as run:
        wait_for(scarred_home / "prefect", "server.log")
        run.process.send_signal(signal.SIGINT)
        status, rest = run.end()
    assert (status, rest.splitlines()) == (130, [LINE])


@pytest.mark.long
def test_next_run_works_in_a_home_full_of_what_killed_runs_left(scarred_home: Path) -> None:
    check_next_run_works(scarred_home, seed=5)
