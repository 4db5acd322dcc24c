"""`crpbot-runtime` and `crpbot signals`: words, exit statuses, and a process that is told to end."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from models_lib.candles.schema import VALUE_COLUMNS, epoch_ms
from tests.architecture.test_rules import ROOT
from tests.bundles import edit_json, reseal, walk_candles, write_judged
from tests.contracts.test_http_candles import Exchange
from tests.exchange.faults import Fault
from tests.exchange.local_exchange import LocalExchange
from tests.hosts import WATCH, TestHost
from tests.unit.runtime.host_folders import Host, raws_of, write_candles

CANDLES = walk_candles(1_600)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp = tmp_path_factory.mktemp("bundle")
    name = write_judged(tmp / "bundle")
    return (tmp / "bundle").rename(tmp / name)


@pytest.fixture
def folder(tmp_path: Path, bundle: Path) -> Path:
    host = Host(tmp_path / "host")
    host.folder.mkdir()
    host.release(bundle)
    (host.folder / "runtime.yaml").write_text("signals: {min_confidence: 0.34}\n")
    write_candles(host.folder / "candles" / "BTC-USD.safetensors", CANDLES)
    return host.folder


def runtime(folder: Path, *words: str) -> int:
    from flows.runtime_cli import main

    return main(["--folder", str(folder), *words])


REPLAY = ("--mode", "replay", "--newest-minutes", "60")


def test_replay_prints_each_signal_and_what_the_silence_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runtime(folder, *REPLAY) == 0
    out = capsys.readouterr().out
    assert "Signal 1: BTC-USD" in out
    assert "It places no order." in out
    assert "BTC-USD: 60 bars, " in out
    assert runtime(folder, *REPLAY) == 0
    assert "nothing to decide on: every bar was decided on before" in capsys.readouterr().out


def test_json_has_the_signals_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runtime(folder, *REPLAY, "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(1, len(lines) + 1)) != []
    assert lines == (folder / "signals.jsonl").read_text().splitlines()


def test_again_shows_a_release_at_work_and_says_nothing_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runtime(folder, *REPLAY)
    said = (folder / "signals.jsonl").read_text()
    assert runtime(folder, *REPLAY, "--again") == 0
    health = json.loads((folder / "health.json").read_text())["symbols"]["BTC-USD"]
    assert (health["bars"], health["predictions"], health["signals"]) == (60, 60, 0)
    assert health["refusals"]["said_before"] == len(said.splitlines())
    assert (folder / "signals.jsonl").read_text() == said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--mode", "live"), "set runtime.source to exchange, or to http and runtime.url beside it"),
        ((*REPLAY, "--symbols", "ETH-USD"), "'ETH-USD' has no release in"),
        ((*REPLAY, "--candles", "/nowhere"), "the folder of candles /nowhere does not exist"),
        (("--mode", "replay", "--pace", "-1"), "the command line: pace_seconds"),
        (("--mode", "replay", "--newest-minutes", "0"), "newest_minutes"),
    ],
)
def test_what_cannot_start_says_why(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    assert runtime(folder, *words) == 2
    assert sentence in capsys.readouterr().err


def test_folder_without_releases_is_refused_in_a_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runtime(tmp_path, *REPLAY) == 2
    assert "no symbol has a release there" in capsys.readouterr().err


def test_no_usable_release_is_a_no(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = (folder / "current" / "BTC-USD").resolve()
    edit_json(release / "manifest.json", lambda tree: tree.update(schema_version=99))
    reseal(release)
    assert runtime(folder, *REPLAY) == 1
    assert "no_release 60" in capsys.readouterr().out


@pytest.fixture
def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder, which another runtime serves."""
    monkeypatch.setattr("flows.runtime_cli._LOCK_SECONDS", 0.05)
    (folder / "state").mkdir()
    with (folder / "state" / "runtime.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def test_second_runtime_of_a_folder_is_refused(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runtime(served, *REPLAY) == 3
    assert "another runtime serves this folder" in capsys.readouterr().err


def test_crpbot_signals_replays_a_bundle_and_remembers_nothing(
    folder: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.cli import main

    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path / "home"))
    words = ["signals", *REPLAY, "--candles", str(folder / "candles"), "--set", "signals.min_confidence=0.34", "--json"]
    words += ["--set", "signals.one_at_a_time=false"]
    assert main([*words, "--bundle", str(bundle)]) == 0
    first = capsys.readouterr().out
    assert len(first.splitlines()) > 5
    assert main([*words, "--bundle", str(bundle)]) == 0
    assert capsys.readouterr().out == first
    named = shutil.copytree(bundle, tmp_path / "v6-btc")  # as a repair writes it; a release is known by its hash
    assert main([*words, "--bundle", str(named)]) == 0
    assert capsys.readouterr().out == first
    assert main(words) == 2
    assert "there is no champion" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--set", "signals.min_confidence=banana"), "--set: "),
        (("--config", "/nonexistent.yaml", "--bundle", "0123"), "--config, --bundle: "),
    ],
)
@pytest.mark.parametrize("mode", ["replay", "live"])
def test_crpbot_signals_takes_no_word_that_a_hosts_folder_would_not_obey(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    named: str,
    mode: str,
) -> None:
    from flows.cli import main

    monkeypatch.setenv("CRPBOT_HOME", str(tmp_path))
    folder = ["--folder", str(tmp_path / "host")] if mode == "replay" else []
    assert main(["signals", "--mode", mode, *folder, *words]) == 2
    assert f"crpbot: {named}not for a host's folder, where {tmp_path}/host/runtime.yaml says" in capsys.readouterr().err
    assert not (tmp_path / "host").exists()


