"""The front door itself: help, usage, exit statuses, and that every fault ends in one readable line."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from flows import cli
from models_lib import errors

ROOT = Path(__file__).parents[2]
COMMANDS = (
    ["run"],
    ["data", "check"],
    ["diagnose"],
    ["temperature"],
    ["verify"],
    ["promote"],
    ["rollback"],
    ["history"],
    ["notify", "test"],
    ["status"],
    ["hold"],
    ["release-hold"],
    ["clean"],
)
SLOW = ("torch", "pandas", "numpy", "prefect", "pydantic", "numba", "sklearn", "matplotlib")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("CRPBOT_HOME", str(folder))
    return folder


def crpbot(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_needs_nothing_slow() -> None:
    code = f"import sys, flows.cli; flows.cli.build_parser().format_help(); print([m for m in {SLOW!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_help_answers_in_half_a_second() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        assert crpbot("--help").returncode == 0
        return time.perf_counter() - began

    # Other processes share the machine: one quick answer shows what the command itself needs.
    assert any(seconds() < 0.5 for _ in range(20))


def test_rollback_history_status_hold_and_clean_need_no_model_code() -> None:
    code = (
        "import sys, flows.commands.rollback, flows.commands.history, models_lib.registry.commands; "
        "import flows.commands.hold, flows.commands.status, flows.commands.clean; "
        "import models_lib.status, models_lib.retention; "
        "print([m for m in ('torch', 'numba', 'pandas', 'prefect') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_its_exit_status(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert text.startswith(f"usage: crpbot {' '.join(command)} ")
    assert "exit status: 0" in text
    assert max(map(len, text.splitlines())) <= 100


def test_help_names_every_command_of_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(re.search(rf"^    {command[0]}\b", text, re.MULTILINE) for command in COMMANDS)


def test_version_names_the_package_and_the_commit() -> None:
    answer = crpbot("--version")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert answer.returncode == 0
    assert answer.stderr == ""
    assert re.fullmatch(rf"crpbot {metadata.version('crpbot-training')}( \([0-9a-f]{{12}}\+?\))?\n", answer.stdout)
    assert commit[:12] in answer.stdout
    assert ("(" in answer.stdout) == bool(commit)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["train"], "invalid choice: 'train'"),
        (["run", "--symbol", "BTC-USD"], "unrecognized arguments: --symbol BTC-USD"),
        (["data"], "the following arguments are required: ACTION"),
        (["data", "check"], "the following arguments are required: DIR"),
        (["diagnose"], "the following arguments are required: FILE"),
        (["temperature", "BUNDLE"], "the following arguments are required: --candles"),
        (["promote", "BTC-USD"], "the following arguments are required: BUNDLE"),
        (["verify", "A", "B"], "unrecognized arguments: B"),
        (["hold", "BTC-USD"], "the following arguments are required: --reason"),
        (["clean", "--older-than", "0"], "--older-than: must be a whole number of days above 0, was '0'"),
        (["clean", "--older-than", "1.5"], "--older-than: must be a whole number of days above 0, was '1.5'"),
        (["promote", "BTC-USD", "A", "--force"], "unrecognized arguments: --force"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told_with_status_2(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    heard = capsys.readouterr()
    assert ended.value.code == 2
    assert heard.out == ""
    assert told in heard.err


def raising(error: BaseException) -> Callable[[object], int]:
    def execute(_arguments: object) -> int:
        raise error

    return execute


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConfigError("said"), 2),
        (errors.DataError("said"), 2),
        (errors.BundleError("said"), 2),
        (errors.PromotionError("said"), 1),
        (errors.TrainingError("said"), 1),
        (errors.DeployError("said"), 1),
        (errors.TransientError("said"), 1),  # only fetch, deploy and preflight may answer 3
        (errors.CrpbotError("said"), 1),
        (PermissionError(13, "Permission denied", "/a/file"), 2),
        (ZeroDivisionError("division by zero"), 1),
        (KeyError("x"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_every_error_is_one_line_with_its_status(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flows.commands.history.execute", raising(error))
    assert cli.main(["history"]) == status
    heard = capsys.readouterr()
    assert heard.out == ""
    assert heard.err.startswith("crpbot: ")
    assert heard.err.count("\n") == 1


def test_passing_fault_of_a_command_that_asks_others_is_status_3() -> None:
    assert cli._status(errors.TransientError("busy"), "fetch") == 3


def test_unexpected_error_names_its_place_and_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flows.commands.history.execute", raising(ZeroDivisionError("division by zero")))
    cli.main(["history"])
    told = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: division by zero (test_cli.py, line " in told
    assert "This is a fault of crpbot." in told
    assert "--debug" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("words", [["--debug", "history"], ["history", "--debug"]], ids=" ".join)
@pytest.mark.parametrize("error", [errors.ConfigError("said"), ZeroDivisionError("x")], ids=["ours", "unexpected"])
def test_debug_shows_the_traceback_wherever_it_stands(
    words: list[str], error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flows.commands.history.execute", raising(error))
    cli.main(words)
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last)")
    assert told.splitlines()[-1].startswith("crpbot: ")


def test_real_process_ends_with_the_status_and_one_line(tmp_path: Path) -> None:
    answer = crpbot("history", "BTC-EUR", CRPBOT_HOME=str(tmp_path / "home"))
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr == (
        "crpbot: 'BTC-EUR' is not a known symbol; known are BTC-USD, ETH-USD, SOL-USD. Ask for one of these.\n"
    )


def test_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m flows.cli history --json | true; exit ${{PIPESTATUS[0]}}"
    answer = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, "CRPBOT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (answer.returncode, answer.stderr) == (0, "")


# What `run` refuses before anything is started.


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--symbols", "BTC-EUR"], "'BTC-EUR' is not a configured symbol; configured are BTC-USD, ETH-USD, SOL-USD."),
        (["--symbols", ""], "'' is not a configured symbol"),
        (["--set", "data.dayz=3"], "data.dayz: unknown key. Did you mean data.days?"),
        (["--set", "data.days=many"], "data.days: "),
        (["--set", "data.days=0"], "data.days: Input should be greater than or equal to 1, was 0."),
        (["--set", "data.days"], "--set 'data.days': must be dotted.key=value, such as data.days=50."),
        (["--set", "label.kind=magic"], "label.kind: Input should be 'trend', 'forward_return' or 'triple_barrier'"),
        (["--set", "data.source=parquet"], "data.path must be set when data.source is parquet"),
        (["--set", "data.source=parquet", "--set", "data.path=/no/such"], "data.path=/no/such: no such folder."),
        (["--config", "/no/such.yaml"], "/no/such.yaml: the configuration file cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_run_refuses_a_wrong_choice_before_it_starts(
    words: list[str], told: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "--json", *words]) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert told in heard.err
    assert heard.err.count("\n") == 1
    assert not (home / "runs").exists()


def test_run_refuses_an_unknown_key_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training:\n  learning_rat: 0.1\n")
    assert cli.main(["run", "--config", str(path)]) == 2
    assert (
        capsys.readouterr().err
        == f"crpbot: {path}: training.learning_rat: unknown key. Did you mean training.learning_rate?\n"
    )


@pytest.mark.parametrize("command", [["run"], ["rollback", "BTC-USD"], ["promote", "BTC-USD", "x"], ["history"]])
def test_home_that_is_a_file_is_refused(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "file"))
    assert cli.main(command) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"crpbot: {tmp_path / 'file'}")
    assert told.count("\n") == 1
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.parametrize("command", [["run"], ["rollback", "BTC-USD"], ["promote", "BTC-USD", "x"]], ids=" ".join)
def test_home_that_cannot_be_written_is_refused(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CRPBOT_HOME", "/proc/crpbot")  # refused to root as well
    assert cli.main(command) == 2
    told = capsys.readouterr().err
    assert "/proc/crpbot: the state folder cannot be written" in told
    assert "CRPBOT_HOME" in told


def test_json_of_an_empty_history_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["history", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"entries": [], "damage": [], "unfinished": False, "sound": True}
