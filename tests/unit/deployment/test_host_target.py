"""The deployer's side of a host: what it asks, what it refuses to bring, and what it makes of a link that breaks."""

import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from models_lib.config.targets import SshTargetSection
from models_lib.deployment.host import HostTarget, failure_of
from models_lib.deployment.host_link import Answer
from models_lib.deployment.release import Release
from models_lib.errors import (
    BusyError,
    DeployError,
    RolledBackError,
    TransientError,
    UnhealthyError,
)
from models_lib.holds import held
from models_lib.host.journal import HostJournal
from models_lib.host.messages import Activation, Fate
from models_lib.host.releases import Releases as HostReleases
from models_lib.locks import locked
from tests.bundles import T0, edit_json
from tests.hosts import host_target
from tests.unit.deployment.links import Breaking, Change, InProcessLink

Releases = dict[str, Release]
BTC, ETH = "BTC-USD", "ETH-USD"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "host"


@pytest.fixture
def target(folder: Path) -> HostTarget:
    return replace(host_target(folder), open_link=InProcessLink)


def behind_ssh(target: HostTarget) -> HostTarget:
    """The same host as one far away would be configured."""
    assert target.section.folder is not None
    section = SshTargetSection(
        kind="ssh",
        host="10.0.0.5",
        user="deploy",
        key_file=Path("key"),
        known_hosts=Path("known"),
        folder=PurePosixPath(target.section.folder),
        restart=target.section.restart,
        upgrade_hint="run install.sh 7.2",
    )
    return replace(target, section=section)


def restarts(folder: Path) -> int:
    path = folder / "restarts"
    return len(path.read_text().splitlines()) if path.exists() else 0


def runtime_says(folder: Path, release: Release, **answer: Any) -> None:
    """What the runtime does when it is restarted with that release (`TestHost.runtime_says`)."""
    says = {"always": {}, "by_release": {release.bundle.name: answer}}
    (folder / "runtime_says.json").write_text(json.dumps(says))


def somebody_at_work(folder: Path) -> AbstractContextManager[None]:
    """The host's lock, as held by somebody else."""
    return locked(folder / "lock", within_seconds=0.0, otherwise="the test's own lock")


def brought(folder: Path) -> list[Path]:
    return [path for room in ("incoming", "releases") for path in (folder / room).rglob("*")]


# deploy


def test_releases_are_deployed_with_one_restart(target: HostTarget, folder: Path, releases: Releases) -> None:
    a, e = releases["A"], releases["E"]
    assert target.deploy_all([a, e]) == {BTC: None, ETH: None}
    assert restarts(folder) == 1
    look = target.look()
    assert (look.current, look.holds) == ({BTC: a.bundle.name, ETH: e.bundle.name}, {})
    assert look.health is not None
    assert target.deploy(a) == a.bundle.name
    assert restarts(folder) == 1, "doing it twice is doing it once"


def test_refused_symbol_stays_and_the_other_is_deployed(target: HostTarget, folder: Path, releases: Releases) -> None:
    target.deploy_all([releases["A"], releases["E"]])
    target.hold(BTC, reason="looking")
    answers = target.deploy_all([releases["B"], releases["E"]])
    assert answers[ETH] is None
    error = answers[BTC]
    assert type(error) is DeployError
    assert str(error).startswith(
        f"{BTC}: target host refuses it and still runs release {releases['A'].bundle.name[:12]}: on hold"
    )
    assert "`crpbot release-hold BTC-USD` ends it" in str(error)
    assert error.hold_reason is not None
    assert HostReleases(folder).current(BTC) == releases["A"].bundle.name


def test_release_that_the_runtime_does_not_name_is_rolled_back(
    target: HostTarget, folder: Path, releases: Releases
) -> None:
    target.deploy(releases["A"])
    runtime_says(folder, releases["B"], ready=False)
    with pytest.raises(RolledBackError, match=r"BTC-USD: target host went back and runs release .* again: .*not ready"):
        target.deploy(releases["B"])
    assert target.current(BTC) == releases["A"].bundle.name


def test_earlier_release_is_put_back_and_a_lost_one_is_not(target: HostTarget, releases: Releases) -> None:
    target.deploy(releases["A"])
    target.deploy(releases["B"])
    target.put_back(BTC, releases["A"].bundle.name)
    assert target.current(BTC) == releases["A"].bundle.name
    with pytest.raises(DeployError, match="is not there any more, or is damaged"):
        target.put_back(BTC, "f" * 64)


def test_days_of_a_release_count_from_its_newest_verdict(target: HostTarget, folder: Path, releases: Releases) -> None:
    target.deploy(releases["A"])
    tree = (folder / "judged" / BTC / f"{releases['A'].bundle.name}.json").read_text()
    assert T0.isoformat() in tree


