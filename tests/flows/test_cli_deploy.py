"""deploy, hold, release-hold and status with a trading host, through the front door."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from flows.cli import main
from models_lib.deployment.known import if_gone
from models_lib.deployment.record import deployment_records
from models_lib.holds import held, place_hold
from models_lib.locks import locked
from models_lib.registry import open_registry
from tests.bundles import T0, walk_candles
from tests.contracts.endpoints import HttpEndpoint
from tests.flows.running import crpbot
from tests.hosts import TestHost, at_host, in_folder
from tests.judged import CANDIDATES, at, judged
from tests.ports import free_port

Heard = pytest.CaptureFixture[str]
BTC, ETH = "BTC-USD", "ETH-USD"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CRPBOT_SLACK_WEBHOOK_URL", "CRPBOT_APPRISE_URLS", "CRPBOT_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    monkeypatch.setenv("CRPBOT_HOME", str(folder))
    return folder


@pytest.fixture
def host(tmp_path: Path) -> TestHost:
    """A host folder of this machine; its runtime is the stand-in."""
    return TestHost(tmp_path / "host")


def crowned(home: Path, name: str = "A") -> str:
    """The candidate promoted; its hash."""
    folder = home.parent / name
    bundle = judged(name, folder)
    registry = open_registry(home)
    registry.store.put(folder)
    registry.promote(CANDIDATES[name][0], bundle, expected_champion=None, who="test", why="test", now=at(2))
    return bundle


def local(host: TestHost) -> list[str]:
    """The command line's words for that host; no candles are asked for."""
    (host.folder / "runtime.yaml").write_text("")
    return [word for setting in at_host(host, "local") for word in ("--set", setting)]


def folder_words(folder: Path) -> list[str]:
    return [word for setting in in_folder(folder) for word in ("--set", setting)]


# deploy


def test_champion_is_deployed_shown_and_silenced(home: Path, host: TestHost, capsys: Heard) -> None:
    """The way of a release on one host: deployed, shown by status, held there, released."""
    bundle, words = crowned(home), local(host)
    assert main(["deploy", *words]) == 0
    heard = capsys.readouterr()
    assert heard.out == f"{BTC}  deployed  {bundle[:12]}\n"
    assert heard.err.splitlines()[0] == f"{BTC}: bringing release {bundle[:12]} to target host"
    assert host.restarts() == [{BTC: bundle}]

    assert main(["hold", BTC, "--reason", "odd prices", *words]) == 0
    heard = capsys.readouterr()
    at_home, there = heard.out.splitlines()
    assert at_home.startswith(f"{BTC}: on hold since ")
    assert there.startswith(f"target host: {BTC}: on hold since ")
    assert there.endswith(": odd prices")
    assert heard.err == ""
    hold = held(host.folder, BTC)
    assert hold is not None
    assert hold.reason == "odd prices"

    assert main(["status", BTC, *words]) == 0
    _, row, *remarks = capsys.readouterr().out.splitlines()
    assert f"host: {bundle[:12]}" in row
    assert row.endswith("yes")
    assert f"{BTC}: host: 5 bars, 0 signals; silent: never" in remarks

    assert main(["release-hold", BTC, *words]) == 0
    assert [line.partition(": released")[0] for line in capsys.readouterr().out.splitlines()] == [
        BTC,
        f"target host: {BTC}",
    ]
    assert held(host.folder, BTC) is None


def test_hold_reaches_what_another_configuration_deployed_to(home: Path, host: TestHost, capsys: Heard) -> None:
    """The file that was given to deploy is not given to hold, as in another shell on another day."""
    bundle = crowned(home)
    assert main(["deploy", *local(host)]) == 0
    assert main(["hold", BTC, "--reason", "odd prices"]) == 0
    assert held(host.folder, BTC) is not None
    capsys.readouterr()
    assert main(["status", BTC]) == 0
    assert f"host: {bundle[:12]}" in capsys.readouterr().out
    assert main(["release-hold", BTC]) == 0
    assert held(host.folder, BTC) is None


