"""A killed deployment, undone by the runtime that still has the earlier release loaded."""

import logging
import shutil
from pathlib import Path

import pytest

from models_lib.host.abandoned import undo_abandoned
from models_lib.host.messages import Move, Return
from tests.hosts import TestHost

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
    undo_abandoned(killed.folder)
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
    undo_abandoned(killed.folder)
    record = (killed.folder / "deployments.jsonl").read_bytes()
    undo_abandoned(killed.folder)
    assert (killed.folder / "deployments.jsonl").read_bytes() == record
    assert currents(killed) == before(bundles)


def test_deployment_at_work_is_left_alone(killed: TestHost, bundles: Bundles) -> None:
    with killed.host.alone(within_seconds=0.0):
        undo_abandoned(killed.folder)
    assert killed.host.journal.read() is not None
    assert killed.current(BTC) == bundles[BTC][1].name


def test_killed_return_is_finished(host: TestHost, bundles: Bundles) -> None:
    """What it left is unwanted: the link goes where it should have gone."""
    first, second = bundles[BTC][:2]
    host.deploy({BTC: second})
    move = Move(symbol=BTC, bundle=first.name, before=second.name)
    host.host.journal.write(
        Return(token="r", who="me@here", moves=(move,), service=host.service, lock_seconds=0.0, why="the test")
    )
    undo_abandoned(host.folder)
    assert host.current(BTC) == first.name
    assert host.host.journal.read() is None


def test_deployment_that_was_done_and_recorded_stays(host: TestHost, bundles: Bundles) -> None:
    """Killed in the moment between its record and the end of its journal."""
    order = host.activation({BTC: bundles[BTC][1]})
    host.carry_out(order)
    record = (host.folder / "deployments.jsonl").read_bytes()
    host.host.journal.write(order)
    undo_abandoned(host.folder)
    assert host.current(BTC) == bundles[BTC][1].name
    assert host.host.journal.read() is None
    assert (host.folder / "deployments.jsonl").read_bytes() == record


def test_damaged_journal_is_logged_and_changes_nothing(
    killed: TestHost, bundles: Bundles, caplog: pytest.LogCaptureFixture
) -> None:
    (killed.folder / "journal.json").write_text("{")
    with caplog.at_level(logging.ERROR):
        undo_abandoned(killed.folder)
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
        undo_abandoned(host.folder)
    assert "is no link to a release" in caplog.text
    assert host.host.journal.read() == first


def test_folder_without_a_deployment_is_not_touched(tmp_path: Path) -> None:
    undo_abandoned(tmp_path / "host")
    assert not (tmp_path / "host").exists()