def test_progress_is_said(folder: Path, releases: Releases) -> None:
    said: list[str] = []
    replace(host_target(folder), open_link=InProcessLink, say=said.append).deploy(releases["A"])
    assert said[0] == f"{BTC}: bringing release {releases['A'].bundle.name[:12]} to target host"
    assert said[-1] == f"{BTC}: deployed"


# what is refused before anything is brought


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda state: state.update(protocol_version=2), "version 7.1 speaks protocol 2"),
        (lambda state: state.update(schema_versions=[1]), "version 7.1 reads bundles of schema 1, and the one of BTC-USD"),
        (lambda state: state.update(colour="blue"), "its answer is not understood (1 faults)"),
        (lambda state: state.pop("free_bytes"), "its answer is not understood (1 faults)"),
    ],
)  # fmt: skip
def test_host_of_another_version_names_the_upgrade(
    target: HostTarget, folder: Path, releases: Releases, change: Change, fact: str
) -> None:
    other = replace(target, open_link=lambda: InProcessLink(change))
    for place, remedy in (
        (other, "Set this installation up again with `make install`."),
        (behind_ssh(other), "Remedy: run install.sh 7.2."),
    ):
        with pytest.raises(DeployError, match=re.escape(f"target host: {fact}") + ".*" + re.escape(remedy)):
            place.deploy(releases["A"])
    assert brought(folder) == []
    assert restarts(folder) == 0


def test_bundle_of_a_newer_schema_is_not_brought(
    target: HostTarget, folder: Path, releases: Releases, tmp_path: Path
) -> None:
    newer = tmp_path / releases["A"].bundle.name
    newer.mkdir()
    (newer / "manifest.json").write_bytes((releases["A"].bundle / "manifest.json").read_bytes())
    edit_json(newer / "manifest.json", lambda tree: tree.update(schema_version=99))
    with pytest.raises(DeployError, match="the one of BTC-USD is of 99"):
        target.deploy(replace(releases["A"], bundle=newer))
    assert brought(folder) == []


def test_ensemble_is_not_brought_to_a_host_from_before_there_were_any(
    target: HostTarget, folder: Path, releases: Releases, tmp_path: Path
) -> None:
    newer = tmp_path / releases["A"].bundle.name
    newer.mkdir()
    (newer / "manifest.json").write_bytes((releases["A"].bundle / "manifest.json").read_bytes())
    edit_json(newer / "manifest.json", lambda tree: tree.update(schema_version=3))
    older = replace(target, open_link=lambda: InProcessLink(lambda state: state.update(schema_versions=[1, 2])))
    with pytest.raises(DeployError, match="reads bundles of schema 1, 2, and the one of BTC-USD is of 3"):
        older.deploy(replace(releases["A"], bundle=newer))
    assert brought(folder) == []
    assert older.deploy(releases["A"]) == releases["A"].bundle.name, "a trained network is still taken"


def test_bundle_that_is_gone_is_no_affair_of_the_host(
    target: HostTarget, folder: Path, releases: Releases, tmp_path: Path
) -> None:
    with pytest.raises(DeployError, match=r"is no bundle folder\. Restore the store from a backup"):
        target.deploy(replace(releases["A"], bundle=tmp_path / "gone"))
    assert brought(folder) == []


def test_host_without_space_gets_nothing(target: HostTarget, folder: Path, releases: Releases) -> None:
    full = replace(target, open_link=lambda: InProcessLink(lambda state: state.update(free_bytes=50_000_000)))
    told = r"target host: 50 MB are free and 5[1-9] MB are needed\. Nothing was brought\. Make room there"
    with pytest.raises(DeployError, match=told):
        full.deploy(releases["A"])
    assert brought(folder) == []
    assert restarts(folder) == 0


def test_host_without_the_program_names_the_upgrade(folder: Path, releases: Releases) -> None:
    target = host_target(folder)
    section = target.section.model_copy(update={"runtime_command": ("/nowhere/crpbot-runtime",)})
    with pytest.raises(DeployError, match=r"target host: there is no /nowhere/crpbot-runtime \(.*No such file"):
        replace(target, section=section).deploy(releases["A"])
    assert brought(folder) == []


def test_fault_of_the_host_is_told_in_its_own_words(target: HostTarget, folder: Path, releases: Releases) -> None:
    (folder / "current" / BTC).mkdir()
    with pytest.raises(DeployError, match=r"target host: .* host state says: BTC-USD: .* is no link to a release"):
        target.deploy(releases["A"])