def test_hold_reaches_the_hosts_also_when_the_home_cannot_be_written(
    home: Path, host: TestHost, nobody_there: list[str], capsys: Heard
) -> None:
    home.mkdir()
    (home / "holds").write_text("a file where a folder must be")
    assert main(["hold", BTC, "--reason", "odd prices", *local(host), *nobody_there]) == 1
    assert held(host.folder, BTC) is not None
    heard = capsys.readouterr()
    assert heard.out.startswith(f"target host: {BTC}: on hold since ")
    at_home, there, _ = heard.err.splitlines()
    assert at_home.startswith(f"crpbot: {home}: the hold cannot be written (")
    assert there.startswith(f"crpbot: {BTC} MAY STILL SPEAK there: target tokyo: ")


def test_hold_without_a_reason_is_placed_nowhere(home: Path, host: TestHost) -> None:
    assert main(["hold", BTC, "--reason", " ", *local(host)]) == 2
    assert (held(home, BTC), held(host.folder, BTC)) == (None, None)


def test_hold_that_cannot_be_ended_at_home_goes_on_everywhere(home: Path, host: TestHost) -> None:
    """A symbol that speaks while it is on hold at home would be worse than one that is silent for longer."""
    assert main(["hold", BTC, "--reason", "odd prices", *local(host)]) == 0
    (home / "holds.jsonl").unlink()
    (home / "holds.jsonl").mkdir()
    assert main(["release-hold", BTC, *local(host)]) != 0
    assert held(home, BTC) is not None
    assert held(host.folder, BTC) is not None


def test_hold_that_only_the_host_knows_is_shown(home: Path, host: TestHost, capsys: Heard) -> None:
    crowned(home)
    place_hold(host.folder, BTC, placed_by="crpbot", reason="it broke a limit", now=T0)
    words = local(host)
    assert main(["status", BTC, "--json", *words]) == 0
    document = json.loads(capsys.readouterr().out)["symbols"][BTC]
    assert document["hold"] is None
    assert document["faults"] == ["host: on hold since 2026-01-01T00:00:00Z by crpbot: it broke a limit"]
    assert document["releases"] == {"host": None, "local": None}


def test_deployment_speaks_json_alone_on_stdout(home: Path, tmp_path: Path, capsys: Heard) -> None:
    bundle = crowned(home)
    assert main(["deploy", "--json", *folder_words(tmp_path / "releases")]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "symbols": {
            BTC: {"symbol": BTC, "target": "folder", "bundle": bundle, "outcome": "deployed", "reason": ""},
        }
    }


def test_shadow_speaks_json_alone_on_stdout(home: Path, host: TestHost, capsys: Heard) -> None:
    bundle, words = crowned(home), local(host)
    assert main(["deploy", BTC, "--shadow", "none", *words]) == 0
    assert capsys.readouterr().out == f"{BTC}: shadow none\n"
    assert main(["deploy", BTC, "--shadow", bundle, "--json", *words]) == 0
    assert json.loads(capsys.readouterr().out) == {"symbols": {BTC: f"{BTC}: shadow {bundle[:12]}"}}


