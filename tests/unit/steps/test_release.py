"""Promotion and deployment: both or neither, whatever fails and whenever the process is killed."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from models_lib.config import load_config
from models_lib.deployment.journal import Journal
from models_lib.errors import DeployError, RecordError, UnhealthyError
from models_lib.registry import open_registry
from models_lib.steps.plan import plan_run
from models_lib.steps.refs import StoredRef
from models_lib.steps.release import both_or_neither, release_of, settle
from models_lib.steps.release import deploy as deploy_step
from tests.forked import ON_ONE_WORKER, printed
from tests.hosts import TestHost, at_host, no_candles, no_ssh
from tests.unit.steps.releases import NOW, Place, Reign, kill_switches, reign


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Reign:
    return reign(tmp_path_factory.mktemp("reign"))


@pytest.fixture
def made(template: Reign, tmp_path: Path) -> Reign:
    """A copy of it for one test."""
    home = shutil.copytree(template.place.home, tmp_path / "home", symlinks=True)
    return Reign(Place(Path(home)), template.a, template.b)


def stands(place: Place) -> tuple[str | None, str | None]:
    return place.champion(), place.target.current("BTC-USD")


def block(place: Place) -> None:
    """From now on the target takes nothing: a file lies where its releases of the symbol must go."""
    releases = place.releases / "releases" / "BTC-USD"
    releases.parent.mkdir(parents=True, exist_ok=True)
    if releases.exists():
        releases.rename(releases.with_name("aside"))
    releases.write_text("not a folder")


def unblock(place: Place) -> None:
    releases = place.releases / "releases" / "BTC-USD"
    releases.unlink()
    if releases.with_name("aside").exists():
        releases.with_name("aside").rename(releases)


def test_switch_changes_both_and_leaves_no_journal(made: Reign) -> None:
    answer = made.place.switch(made.b, made.a)
    assert (answer.outcome, answer.release) == ("deployed", made.b)
    assert stands(made.place) == (made.b, made.b)
    assert made.place.actions() == ["promote", "promote"]
    assert made.place.journal() == []
    assert settle(made.place.home, registry=partial(open_registry, made.place.home), who="test", ssh=no_ssh) == ()


def test_failed_deployment_takes_the_promotion_back(made: Reign) -> None:
    block(made.place)
    with pytest.raises(DeployError, match=f"Release {made.a[:12]} is still current"):
        made.place.switch(made.b, made.a)
    unblock(made.place)
    assert stands(made.place) == (made.a, made.a)
    assert made.place.actions() == ["promote", "promote", "undo"]
    assert made.place.journal() == []
    made.place.switch(made.b, made.a)
    assert stands(made.place) == (made.b, made.b)


def test_failed_first_deployment_leaves_no_champion(tmp_path: Path) -> None:
    place = Place(tmp_path / "home")
    place.home.mkdir()
    first = place.keep("A", tmp_path)
    block(place)
    with pytest.raises(DeployError, match="There is still no release"):
        place.switch(first, None)
    assert stands(place) == (None, None)
    assert place.actions() == ["promote", "undo"]
    unblock(place)
    place.switch(first, None)
    assert stands(place) == (first, first)


def test_champion_already_keeps_standing_when_its_deployment_fails(tmp_path: Path) -> None:
    """The home deployed nowhere until now; its first deployment is one of a champion that reigns."""
    reigning = reign(tmp_path, targeted=False)
    place = Place(reigning.place.home)
    block(place)
    with pytest.raises(DeployError):
        place.switch(reigning.a, None)
    assert stands(place) == (reigning.a, None)
    assert place.actions() == ["promote"]
    unblock(place)
    place.switch(reigning.a, None)
    assert stands(place) == (reigning.a, reigning.a)
    assert place.actions() == ["promote"]


def within_a_switch(made: Reign, body: Callable[[], object]) -> None:
    """B is promoted, then the body does what else happens."""
    plan, stored = made.place.plan(), StoredRef(bundle=made.b, report=Path("report.html"))
    with both_or_neither(plan, "BTC-USD", stored, registry=open_registry(plan.home), ssh=no_ssh):
        made.place.promote(made.b, made.a)
        body()


def deploy(made: Reign) -> None:
    made.place.target.deploy(release_of(open_registry(made.place.home), "BTC-USD", made.b))


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), RuntimeError("a fault of ours"), SystemExit(1)])
def test_whatever_the_body_raises_after_both_were_switched_both_go_back(made: Reign, raised: BaseException) -> None:
    def body() -> None:
        deploy(made)
        raise raised

    with pytest.raises(type(raised)):
        within_a_switch(made, body)
    assert stands(made.place) == (made.a, made.a)
    assert made.place.actions() == ["promote", "promote", "undo"]
    assert made.place.journal() == []


def test_what_cannot_be_put_back_stays_in_the_journal_and_is_settled_later(made: Reign) -> None:
    """The target loses its link in between: then it cannot tell what is current."""
    link = made.place.releases / "current" / "BTC-USD"
    aside = link.with_name("aside")

    def body() -> None:
        link.rename(aside)
        link.mkdir()
        raise DeployError("the deployment failed.")

    with pytest.raises(DeployError, match="could not be put back"):
        within_a_switch(made, body)
    assert made.place.journal() == ["BTC-USD.json"]

    (unsettled,) = settle(made.place.home, registry=partial(open_registry, made.place.home), who="test", ssh=no_ssh)
    assert unsettled.what == "unsettled"
    with pytest.raises(DeployError, match="cannot be put right now"):
        made.place.switch(made.b, made.a)
    assert made.place.journal() == ["BTC-USD.json"]

    link.rmdir()
    aside.rename(link)
    (settled,) = settle(made.place.home, registry=partial(open_registry, made.place.home), who="test", ssh=no_ssh)
    assert (settled.what, settled.symbol) == ("undone", "BTC-USD")
    assert stands(made.place) == (made.a, made.a)
    assert made.place.actions() == ["promote", "promote", "undo"]
    assert made.place.journal() == []


def test_release_that_cannot_be_put_back_because_it_is_damaged_leaves_both_new(made: Reign) -> None:
    def body() -> None:
        deploy(made)
        model = made.place.releases / "releases" / "BTC-USD" / made.a / "model.safetensors"
        model.write_bytes(model.read_bytes()[:-1])
        raise RuntimeError("after both")

    with pytest.raises(DeployError, match="could not be put back"):
        within_a_switch(made, body)
    (settled,) = settle(made.place.home, registry=partial(open_registry, made.place.home), who="test", ssh=no_ssh)
    assert settled.what == "finished"
    assert stands(made.place) == (made.b, made.b)
    assert made.place.journal() == []


def test_host_that_does_not_answer_after_going_back_stays_a_matter_for_a_person(made: Reign, tmp_path: Path) -> None:
    host = TestHost(tmp_path / "host")
    (host.folder / "runtime.yaml").write_text("")
    config = load_config(None, at_host(host, "local"))
    plan = plan_run(config, home=made.place.home, symbols=("BTC-USD",), who="test", now=NOW)
    stored = StoredRef(bundle=made.b, report=Path("report.html"))

    def switch() -> None:
        with both_or_neither(plan, "BTC-USD", stored, registry=open_registry(plan.home), ssh=no_ssh):
            made.place.promote(made.b, made.a)
            deploy_step(plan, "BTC-USD", stored, registry=open_registry(plan.home), candles=no_candles, ssh=no_ssh)
            host.runtime_says({"fails": True})
            raise RuntimeError("after both")

    with pytest.raises(UnhealthyError, match=r"could not be put back: .* DOES NOT ANSWER"):
        switch()
    assert made.place.journal() == ["BTC-USD.json"]


def test_switch_that_is_under_way_is_left_alone(made: Reign) -> None:
    def body() -> None:
        assert (
            settle(made.place.home, registry=partial(open_registry, made.place.home), who="somebody else", ssh=no_ssh)
            == ()
        )
        assert made.place.champion() == made.b
        deploy(made)

    within_a_switch(made, body)
    assert stands(made.place) == (made.b, made.b)


def test_damaged_journal_holds_up_its_own_symbol_only(made: Reign) -> None:
    journal = made.place.home / "journal" / "BTC-USD.json"
    journal.write_text('{"symbol": "BTC-')
    (made.place.home / "journal" / "ETH-USD.json").write_text("")
    found = settle(made.place.home, registry=partial(open_registry, made.place.home), who="test", ssh=no_ssh)
    assert [(one.symbol, one.what) for one in found] == [("BTC-USD", "unsettled"), ("ETH-USD", "unsettled")]
    assert "Compare `crpbot history`" in found[0].sentence
    with pytest.raises(RecordError, match="remove the file"):
        made.place.switch(made.b, made.a)
    assert stands(made.place) == (made.a, made.a)
    journal.unlink()
    made.place.switch(made.b, made.a)
    assert stands(made.place) == (made.b, made.b)


def test_journal_says_the_way_back_before_anything_is_changed(made: Reign) -> None:
    plan, stored = made.place.plan(), StoredRef(bundle=made.b, report=Path("report.html"))
    with both_or_neither(plan, "BTC-USD", stored, registry=open_registry(plan.home), ssh=no_ssh):
        switch = Journal(made.place.home, "BTC-USD").read()
        assert switch is not None
        assert (switch.bundle, switch.champion_before, switch.release_before) == (made.b, made.a, made.a)
        assert (switch.run_id, switch.deployment) == (plan.run_id, plan.config.deployment)
        assert stands(made.place) == (made.a, made.a)


def killed(scratch: Path, what: str, every: int) -> list[dict[str, Any]]:
    states = [json.loads(line) for line in printed(kill_switches, scratch, what, every)]
    assert [state["killed"] for state in states] == [True] * (len(states) - 1) + [False]
    return states


@ON_ONE_WORKER
@pytest.mark.parametrize(
    ("what", "every", "steps"),
    [
        ("switch", 17, 300),
        pytest.param("switch", 3, 300, marks=pytest.mark.long),
        pytest.param("first", 9, 120, marks=pytest.mark.long),
        pytest.param("settle", 4, 40, marks=pytest.mark.long),
    ],
)
def test_killed_at_any_step_champion_and_release_are_both_old_or_both_new(
    tmp_path: Path, what: str, every: int, steps: int
) -> None:
    states = killed(tmp_path, what, every)
    assert len(states) * every >= steps
    for state in states:
        assert state["stands"] in (["old", "old"], ["new", "new"])
        assert state["journal"] == []
        assert state["again"] == ["new", "new"]
        assert state["left"] == []
    new = [state["stands"] == ["new", "new"] for state in states]
    first = [] if what == "first" else ["promote"]
    if what == "settle":
        assert not any(new), "the promotion was taken back"
        assert all(state["actions"] == ["promote", "promote", "undo"] for state in states)
    else:
        assert new == sorted(new), "once both are new they stay new"
        assert (new[0], new[-1]) == (False, True)
        told = Counter(what for state in states for what in state["settled"])
        assert told["undone"] > 0
        assert all(state["actions"] == [*first, "promote"] for state in states if state["stands"] == ["new", "new"])
        old = [state["actions"] for state in states if state["stands"] == ["old", "old"]]
        assert all(actions in (first, [*first, "promote", "undo"]) for actions in old)
