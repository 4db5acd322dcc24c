"""What surrounds a run fails: Prefect's server is killed, a stream is closed, the disk is full, a server is not there."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import cli, home
from models_lib.errors import ConfigError
from models_lib.steps.features import compute_feature_matrix
from models_lib.steps.outcome import failed_outcome, keep_outcome, kept_outcome
from models_lib.steps.plan import plan_run
from models_lib.steps.refs import CandlesRef, FileRef
from tests.flows.running import ROOT, environment, history, running
from tests.markets import LENIENT, QUICK, write_market

SETTINGS = ("data.days=14", *QUICK, *LENIENT)


@pytest.mark.long
@pytest.mark.xdist_group("surroundings")
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_prefect_server_is_replaced_and_the_run_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    with running(tmp_path / "home", *SETTINGS) as run:
        run.until("BTC-USD: train ...")
        (server,) = [child for child in run.children() if "prefect_server" in child.command]
        os.kill(server.pid, signal.SIGKILL)
        assert server.ends()
        run.until("BTC-USD: deploy ...")
        (another,) = [child for child in run.children() if "prefect_server" in child.command]
        status, rest = run.end()
        assert another.ends()
    assert status == 0, rest
    (folder,) = (tmp_path / "home" / "runs").iterdir()
    entry = json.loads((folder / "summary.json").read_text())["symbols"]["BTC-USD"]
    assert entry["outcome"] == "promoted"
    assert [one["to"] for one in history(tmp_path / "home")] == [entry["bundle"]]


def test_outcome_that_the_steps_came_to_stands_whatever_prefect_says(tmp_path: Path) -> None:
    from models_lib.config import RunConfig
    from tests.judged import at

    plan = plan_run(RunConfig(), home=tmp_path, symbols=("BTC-USD",), who="test", now=at(0))
    assert kept_outcome(plan, "BTC-USD") is None
    outcome = failed_outcome("BTC-USD", ValueError("x")).model_copy(update={"outcome": "held", "reason": "by accuracy"})
    keep_outcome(plan, outcome)

    class LostFuture:
        def result(self, *, raise_on_failure: bool) -> Exception:
            return ConnectionError("the server went away")

    from flows.fan_out import collect

    assert collect("BTC-USD", LostFuture(), plan) == outcome  # type: ignore[arg-type]
    assert collect("ETH-USD", LostFuture(), plan).reason == "ConnectionError: the server went away"  # type: ignore[arg-type]


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_streams_are_harmless(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """A socket or a file must not get the number of a stream that others write to."""

    def close() -> None:
        for number in closed:
            os.close(number)

    code = (
        "import sys, os; from flows import cli; status = cli.main(['history', '--json'])\n"
        "made = os.open(os.devnull, os.O_RDONLY); assert made > 2, made; sys.exit(status)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(tmp_path / "home"),
        preexec_fn=close,
        capture_output=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr


def test_prefect_server_of_the_operator_that_is_not_there_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr("flows.prefect_environment.use_home", lambda home: None)  # it would stay for other tests
    assert cli.main(["run"]) == 2
    told = capsys.readouterr().err
    assert "PREFECT_API_URL=http://127.0.0.1:9/api: no Prefect server answers there" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "home" / "runs").exists()


def test_home_without_space_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "LEAST_FREE_BYTES", 2**80)
    with pytest.raises(ConfigError, match=r"MiB are free .at least .* are needed to start.. `crpbot clean` removes"):
        home.prepare_home(tmp_path / "home")
    home.make_home(tmp_path / "home")  # the server must come back, and people must be told


def test_home_that_cannot_be_is_said_in_one_line_by_whoever_serves(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = environment(tmp_path / "file" / "home")
    for words in (["flows.serving.server"], ["flows.serving.worker", "crpbot"]):
        command = [sys.executable, "-m", *words]
        answer = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
        assert (answer.returncode, answer.stderr.count("\n")) == (1, 1), answer.stderr
        assert "the state folder cannot be written (Not a directory)" in answer.stderr


def test_lasting_configuration_is_used_where_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CRPBOT_CONFIG", str(tmp_path / "lasting.yaml"))
    (tmp_path / "lasting.yaml").write_text("symbols: [DOT-USD]")
    (tmp_path / "given.yaml").write_text("symbols: [ADA-USD]")
    assert cli.main(["status"]) == 0
    assert "DOT-USD" in capsys.readouterr().out
    assert cli.main(["status", "--config", str(tmp_path / "given.yaml")]) == 0
    assert "DOT-USD" not in capsys.readouterr().out
    monkeypatch.setenv("CRPBOT_CONFIG", "")
    assert home.config_file() is None


def test_features_without_space_are_an_error_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's answer is the one of a full disk; a write into a map without blocks would end the process instead."""
    path = write_market(tmp_path, "BTC-USD", days=2) / "BTC-USD.parquet"
    candles = CandlesRef(
        symbol="BTC-USD", candles=FileRef.of(path), report=FileRef.of(path), data_hash="0" * 64, rows=2_880
    )

    def full(descriptor: int, offset: int, length: int) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="No space left on device"):
        compute_feature_matrix(candles, tmp_path / "out", threads=1)
    assert list((tmp_path / "out").iterdir()) == []
