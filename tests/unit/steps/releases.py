"""A home with champion A, which is also deployed to a folder, and a challenger B that was judged against it.

`kill_switches` kills a real process at each so many-th step of the transaction (switch: B after A; first: A, with nobody
before it) or of the settlement of a switch that was killed between promotion and deployment; then a new start settles. A
JSON line says what it found, and what stands after the transaction is made again. What a step is: tests.killed.
"""

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from models_lib.config import load_config
from models_lib.deployment import FolderTarget
from models_lib.errors import DeployError
from models_lib.registry import open_registry
from models_lib.steps.outcome import Deployment
from models_lib.steps.plan import RunPlan, plan_run
from models_lib.steps.refs import StoredRef
from models_lib.steps.release import both_or_neither, deploy, settle
from tests.hosts import in_folder, no_candles, no_ssh
from tests.judged import at, judged
from tests.killed import killed_at, killed_at_each

NOW = datetime(2026, 1, 15, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    """A home, with the folder of its releases inside, so that both are copied together."""

    home: Path
    targeted: bool = True

    @property
    def releases(self) -> Path:
        return self.home / "releases-here"

    @property
    def target(self) -> FolderTarget:
        return FolderTarget(self.releases, keep=5)

    def plan(self) -> RunPlan:
        settings = in_folder(self.releases) if self.targeted else ("deployment.target=null",)
        config = load_config(None, settings)
        return plan_run(config, home=self.home, symbols=("BTC-USD",), who="test", now=NOW)

    def champion(self) -> str | None:
        champion = open_registry(self.home).champion("BTC-USD")
        return champion.bundle if champion else None

    def actions(self) -> list[str]:
        """Of the ledger, which must be sound."""
        history = open_registry(self.home).history()
        assert not history.damage
        return [entry.action for entry in history.entries]

    def journal(self) -> list[str]:
        return [path.name for path in (self.home / "journal").glob("*.json")]

    def keep(self, name: str, scratch: Path, **facts: Any) -> str:
        """Puts that candidate, judged, into the store."""
        bundle = judged(name, scratch / name, **facts)
        open_registry(self.home).store.put(scratch / name)
        return bundle

    def promote(self, bundle: str, expected: str | None) -> bool:
        registry = open_registry(self.home)
        return registry.promote(
            "BTC-USD", bundle, expected_champion=expected, who="test", why="test", now=at(2)
        ).changed

    def switch(self, bundle: str, expected: str | None) -> Deployment:
        """The transaction, as `train-symbol` makes it."""
        plan, stored = self.plan(), StoredRef(bundle=bundle, report=self.home / "report.html")
        with both_or_neither(plan, "BTC-USD", stored, registry=open_registry(plan.home), ssh=no_ssh):
            self.promote(bundle, expected)
            return deploy(plan, "BTC-USD", stored, registry=open_registry(plan.home), candles=no_candles, ssh=no_ssh)


@dataclass(frozen=True)
class Reign:
    """A reigns and is deployed; B waits."""

    place: Place
    a: str
    b: str


def reign(folder: Path, *, targeted: bool = True) -> Reign:
    """Made by the transaction itself."""
    place = Place(folder / "home", targeted)
    place.home.mkdir(parents=True)
    a = place.keep("A", folder)
    b = place.keep("B", folder, champion=a)
    place.switch(a, None)
    return Reign(place, a, b)


def kill_switches(scratch: Path, what: str, every: int) -> None:
    """Prints a line for each kill."""
    if what == "first":
        place = Place(scratch / "home")
        place.home.mkdir(parents=True)
        template, new, old = place.home, place.keep("A", scratch), None
    else:
        made = reign(scratch)
        template, new, old = made.place.home, made.b, made.a
    warm = copied(template, scratch / "warm")
    warm.switch(new, old)
    settle(warm.home, registry=partial(open_registry, warm.home), who="test", ssh=no_ssh)
    if what == "settle":
        template = killed_between(template, scratch, new=new, old=old)

    def act(step: int) -> None:
        place = Place(scratch / f"home-{step}")
        if what == "settle":
            settle(place.home, registry=partial(open_registry, place.home), who="test", ssh=no_ssh)
        else:
            place.switch(new, old)

    for step, killed in killed_at_each(every, act, before=lambda step: copied(template, scratch / f"home-{step}")):
        place = Place(scratch / f"home-{step}")
        print(json.dumps({"killed": killed, **observed(place, new=new, old=old)}), flush=True)
        shutil.rmtree(place.home)


def copied(template: Path, home: Path) -> Place:
    shutil.copytree(template, home, symlinks=True)
    for journal in (home / "journal").glob("*.json"):  # it names the folder of the releases
        journal.write_text(journal.read_text().replace(f"{template}/", f"{home}/"))
    return Place(home)


def killed_between(template: Path, scratch: Path, *, new: str, old: str | None) -> Path:
    """A home whose switch was killed when the champion was new and the release still old."""
    step = 0
    while True:
        step += 1
        place = copied(template, scratch / f"between-{step}")
        assert killed_at(step, lambda place=place: place.switch(new, old)), "it never stood between them"
        if place.champion() == new and place.target.current("BTC-USD") == old:
            return place.home
        shutil.rmtree(place.home)


def observed(place: Place, *, new: str, old: str | None) -> dict[str, Any]:
    """What stands after a new start has settled, and after the transaction is made again."""
    names = {new: "new", old: "old"}
    settled = [
        done.what for done in settle(place.home, registry=partial(open_registry, place.home), who="test", ssh=no_ssh)
    ]
    stands = [names[place.champion()], names[place.target.current("BTC-USD")]]
    actions = place.actions()
    state = {"settled": settled, "stands": stands, "actions": actions, "journal": place.journal()}
    try:
        place.switch(new, old)
    except DeployError as error:
        return {**state, "again": str(error)}
    hidden = [path.name for path in place.releases.rglob(".*")]
    return {
        **state,
        "again": [names[place.champion()], names[place.target.current("BTC-USD")]],
        "left": place.journal() + hidden,
    }
