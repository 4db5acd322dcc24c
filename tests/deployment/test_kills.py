"""SIGKILL on both sides of a deployment: a deployer between any two steps, the host's own process at any moment."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from models_lib.children import end_session
from models_lib.registry import open_registry
from models_lib.steps.release import settle
from tasks.adapters.ssh import SshLink
from tests.deployment.deployer import POINTS
from tests.deployment.desk import BTC, Candidates, Desk, Meddling
from tests.deployment.trading_host import TradingHost, until

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("deployment")]


@pytest.fixture(scope="module")
def deployer(one_host: TradingHost, candidates: Candidates) -> Iterator["subprocess.Popen[str]"]:
    """A process that makes deployers and kills them."""
    named = {"home": str(candidates.home), "a": str(candidates.a[BTC]), "b": str(candidates.b[BTC])}
    words = [one_host.section().model_dump_json(), json.dumps(named)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.deployment.deployer", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with process:
        yield process
        end_session(process, 10.0)


@pytest.mark.parametrize("point", POINTS)
def test_deployer_that_is_killed_between_two_steps_leaves_one_known_release(
    point: str, deployer: "subprocess.Popen[str]", host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    """A new start settles: host and ledger agree, and what was done is told."""
    assert deployer.stdin is not None
    assert deployer.stdout is not None
    deployer.stdin.write(f"{point}\t{desk.home}\n")
    deployer.stdin.flush()
    assert deployer.stdout.readline() == "killed\n"
    settled = [
        done.what
        for done in settle(desk.home, registry=partial(open_registry, desk.home), who="tester@here", ssh=SshLink)
    ]  # waits for the host's order
    old, new = candidates.a[BTC], candidates.b[BTC]
    runs = new if desk.champion() == new.name else old
    print(f"killed after {point!r}: settled {settled}, {'new' if runs == new else 'old'} runs, told {desk.records()}")
    assert desk.champion() == runs.name
    host.speaks_with(candidates.champions(BTC=runs))
    assert desk.under_way() == []
    began = POINTS.index(point)
    if began < POINTS.index("Registry.promote"):
        assert (runs, desk.actions()) == (old, ["promote"])
    elif began < POINTS.index("answers as recorded"):
        assert (runs, settled, desk.actions()) == (old, ["undone"], ["promote", "promote", "undo"])
    else:  # the host goes on without its deployer
        assert (runs, settled, desk.actions()) == (new, ["finished"] * (point != "Journal.clear"), ["promote"] * 2)


def after_a_sentence(sentence: str, host: TradingHost) -> Callable[[str], None]:
    def hear(line: str) -> None:
        if sentence in line:
            host.kill_order()

    return hear


def when_the_journal_stands(host: TradingHost) -> Callable[[str], None]:
    """In the middle of the restart, for the journal is written right before it."""

    def hear(line: str) -> None:
        if "rehearsal of the newest" in line:
            until((host.folder / "journal.json").exists, "the journal is written")
            assert host.kill_order()

    return hear


def test_order_that_is_killed_behind_the_watch_is_undone_or_known(
    host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    """Its last steps take milliseconds: the kill comes before its record or after it, and never leaves one unknown."""
    new = candidates.b[BTC]
    told = desk.release(new, ssh=lambda section: Meddling(section, heard=after_a_sentence("watched for", host)))
    (outcome,) = (outcome.of(BTC).outcome for outcome in host.outcomes())
    print(f"killed behind the watch: {outcome}, told {told.deployment.outcome}")
    assert told.deployment.outcome == outcome, told.events
    host.speaks_with(candidates.champions(**{"BTC": new} if outcome == "deployed" else {}))
    assert desk.champion() == host.served().symbols[BTC].bundle


@pytest.mark.parametrize(
    ("moment", "outcome", "says"),
    [
        ("loaded", "failed", "was killed there. Try again. Nothing was moved there."),
        ("switched", "rolled_back", "tester@here was killed during this deployment"),
    ],
)
def test_order_that_is_killed_on_the_host_is_settled_and_the_deployer_learns_it(
    moment: str, outcome: str, says: str, host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    """The deployer's own question, what became of the order, is the command that settles it."""
    new = candidates.b[BTC]
    hear = {
        "loaded": after_a_sentence("answers as recorded", host),
        "switched": when_the_journal_stands(host),
    }[moment]
    told = desk.release(new, ssh=lambda section: Meddling(section, heard=hear))
    assert told.deployment.outcome == outcome, told.events
    assert says in told.events["rolled_back" if outcome == "rolled_back" else "failed"]
    desk.nothing_moved(new.name, outcome=outcome)
    host.speaks_with(candidates.champions())
