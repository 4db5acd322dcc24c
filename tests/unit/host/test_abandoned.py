"""A killed deployment, undone by the runtime that still has the earlier release loaded."""

import logging
import shutil
from pathlib import Path

import pytest

from models_lib.host.abandoned import undo_abandoned, undo_at_start
from models_lib.host.messages import Move, Return
from tests.hosts import TestHost
from tests.killed import NEVER, killed_at

Bundles = dict[str, list[Path]]
BTC, ETH = "BTC-USD", "ETH-USD"


@pytest.fixture
def killed(host: TestHost, bundles: Bundles) -> TestHost:
    """A host whose deployment of both symbols was killed when one of them was switched."""
    order = host.activation({symbol: made[1] for symbol, made in bundles.items()})
    for symbol, made in bundles.items():
        host.host.releases.adopt(symbol, made[1].name, lambda fresh, made=made: shutil.copytree(made[1], fresh))
    host.host.journal.write(order)
    host.host.releases.switch(BTC, bundles[BTC][1].name)
    return host


def currents(host: TestHost) -> dict[str, str | None]:
    return {symbol: host.current(symbol) for symbol in (BTC, ETH)}


def before(bundles: Bundles) -> dict[str, str]:
    return {symbol: made[0].name for symbol, made in bundles.items()}


def test_links_lead_to_what_was_and_nothing_is_restarted(killed: TestHost, bundles: Bundles) -> None:
    restarts = killed.restarts()
    order = killed.host.journal.read()
    assert order is not None
    undo_abandoned(killed.folder, before(bundles))
    assert currents(killed) == before(bundles)
    assert killed.restarts() == restarts
    assert killed.host.journal.read() is None
    outcome = killed.host.journal.outcome(order.token)
    assert outcome is not None
    assert [(fate.outcome, fate.release) for fate in outcome.fates] == [
        ("rolled_back", bundles[BTC][0].name),
        ("rolled_back", bundles[ETH][0].name),
    ]
    assert outcome.of(BTC).reason == "tester@here was killed during this deployment; the runtime undid it"


def test_undoing_twice_is_undoing_once(killed: TestHost, bundles: Bundles) -> None:
    undo_abandoned(killed.folder, before(bundles))
    record = (killed.folder / "deployments.jsonl").read_bytes()
    undo_abandoned(killed.folder, before(bundles))
    assert (killed.folder / "deployments.jsonl").read_bytes() == record
    assert currents(killed) == before(bundles)


def test_deployment_at_work_is_left_alone(killed: TestHost, bundles: Bundles) -> None:
    with killed.host.alone(within_seconds=0.0):
        undo_abandoned(killed.folder, before(bundles))
    assert killed.host.journal.read() is not None
    assert killed.current(BTC) == bundles[BTC][1].name


@pytest.fixture
def killed_return(host: TestHost, bundles: Bundles) -> TestHost:
    """A host on which a return of BTC-USD was killed between its switch and its restart: the runtime has the later loaded."""
    first, second = bundles[BTC][:2]
    host.deploy({BTC: second})
    move = Move(symbol=BTC, bundle=first.name, before=second.name)
    host.host.journal.write(
        Return(token="r", who="me@here", moves=(move,), service=host.service, lock_seconds=0.0, why="the test")
    )
    host.host.releases.switch(BTC, first.name)
    return host


def test_killed_return_waits_for_its_restart(killed_return: TestHost, bundles: Bundles) -> None:
    """Its journal stays, or nobody would ever restart the runtime that is silent for it."""
    host = killed_return
    undo_abandoned(host.folder, before(bundles) | {BTC: bundles[BTC][1].name})
    assert host.host.journal.read() is not None
    restarts = len(host.restarts())
    settled = host.settle()
    assert settled is not None
    assert host.current(BTC) == bundles[BTC][0].name
    assert host.restarts()[restarts:] == [before(bundles)]


def test_order_that_was_killed_on_its_way_back_waits_for_its_restart(host: TestHost, bundles: Bundles) -> None:
    """The runtime has both new releases loaded; the model at fault is silent, and the other speaks on."""
    new = {symbol: made[1].name for symbol, made in bundles.items()}
    host.runtime_says({}, **{new[BTC]: {"figures": {"non_finite": 1}}})
    order = host.activation(
        {symbol: made[1] for symbol, made in bundles.items()}, service=host.killed_in_its_restart(2)
    )
    assert killed_at(NEVER, lambda: host.carry_out(order))
    switched = {BTC: bundles[BTC][0].name, ETH: new[ETH]}
    assert (currents(host), host.restarts()[-1]) == (switched, new)
    undo_abandoned(host.folder, new)
    assert currents(host) == switched
    settled = host.settle()
    assert settled is not None
    assert [(fate.outcome, fate.on_hold) for fate in settled.fates] == [("rolled_back", True), ("rolled_back", False)]
    assert host.restarts()[-1] == currents(host) == before(bundles)


def test_runtime_that_starts_undoes_whatever_was_left(killed_return: TestHost, bundles: Bundles) -> None:
    """It loads what the links lead to."""
    undo_at_start(killed_return.folder)
    assert killed_return.current(BTC) == bundles[BTC][0].name
    assert killed_return.host.journal.read() is None


def test_second_runtime_of_a_folder_undoes_nothing(killed: TestHost, bundles: Bundles) -> None:
    with killed.runtime_lock():
        undo_at_start(killed.folder)
    assert killed.host.journal.read() is not None
    assert killed.current(BTC) == bundles[BTC][1].name


def test_deployment_that_was_done_and_recorded_stays(host: TestHost, bundles: Bundles) -> None:
    """Killed in the moment between its record and the end of its journal."""
    order = host.activation({BTC: bundles[BTC][1]})
    host.carry_out(order)
    record = (host.folder / "deployments.jsonl").read_bytes()
    host.host.journal.write(order)
    undo_abandoned(host.folder, before(bundles))
    assert host.current(BTC) == bundles[BTC][1].name
    assert host.host.journal.read() is None
    assert (host.folder / "deployments.jsonl").read_bytes() == record


def test_damaged_journal_is_logged_and_changes_nothing(
    killed: TestHost, bundles: Bundles, caplog: pytest.LogCaptureFixture
) -> None:
    (killed.folder / "journal.json").write_text("{")
    with caplog.at_level(logging.ERROR):
        undo_abandoned(killed.folder, before(bundles))
    assert "a killed deployment cannot be undone" in caplog.text
    assert "journal of an unfinished deployment cannot be read" in caplog.text
    assert (killed.folder / "journal.json").exists()
    assert killed.current(BTC) == bundles[BTC][1].name


def test_stranger_in_the_place_of_a_link_is_logged(
    host: TestHost, bundles: Bundles, caplog: pytest.LogCaptureFixture
) -> None:
    order = host.activation({BTC: bundles[BTC][1]})
    first = order.model_copy(update={"moves": (order.moves[0].model_copy(update={"before": None}),)})
    host.host.journal.write(first)
    (host.folder / "current" / BTC).unlink()
    (host.folder / "current" / BTC).mkdir()
    with caplog.at_level(logging.ERROR):
        undo_abandoned(host.folder, before(bundles))
    assert "is no link to a release" in caplog.text
    assert host.host.journal.read() == first


def test_folder_without_a_deployment_is_not_touched(tmp_path: Path) -> None:
    undo_abandoned(tmp_path / "host", {})
    undo_at_start(tmp_path / "host")
    assert not (tmp_path / "host").exists()