def test_lasting_configuration_is_for_replays_of_champions_alone(
    folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.cli import main

    monkeypatch.setenv("CRPBOT_CONFIG", "/nonexistent.yaml")
    assert main(["signals", *REPLAY, "--folder", str(folder)]) == 0
    assert main(["signals", *REPLAY, "--candles", str(folder / "candles"), "--bundle", str(bundle)]) == 2
    assert "/nonexistent.yaml: the configuration file cannot be read" in capsys.readouterr().err


def test_second_runtime_beside_crpbot_signals_is_a_no(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.cli import main

    assert main(["signals", *REPLAY, "--folder", str(served)]) == 1
    assert "another runtime serves this folder" in capsys.readouterr().err


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    server = Exchange()
    yield server
    server.close()


@pytest.mark.long
@pytest.mark.timeout(60)
def test_live_runtime_speaks_in_time_and_ends_at_sigterm(folder: Path, exchange: Exchange) -> None:
    """Bars that close now, from a server; the newest is decided on, and SIGTERM ends the process cleanly."""
    minute = int(datetime.now(UTC).timestamp()) // 60
    shift = (minute * 60_000) - 1_600 * 60_000 - int(CANDLES["timestamp"].iloc[0].timestamp() * 1000)
    write_fresh_judgement(folder)
    *earlier, newest = [[raw[0] + shift, *raw[1:]] for raw in raws_of(CANDLES)]
    exchange.candles = earlier
    settings = {"source": "http", "url": f"http://127.0.0.1:{exchange.port}/", "poll_seconds": 0.1}
    (folder / "runtime.yaml").write_text(yaml.safe_dump({"signals": {"min_confidence": 0.34}, "runtime": settings}))
    command = [sys.executable, "-m", "flows.runtime_cli", "--folder", str(folder), "--mode", "live"]
    began = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        ready = wait_for(folder, lambda tree: tree["ready"])
        print(f"ready after {time.monotonic() - began:.2f} s, {resident_mb(process.pid):.0f} MB resident")
        assert ready["symbols"]["BTC-USD"]["bars"] == 0
        exchange.candles.append(newest)
        decided = wait_for(folder, lambda tree: tree["symbols"]["BTC-USD"]["bars"] == 1)["symbols"]["BTC-USD"]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert decided["signals"] + sum(decided["refusals"].values()) == 1
    assert "stale" not in decided["refusals"]
    assert json.loads((folder / "health.json").read_text())["ended_at"] is not None


@dataclass
class Closing:
    """An exchange in real time that closes a minute soon, within half a minute of this machine's clock.

    Attributes:
        closes_ms: when that is, by its clock.
    """

    exchange: LocalExchange
    closes_ms: int

    def settings(self, **runtime: object) -> str:
        """A runtime.yaml that has bars come from it."""
        section = {"base_url": self.exchange.url, "requests_per_second": 200.0}
        tree = {"signals": {"min_confidence": 0.34}, "runtime": {"source": "exchange", **runtime}, "exchange": section}
        return yaml.safe_dump(tree)


@pytest.fixture
def closing() -> Iterator[Closing]:
    """Twelve seconds before the third-newest candle closes."""
    ahead_ms = 12_000
    closes_ms = round((time.time() * 1e3 + ahead_ms) / 60_000) * 60_000
    stamps = epoch_ms(CANDLES)
    stamps = stamps + (closes_ms - 60_000 - int(stamps[-3]))
    with LocalExchange({"BTC-USD": (stamps, CANDLES[list(VALUE_COLUMNS)].to_numpy())}) as exchange:
        exchange.be_at(closes_ms - ahead_ms, speed=1.0)
        yield Closing(exchange, closes_ms)


SIGNALLED = """
import signal, sys, threading
from flows.runtime_cli import _ended_by_signals
stop = threading.Event()
with _ended_by_signals(stop):
    with stop._cond:  # as in every wait for it, at its beginning and its end
        signal.raise_signal(signal.SIGTERM)
    sys.exit(0 if stop.wait(5.0) else 1)
"""


def test_signal_ends_it_also_where_the_main_thread_is_about_to_wait_for_the_end() -> None:
    subprocess.run([sys.executable, "-c", SIGNALLED], cwd=ROOT, timeout=20.0, check=True)


@pytest.mark.long
@pytest.mark.timeout(90)
def test_live_runtime_gets_an_exchanges_bar_within_seconds_of_its_close(folder: Path, closing: Closing) -> None:
    write_fresh_judgement(folder)
    (folder / "runtime.yaml").write_text(closing.settings(clock_tolerance_seconds=60.0))
    command = [sys.executable, "-m", "flows.runtime_cli", "--folder", str(folder), "--mode", "live"]
    began = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        ready = wait_for(folder, lambda tree: tree["ready"])
        took = time.monotonic() - began
        assert ready["symbols"]["BTC-USD"]["bars"] == 0
        tree = wait_for(folder, lambda tree: tree["symbols"]["BTC-USD"]["bars"] == 1)
        delay = (closing.exchange.now_ms - closing.closes_ms) / 1e3
        print(
            f"ready after {took:.2f} s, {resident_mb(process.pid):.0f} MB resident; decided {delay:.2f} s after the close"
        )
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert delay < 5.0
    decided = tree["symbols"]["BTC-USD"]
    assert decided["signals"] + sum(decided["refusals"].values()) == 1
    assert "stale" not in decided["refusals"]
    skew_ms = closing.exchange.now_ms - time.time() * 1e3
    assert abs(tree["exchange_clock_skew_ms"] - skew_ms) < tree["exchange_clock_uncertain_ms"] + 100.0
    assert tree["clock_warning"] is None


@pytest.mark.long
@pytest.mark.timeout(60)
def test_live_runtime_whose_exchange_hangs_ends_at_sigterm_within_a_second(folder: Path, closing: Closing) -> None:
    closing.exchange.script(Fault("hang", times=None))
    (folder / "runtime.yaml").write_text(closing.settings())
    command = [sys.executable, "-m", "flows.runtime_cli", "--folder", str(folder), "--mode", "live"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30.0
        while not closing.exchange.requests.of() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert closing.exchange.requests.of(), "it asks for candles"
        told = time.time()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    ended_at = datetime.fromisoformat(json.loads((folder / "health.json").read_text())["ended_at"])
    print(f"ended {ended_at.timestamp() - told:.2f} s after SIGTERM, gone after {time.time() - told:.2f} s")
    assert ended_at.timestamp() - told < 1.0  # what follows is the interpreter's own end, with all that it has loaded


@pytest.mark.long
def test_rehearsal_takes_the_newest_candles_of_the_exchange(bundle: Path, tmp_path: Path, closing: Closing) -> None:
    host = TestHost(tmp_path / "host")
    (host.folder / "runtime.yaml").write_text(closing.settings())
    order = host.activation({"BTC-USD": bundle}, watch=WATCH.model_copy(update={"rehearsal_minutes": 60}))
    command = [sys.executable, "-m", "flows.runtime_cli", "host", "--folder", str(host.folder), "order"]
    done = subprocess.run(command, cwd=ROOT, input=order.model_dump_json(), capture_output=True, text=True, check=True)
    assert "rehearsal of the newest 60 minutes: 60 answers" in done.stdout
    assert closing.exchange.requests.of()


def test_host_without_ccxt_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)
    (folder / "runtime.yaml").write_text("runtime: {source: exchange}\n")
    assert runtime(folder, "--mode", "live") == 2
    assert (
        "this host has no ccxt. Install crpbot-runtime[exchange]: install.sh --extras exchange"
        in capsys.readouterr().err
    )


@pytest.mark.long
def test_rehearsal_fills_minutes_as_the_bundles_training_did(bundle: Path, tmp_path: Path) -> None:
    """Whatever the host's own setting is: it is what the release is served with."""
    trained = tmp_path / bundle.name
    shutil.copytree(bundle, trained)
    edit_json(trained / "run.json", lambda tree: tree["config"].update(data={"fill_no_trade_minutes": 3}))
    reseal(trained)
    host = TestHost(tmp_path / "host")
    (host.folder / "runtime.yaml").write_text("runtime: {fill_no_trade_minutes: 0}\n")
    candles = CANDLES.drop(index=range(len(CANDLES) - 30, len(CANDLES) - 27))
    write_candles(host.folder / "candles" / "BTC-USD.safetensors", candles)
    order = host.activation({"BTC-USD": trained}, watch=WATCH.model_copy(update={"rehearsal_minutes": 60}))
    command = [sys.executable, "-m", "flows.runtime_cli", "host", "--folder", str(host.folder), "order"]
    done = subprocess.run(command, cwd=ROOT, input=order.model_dump_json(), capture_output=True, text=True, check=True)
    assert "rehearsal of the newest 60 minutes: 60 answers" in done.stdout


def write_fresh_judgement(folder: Path) -> None:
    """The bundle was judged just now, so it is not expired."""
    release = (folder / "current" / "BTC-USD").resolve()
    now = datetime.now(UTC).isoformat()
    edit_json(release / "run.json", lambda tree: tree.update(judged_at=now))
    reseal(release)


def wait_for(folder: Path, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 40.0
    while time.monotonic() < deadline:
        path = folder / "health.json"
        if path.exists() and is_so(tree := json.loads(path.read_text())):
            return dict(tree)
        time.sleep(0.02)
    raise AssertionError("the runtime did not come so far")


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