def test_host_at_work_is_busy_and_asked_for_nothing_more(target: HostTarget, folder: Path, releases: Releases) -> None:
    links = Breaking()
    with somebody_at_work(folder), pytest.raises(BusyError, match=r"target host: .*another deployment is at work"):
        replace(target, open_link=links).deploy(releases["A"])
    assert links.asked == ["state"]
    assert brought(folder) == []


# a link that breaks


def test_link_that_breaks_after_the_order_is_asked_again(target: HostTarget, folder: Path, releases: Releases) -> None:
    links = Breaking(after={"order": 1})
    assert replace(target, open_link=links).deploy(releases["A"]) == releases["A"].bundle.name
    assert links.asked == ["state", "order", "state"]
    assert len(links.links) == 2, "asked on a new link"
    assert restarts(folder) == 1


def test_fate_of_an_order_whose_link_broke_is_the_hosts_own(
    target: HostTarget, folder: Path, releases: Releases
) -> None:
    target.deploy(releases["A"])
    runtime_says(folder, releases["B"], figures={"non_finite": 1})
    with pytest.raises(RolledBackError, match="1 answers are not finite") as rolled_back:
        replace(target, open_link=Breaking(after={"order": 1})).deploy(releases["B"])
    assert rolled_back.value.hold_reason is not None
    assert held(folder, BTC) is not None


def test_link_that_breaks_before_the_order_moved_nothing(target: HostTarget, folder: Path, releases: Releases) -> None:
    links = Breaking(before={"order": 1})
    told = r"the connection was lost\. Nothing was moved there\."
    with pytest.raises(TransientError, match=told):
        replace(target, open_link=links).deploy(releases["A"])
    assert links.asked == ["state", "state"]
    assert restarts(folder) == 0
    assert HostReleases(folder).all_current() == {}


def test_host_that_answers_late_is_asked_until_it_does(target: HostTarget, releases: Releases) -> None:
    said: list[str] = []

    class TwiceAway(Breaking):
        def __call__(self) -> InProcessLink:
            self.before["state"] = 2 if len(self.links) == 1 else self.before.get("state", 0)
            return super().__call__()

    links = TwiceAway(after={"order": 1})
    away = replace(target, open_link=links, say=said.append)
    assert away.deploy(releases["A"]) == releases["A"].bundle.name
    assert links.asked == ["state", "order", "state"]
    assert len(links.links) == 4
    assert any(sentence.startswith("no answer of target host (this machine: the connection") for sentence in said)


def test_host_that_is_away_for_good_says_where_to_look(target: HostTarget, releases: Releases) -> None:
    class Away(Breaking):
        def __call__(self) -> InProcessLink:
            self.before["state"] = 9 if self.links else 0
            return super().__call__()

    with pytest.raises(TransientError, match="It goes on or undoes it by itself; `crpbot status` tells"):
        replace(target, open_link=Away(after={"order": 1})).deploy(releases["A"])


def test_return_whose_link_breaks_is_asked_again(target: HostTarget, releases: Releases) -> None:
    target.deploy(releases["A"])
    target.deploy(releases["B"])
    replace(target, open_link=Breaking(after={"order": 1})).put_back(BTC, releases["A"].bundle.name)
    assert target.current(BTC) == releases["A"].bundle.name


@pytest.mark.parametrize("status", [-9, 137])
def test_order_that_is_killed_on_the_host_is_settled_and_asked_about(
    target: HostTarget, folder: Path, releases: Releases, status: int
) -> None:
    """What runs there dies after it switched: the next question puts the earlier release back."""
    target.deploy(releases["A"])

    class Killing(InProcessLink):
        def run(self, arguments: Sequence[str], **how: Any) -> Answer:
            if "order" not in arguments:
                return super().run(arguments, **how)
            HostJournal(folder).write(Activation.model_validate_json(how["input"]))
            HostReleases(folder).switch(BTC, releases["B"].bundle.name)
            return Answer(status, b"", b"")

    with pytest.raises(RolledBackError, match="tester@here was killed during this deployment"):
        replace(target, open_link=Killing).deploy(releases["B"])
    assert target.current(BTC) == releases["A"].bundle.name


# shadows


def test_shadow_is_brought_and_ended_without_a_restart(target: HostTarget, folder: Path, releases: Releases) -> None:
    target.deploy(releases["A"])
    b = releases["B"].bundle
    shadows = HostReleases(folder, links="shadow")
    assert target.shadow(BTC, b) == f"{BTC}: shadow {b.name[:12]}"
    assert (shadows.current(BTC), target.current(BTC)) == (b.name, releases["A"].bundle.name)
    assert list((folder / "incoming").iterdir()) == []
    assert target.shadow(BTC, None) == f"{BTC}: shadow none"
    assert shadows.current(BTC) is None
    assert restarts(folder) == 1


