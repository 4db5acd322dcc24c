"""`crpbot-runtime host`: what each command answers, and with which exit status."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models_lib.bundle import Bundle
from models_lib.errors import TransientError
from models_lib.holds import held
from models_lib.host.command_line import main
from models_lib.host.messages import BUSY, HostState, Outcome
from models_lib.host.releases import Releases
from tests.flows.running import ROOT
from tests.hosts import WATCH, TestHost

Bundles = dict[str, list[Path]]
Heard = pytest.CaptureFixture[str]
BTC, ETH = "BTC-USD", "ETH-USD"


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    """The command ignores a hung-up terminal for the rest of its process, which here is that of the tests."""
    earlier = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, earlier)


def ask(host: TestHost, *words: str, stdin: bytes = b"") -> int:
    return main(
        ["--folder", str(host.folder), *words],
        version="7.1",
        newest_candles=lambda bundle, minutes: host.candles,
        stdin=io.BytesIO(stdin),
    )


def lines(heard: Heard) -> list[dict[str, Any]]:
    """What was said since the last look."""
    return [json.loads(line) for line in heard.readouterr().out.splitlines()]


def test_state_tells_what_the_host_is_and_runs(host: TestHost, bundles: Bundles, capsys: Heard) -> None:
    assert ask(host, "hold", BTC, "--who", "me@here", stdin=b"looking") == 0
    capsys.readouterr()
    assert ask(host, "state") == 0
    (line,) = lines(capsys)
    state = HostState.model_validate(line["state"])
    assert (state.runtime_version, state.python) == ("7.1", sys.version.split()[0])
    assert state.current == {symbol: made[0].name for symbol, made in bundles.items()}
    assert [(hold.symbol, hold.reason) for hold in state.holds] == [(BTC, "looking")]
    assert state.health is not None
    assert state.health.symbols[BTC].bundle == bundles[BTC][0].name
    assert state.free_bytes > 0
    assert state.asked is None


def test_state_of_a_new_folder_is_empty(tmp_path: Path, capsys: Heard) -> None:
    words = ["--folder", str(tmp_path / "new"), "state"]
    assert main(words, version="7.1", newest_candles=lambda bundle, minutes: None, stdin=io.BytesIO()) == 0
    (line,) = lines(capsys)
    state = HostState.model_validate(line["state"])
    assert (state.current, state.holds, state.health) == ({}, (), None)


def test_order_is_carried_out_and_its_outcome_is_known_afterwards(
    host: TestHost, bundles: Bundles, capsys: Heard
) -> None:
    order = host.activation({BTC: bundles[BTC][1]})
    assert ask(host, "order", stdin=order.model_dump_json().encode()) == 0
    *progress, last = lines(capsys)
    assert all(list(line) == ["progress"] for line in progress)
    assert f"{BTC}: deployed" in [line["progress"] for line in progress]
    outcome = Outcome.model_validate(last["outcome"])
    assert (outcome.token, outcome.of(BTC).outcome) == (order.token, "deployed")
    assert host.current(BTC) == bundles[BTC][1].name
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN

    assert ask(host, "state", "--token", order.token) == 0
    (line,) = lines(capsys)
    assert HostState.model_validate(line["state"]).asked == outcome
    assert ask(host, "state", "--token", "nobody-knows") == 0
    (line,) = lines(capsys)
    assert line["state"]["asked"] is None


def test_order_that_its_deployer_gave_up_is_not_carried_out(host: TestHost, bundles: Bundles, capsys: Heard) -> None:
    """Its stdin comes to its end only after the deployer was told that nothing moves."""
    order = host.activation({BTC: bundles[BTC][1]})
    for _ in range(2):
        assert ask(host, "state", "--token", order.token) == 0
        (line,) = lines(capsys)
        assert line["state"]["asked"] is None
    assert ask(host, "order", stdin=order.model_dump_json().encode()) == 1
    heard = capsys.readouterr()
    assert heard.out == ""
    assert f"order {order.token} was carried out already, or its deployer was told that it had not come" in heard.err
    assert host.current(BTC) == bundles[BTC][0].name
    assert ask(host, "state", "--token", order.token) == 0
    (line,) = lines(capsys)
    assert line["state"]["asked"] is None


def test_order_is_carried_out_once(host: TestHost, bundles: Bundles, capsys: Heard) -> None:
    order = host.activation({BTC: bundles[BTC][1]})
    assert ask(host, "order", stdin=order.model_dump_json().encode()) == 0
    outcome = host.host.journal.outcome(order.token)
    assert ask(host, "order", stdin=order.model_dump_json().encode()) == 1
    assert host.host.journal.outcome(order.token) == outcome


def test_source_that_does_not_answer_refuses_its_symbol_and_the_others_are_told(
    host: TestHost, bundles: Bundles, capsys: Heard
) -> None:
    def newest(bundle: Bundle, minutes: int) -> pd.DataFrame:
        if bundle.manifest.symbol == ETH:
            raise TransientError("http://10.0.0.9 does not answer (timed out). Try again.")
        return host.candles

    strict = WATCH.model_copy(update={"rehearsal_minutes": 60, "class_shares_from": 1, "class_share_high": 0.01})
    order = host.activation({symbol: made[1] for symbol, made in bundles.items()}, watch=strict)
    stdin = io.BytesIO(order.model_dump_json().encode())
    assert main(["--folder", str(host.folder), "order"], version="7.1", newest_candles=newest, stdin=stdin) == 0
    outcome = Outcome.model_validate(lines(capsys)[-1]["outcome"])
    btc, eth = outcome.of(BTC), outcome.of(ETH)
    assert (btc.outcome, btc.on_hold, eth.outcome, eth.on_hold) == ("refused", True, "refused", False)
    assert "http://10.0.0.9 does not answer (timed out)" in eth.reason
    assert held(host.folder, ETH) is None
    assert host.host.journal.outcome(order.token) == outcome


def test_look_waits_for_nobody_and_changes_nothing(host: TestHost, bundles: Bundles, capsys: Heard) -> None:
    order, restarts = host.activation({BTC: bundles[BTC][1]}), host.restarts()
    host.host.journal.write(order)  # and here it was killed
    with host.host.alone(within_seconds=0.0):
        assert ask(host, "look") == 0
    (line,) = lines(capsys)
    state = HostState.model_validate(line["state"])
    assert state.current == {symbol: made[0].name for symbol, made in bundles.items()}
    assert host.host.journal.read() == order
    assert host.restarts() == restarts


def test_state_settles_what_a_killed_order_left(host: TestHost, bundles: Bundles, capsys: Heard) -> None:
    order = host.activation({BTC: bundles[BTC][1]})
    host.host.journal.write(order)
    assert ask(host, "state", "--token", order.token) == 0
    state = HostState.model_validate(lines(capsys)[-1]["state"])
    assert state.asked is not None
    assert state.asked.of(BTC).outcome == "rolled_back"


@pytest.mark.parametrize(
    "change",
    [lambda text: b"garbage", lambda text: b"", lambda text: b"{}", lambda text: text[:-1] + b',"colour":"blue"}'],
    ids=["garbage", "nothing", "empty", "a field of a newer deployer"],
)
def test_order_that_is_not_understood_moves_nothing(
    host: TestHost, bundles: Bundles, capsys: Heard, change: Any
) -> None:
    order = host.activation({BTC: bundles[BTC][1]})
    assert ask(host, "order", stdin=change(order.model_dump_json().encode())) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert heard.err.startswith("the order is not understood (")
    assert heard.err.endswith("Deployer and host are of different versions: upgrade the older one.\n")
    assert host.current(BTC) == bundles[BTC][0].name


def test_host_at_work_is_busy_for_all_but_holds(host: TestHost, bundles: Bundles, capsys: Heard) -> None:
    order = host.activation({BTC: bundles[BTC][1]}).model_dump_json().encode()
    with host.host.alone(within_seconds=0.0):
        for words in (["state"], ["order"], ["shadow", BTC]):
            assert ask(host, *words, stdin=order) == BUSY
            heard = capsys.readouterr()
            assert heard.out == ""
            assert "another deployment is at work on this host (waited 0 s). Try again later." in heard.err
        assert ask(host, "hold", BTC, "--who", "me@here", stdin=b"now") == 0, "a hold waits for nobody"
    assert host.current(BTC) == bundles[BTC][0].name


def test_hold_and_its_end_are_told_also_twice(host: TestHost, capsys: Heard) -> None:
    said = []
    for _ in range(2):
        assert ask(host, "hold", BTC, "--who", "me@here", stdin="odd ünits\n".encode()) == 0
        said += [line["progress"] for line in lines(capsys)]
    assert said[0].startswith(f"{BTC}: on hold since ")
    assert said[0].endswith(" by me@here: odd ünits")
    assert said[1].startswith(f"{BTC}: already on hold since ")
    assert held(host.folder, BTC) is not None
    for told in ("released; it was on hold since ", "was not on hold"):
        assert ask(host, "release-hold", BTC, "--who", "me@here") == 0
        (line,) = lines(capsys)
        assert line["progress"].startswith(f"{BTC}: {told}")
    assert held(host.folder, BTC) is None


@pytest.mark.parametrize("reason", [b"", b" \n", b"x" * 501], ids=["none", "blank", "too long"])
def test_hold_without_a_reason_is_refused(host: TestHost, capsys: Heard, reason: bytes) -> None:
    assert ask(host, "hold", BTC, "--who", "me@here", stdin=reason) == 2
    assert "the reason of a hold must be 1 to 500 characters" in capsys.readouterr().err
    assert held(host.folder, BTC) is None


def test_shadow_is_a_release_that_is_there(host: TestHost, bundles: Bundles, capsys: Heard) -> None:
    shadows = Releases(host.folder, links="shadow")
    assert ask(host, "shadow", BTC, bundles[BTC][1].name) == 2
    assert f"release {bundles[BTC][1].name[:12]} is not on this host. Bring it there first." in capsys.readouterr().err
    assert shadows.all_current() == {}
    assert ask(host, "shadow", BTC, bundles[BTC][0].name) == 0
    assert shadows.current(BTC) == bundles[BTC][0].name
    assert ask(host, "shadow", BTC) == 0
    assert shadows.current(BTC) is None
    assert [line["progress"] for line in lines(capsys)] == [
        f"{BTC}: shadow {bundles[BTC][0].name[:12]}",
        f"{BTC}: shadow none",
    ]


def test_stranger_in_the_place_of_a_link_is_a_fault(host: TestHost, capsys: Heard) -> None:
    (host.folder / "current" / BTC).unlink()
    (host.folder / "current" / BTC).mkdir()
    assert ask(host, "state") == 1
    assert "is no link to a release" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["restart"],
        ["hold", BTC],
        ["state", "--lock-seconds", "soon"],
        ["state", "--token", "../7"],
        ["shadow", BTC, "no-hash"],
        ["shadow", BTC, "../" * 21 + "x"],
        ["shadow", BTC, "0" * 64, "--token", ".."],
        ["shadow", BTC, "0" * 64, "--token", "."],
        ["shadow", BTC, "--token", ""],
    ],
)
def test_wrong_usage_is_status_2(host: TestHost, words: list[str], capsys: Heard) -> None:
    with pytest.raises(SystemExit) as ended:
        ask(host, *words)
    assert ended.value.code == 2
    assert "usage: crpbot-runtime host" in capsys.readouterr().err
    assert (host.folder / "incoming").is_dir()


def test_order_goes_on_when_nobody_listens_any_more(host: TestHost, bundles: Bundles) -> None:
    """The deployer's end of stdout is closed before the first word."""
    order = host.activation({BTC: bundles[BTC][1]})
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "flows.runtime_cli", "host", "--folder", str(host.folder), "order"]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            input=order.model_dump_json().encode(),
            stdout=theirs,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")
    assert host.current(BTC) == bundles[BTC][1].name
    outcome = host.host.journal.outcome(order.token)
    assert outcome is not None
    assert outcome.of(BTC).outcome == "deployed"