def test_symbol_that_is_not_deployed_is_status_1_and_the_others_are(home: Path, tmp_path: Path, capsys: Heard) -> None:
    btc = crowned(home, "A")
    eth = crowned(home, "E")
    (tmp_path / "there" / "releases").mkdir(parents=True)
    (tmp_path / "there" / "releases" / BTC).write_text("a file where a folder must be")
    assert main(["deploy", *folder_words(tmp_path / "there")]) == 1
    btc_line, eth_line = capsys.readouterr().out.splitlines()
    assert btc_line.startswith(f"{BTC}  failed  {BTC}: release ")
    assert btc_line.endswith("There is still no release. Mend the folder, then run again.")
    assert eth_line == f"{ETH}  deployed  {eth[:12]}"
    assert [one.outcome for one in deployment_records(home)] == ["failed", "deployed"]
    assert main(["status"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if ": last deployment: " in line]
    assert [line.partition(" at ")[0] for line in told] == [f"{BTC}: folder: last deployment: failed {btc[:12]}"], (
        "what went well is seen in the row"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["DOGE-USD"], "'DOGE-USD' is not a known symbol"),
        (["ETH-USD"], "ETH-USD: there is no champion to deploy. `crpbot run` makes one."),
        (["--target", "tokyo"], "'tokyo' is no configured target; configured are local."),
        (["--shadow", "none"], "--shadow is of one symbol: name it, as in `crpbot deploy BTC-USD --shadow BUNDLE`."),
        ([BTC, "--shadow", "0123456789"], "'0123456789' is neither a bundle folder nor the start of one kept hash"),
        (["--set", "deployment.target=null"], "no target: name one, or set deployment.target in the configuration."),
        (["--set", "deployment.target=tokyo"], "deployment.target must be one of local, was tokyo"),
    ],
)
def test_what_cannot_be_meant_starts_nothing(home: Path, words: list[str], told: str, capsys: Heard) -> None:
    crowned(home)
    assert main(["deploy", *words]) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert told in heard.err
    assert deployment_records(home) == ()


def test_symbol_on_hold_starts_nothing(home: Path, tmp_path: Path, capsys: Heard) -> None:
    crowned(home)
    place_hold(home, BTC, placed_by="me@here", reason="odd prices", now=T0)
    assert main(["deploy", BTC, *folder_words(tmp_path / "releases")]) == 2
    assert "odd prices. `crpbot release-hold BTC-USD` ends it." in capsys.readouterr().err
    assert not (tmp_path / "releases").exists()


def test_host_at_work_is_asked_again_later(home: Path, host: TestHost, capsys: Heard) -> None:
    crowned(home)
    words = local(host)
    with locked(host.folder / "lock", within_seconds=0.0, otherwise="the test's own lock"):
        assert main(["deploy", *words]) == 3
    heard = capsys.readouterr()
    assert heard.out == ""
    assert "another deployment is at work on this host (waited 0 s). Try again later." in heard.err
    assert host.restarts() == []
    assert [one.outcome for one in deployment_records(home)] == ["failed"]


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpEndpoint]:
    endpoint = HttpEndpoint("healthy")
    monkeypatch.setenv("CRPBOT_SLACK_WEBHOOK_URL", endpoint.url)
    yield endpoint
    endpoint.close()


def test_people_are_told_of_each_symbol(home: Path, tmp_path: Path, slack: HttpEndpoint) -> None:
    bundle = crowned(home)
    events = ["--set", "notifications.events=[deployed, failed]"]
    assert main(["deploy", *events, *folder_words(tmp_path / "releases")]) == 0
    (message,) = slack.requests
    assert f"{BTC} deployed: folder runs release {bundle}" in json.dumps(message)


def test_people_are_told_when_nothing_is_deployed(home: Path, host: TestHost, slack: HttpEndpoint) -> None:
    crowned(home)
    words = local(host)
    with locked(host.folder / "lock", within_seconds=0.0, otherwise="the test's own lock"):
        assert main(["deploy", *words]) == 3
    (message,) = slack.requests
    assert "another deployment is at work on this host" in json.dumps(message)
    assert main(["deploy", "--target", "tokyo", *words]) == 2
    assert len(slack.requests) == 1, "what cannot be meant is answered to whoever typed it"


# hosts that do not answer