def test_shadow_that_the_host_cannot_use_leaves_the_earlier_one(
    target: HostTarget, folder: Path, releases: Releases
) -> None:
    target.shadow(BTC, releases["B"].bundle)
    with pytest.raises(DeployError, match="ETH-USD"):
        target.shadow(BTC, releases["E"].bundle)
    assert HostReleases(folder, links="shadow").current(BTC) == releases["B"].bundle.name
    older = replace(target, open_link=lambda: InProcessLink(lambda state: state.update(schema_versions=[1])))
    with pytest.raises(DeployError, match="reads bundles of schema 1"):
        older.shadow(BTC, releases["C"].bundle)
    assert HostReleases(folder, links="shadow").current(BTC) == releases["B"].bundle.name


# fates


@pytest.mark.parametrize(
    ("outcome", "kind", "told"),
    [
        ("refused", DeployError, "BTC-USD: target tokyo refuses it and still runs release 000000000000: why."),
        ("rolled_back", RolledBackError, "BTC-USD: target tokyo went back and runs release 000000000000 again: why."),
        ("unhealthy", UnhealthyError, "BTC-USD: target tokyo DOES NOT ANSWER for what it runs (current is release "),
    ],
)
@pytest.mark.parametrize("on_hold", [True, False])
def test_fate_becomes_the_error_that_says_what_to_do(
    outcome: Any, kind: type[DeployError], told: str, on_hold: bool
) -> None:
    fate = Fate(symbol=BTC, outcome=outcome, release="0" * 64, reason="why", on_hold=on_hold)
    error = failure_of(fate, "tokyo")
    assert type(error) is kind
    assert str(error).startswith(told)
    assert error.hold_reason == ("why" if on_hold else None)


def test_fate_without_a_release_says_so() -> None:
    fate = Fate(symbol=BTC, outcome="rolled_back", release=None, reason="why")
    assert "runs no release again" in str(failure_of(fate, "tokyo"))
    assert failure_of(Fate(symbol=BTC, outcome="deployed", release="0" * 64, reason=""), "tokyo") is None


# holds and looks


def test_hold_of_a_host_is_told_in_its_words(target: HostTarget, folder: Path) -> None:
    assert target.hold(BTC, reason="odd prices").startswith(f"{BTC}: on hold since ")
    hold = held(folder, BTC)
    assert hold is not None
    assert (hold.placed_by, hold.reason) == ("tester@here", "odd prices")
    assert list(target.look().holds) == [BTC]
    assert target.release_hold(BTC).startswith(f"{BTC}: released; ")
    assert held(folder, BTC) is None


def test_place_that_runs_nothing_yet_is_not_made_by_a_hold(target: HostTarget, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    local = replace(target, section=target.section.model_copy(update={"folder": nowhere}))
    assert (local.hold(BTC, reason="x"), local.release_hold(BTC)) == ("", "")
    assert not nowhere.exists()
    # Of a host far away nobody here can tell: it is asked, and holds.
    assert behind_ssh(local).hold(BTC, reason="x").startswith(f"{BTC}: on hold since ")
    assert held(nowhere, BTC) is not None


def test_look_at_this_machine_waits_for_no_deployment(target: HostTarget, folder: Path, releases: Releases) -> None:
    target.deploy(releases["A"])
    with somebody_at_work(folder):
        assert target.look().current == {BTC: releases["A"].bundle.name}


def test_look_at_a_host_far_away_is_its_state(target: HostTarget, releases: Releases) -> None:
    target.deploy(releases["A"])
    target.hold(BTC, reason="x")
    far, near = behind_ssh(target).look(), target.look()
    assert (far.current, far.holds, far.health) == (near.current, near.holds, near.health)


def test_look_at_a_host_far_away_waits_for_no_deployment_and_settles_none(
    target: HostTarget, folder: Path, releases: Releases
) -> None:
    target.deploy(releases["A"])
    before = restarts(folder)
    (folder / "journal.json").write_text("of an order that was killed")
    with somebody_at_work(folder):
        assert behind_ssh(target).look().current == {BTC: releases["A"].bundle.name}
    assert (folder / "journal.json").exists()
    assert restarts(folder) == before


def test_question_leaves_the_host_time_to_settle_what_a_killed_order_left(target: HostTarget) -> None:
    """A runtime that does not come up takes the restart and its health twice, and the health once more."""
    limits = []

    class Timed(InProcessLink):
        def run(self, arguments: Sequence[str], **how: Any) -> Answer:
            limits.append(how["timeout_seconds"])
            return super().run(arguments, **how)

    replace(target, open_link=Timed).state()
    section = target.section
    settling = 2 * section.command_timeout_seconds + 3 * section.health_timeout_seconds
    (limit,) = limits
    assert limit > target.rules.lock_seconds + settling