@pytest.fixture
def nobody_there(tmp_path: Path) -> list[str]:
    """The command line's words for a host behind SSH on a port where nobody listens."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "key")
    port = free_port()
    known = f"[127.0.0.1]:{port} {key.export_public_key().decode()}"
    (tmp_path / "known_hosts").write_text(known)
    section: dict[str, Any] = {
        "kind": "ssh",
        "host": "127.0.0.1",
        "port": port,
        "user": "deploy",
        "key_file": str(tmp_path / "key"),
        "known_hosts": str(tmp_path / "known_hosts"),
        "folder": "/srv/crpbot",
    }
    return ["--set", f"deployment.targets.tokyo={json.dumps(section)}"]


def test_hold_says_where_a_symbol_may_speak_on(home: Path, nobody_there: list[str], capsys: Heard) -> None:
    assert main(["hold", BTC, "--reason", "odd prices", *nobody_there]) == 1
    heard = capsys.readouterr()
    assert heard.out.startswith(f"{BTC}: on hold since ")
    assert len(heard.out.splitlines()) == 1, "the target of this machine runs nothing yet"
    there, remedy = heard.err.splitlines()
    assert there.startswith(f"crpbot: {BTC} MAY STILL SPEAK there: target tokyo: ")
    assert remedy == f"crpbot: {if_gone(home)}"
    assert held(home, BTC) is not None, "at home it holds all the same"


def test_end_of_a_hold_says_where_a_symbol_may_be_silent(home: Path, nobody_there: list[str], capsys: Heard) -> None:
    place_hold(home, BTC, placed_by="me@here", reason="odd prices", now=T0)
    assert main(["release-hold", BTC, *nobody_there]) == 1
    heard = capsys.readouterr()
    assert heard.out.startswith(f"{BTC}: released; ")
    assert f"crpbot: {BTC} may still be silent there: target tokyo: " in heard.err
    assert heard.err.endswith(f"crpbot: {if_gone(home)}\n")
    assert held(home, BTC) is None


def test_status_and_deploy_name_the_host_that_is_away(home: Path, nobody_there: list[str], capsys: Heard) -> None:
    crowned(home)
    assert main(["status", BTC, *nobody_there]) == 0
    assert f"{BTC}: target tokyo: " in capsys.readouterr().out
    assert main(["deploy", "--target", "tokyo", *nobody_there]) == 3
    heard = capsys.readouterr()
    assert heard.out == ""
    assert "127.0.0.1" in heard.err


# the real runtime


@pytest.mark.long
@pytest.mark.timeout(120)
def test_champion_answers_the_newest_candles_on_this_machine(home: Path, capsys: Heard) -> None:
    """The default target as it is shipped: rehearsal, restart, health and watch by the real runtime."""
    bundle = crowned(home)
    walk_candles().to_parquet(home.parent / f"{BTC}.parquet")
    real = ["--set", "data.source=parquet", "--set", f"data.path={home.parent}"]
    # An untrained network: its shares of classes are not what is tested.
    lenient = ["--set", "deployment.watch.class_share_high=1"]
    modest = ["--set", "signals.account_balance=500", "--set", "signals.min_confidence=0.34"]
    done = crpbot(home, "deploy", "--json", *real, *lenient, *modest)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)["symbols"].values()
    assert (answer["outcome"], answer["bundle"], answer["target"]) == ("deployed", bundle, "local")
    assert f"{BTC}: rehearsal of the newest 1440 minutes: 1440 answers: " in done.stderr
    assert f"{BTC}: watched for 480 bars" in done.stderr
    health = json.loads((home / "host" / "health.json").read_text())["symbols"][BTC]
    assert (health["bundle"], health["bars"]) == (bundle, 480), "the newest hours of its candles, once"
    signals = [json.loads(line) for line in (home / "host" / "signals.jsonl").read_text().splitlines()]
    assert signals
    assert {signal["simulated"] for signal in signals} == {False}
    assert max(float(signal["risk_amount"]) for signal in signals) <= 5.0, "one percent of the trainer's account"
    assert main(["status", BTC]) == 0
    out = capsys.readouterr().out
    assert f"local: {bundle[:12]}" in out
    assert f"{BTC}: local: " in out
