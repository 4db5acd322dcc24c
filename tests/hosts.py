"""A host folder for tests, with a runtime of a few lines in the place of the real one: it names what current/ links to.

What the runtime reports can be chosen, so that every answer of a host to a deployment can be seen.
"""

import contextlib
import json
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from models_lib.config import DeploymentSection
from models_lib.config.targets import LocalTargetSection, SshTargetSection, WatchSection
from models_lib.deployment.host import HostTarget
from models_lib.deployment.host_link import HostLink, LocalLink
from models_lib.host.messages import Activation, Move, Outcome, Return, Service
from models_lib.host.releases import Releases
from models_lib.host.transaction import activate, put_back, settle
from models_lib.host.work import Host
from models_lib.locks import locked
from models_lib.runtime.health import LOCK_FILE
from tests.bundles import walk_candles

WATCH = WatchSection(bars=1, minutes=0.05, rehearsal_minutes=0)
"""No rehearsal; three seconds for one bar."""


def in_folder(folder: Path) -> tuple[str, ...]:
    """Settings of a run that deploys to that folder."""
    return (
        "deployment.target=folder",
        "deployment.targets.folder.kind=folder",
        f"deployment.targets.folder.folder={folder}",
    )


def at_host(host: "TestHost", kind: str = "ssh") -> tuple[str, ...]:
    """Settings of a run that deploys to that host, whose runtime is the stand-in; `ssh` needs a link of the test's own."""
    far: dict[str, Any] = {"host": "10.0.0.5", "user": "deploy", "key_file": "key", "known_hosts": "known"}
    section = {"kind": kind, "folder": str(host.folder), "restart": host.service.restart, "health_timeout_seconds": 1}
    return (
        "deployment.target=host",
        f"deployment.targets.host={json.dumps(section | (far if kind == 'ssh' else {}))}",
        f"deployment.watch={WATCH.model_dump_json()}",
        "deployment.lock_seconds=0",
    )


def no_ssh(section: SshTargetSection) -> HostLink:
    """For tests that deploy to no host behind SSH."""
    raise AssertionError(section)


def no_candles() -> pd.DataFrame:
    """For tests that deploy to no target on this machine that needs them."""
    raise AssertionError("the target has candles of its own")


_RUNTIME = """
import datetime, json, os, sys
folder = sys.argv[1]
say = json.load(open(os.path.join(folder, "runtime_says.json")))
current = {s: os.path.basename(os.readlink(os.path.join(folder, "current", s))) for s in sorted(os.listdir(os.path.join(folder, "current")))
           if not s.startswith(".")}
with open(os.path.join(folder, "restarts"), "a") as restarts:
    restarts.write(json.dumps(current, sort_keys=True) + "\\n")
answer = say["by_release"].get(next((h for h in current.values() if h in say["by_release"]), ""), say["always"])
if answer.get("fails"):
    sys.exit("the service manager says no")
now = datetime.datetime.now(datetime.timezone.utc).isoformat()
def of(release):
    seen = {"bundle": answer.get("names", release), "shadow": None, "last_bar_at": None, "bar_age_seconds": 30.0, "bars": 5,
            "predictions": 5, "signals": 0, "refusals": {}, "last_refusal": None,
            "classes": {"DOWN": 2, "NEUTRAL": 1, "UP": 2}, "over_99": 0, "non_finite": 0, "errors": 0, "last_error": None,
            "filled_minutes": 0, "latency_ms": {"median": None, "p99": None}, "live": None, "shadow_difference": None}
    return {**seen, **say["by_release"].get(release, say["always"]).get("figures", {})}
health = {"runtime_version": "0", "mode": answer.get("mode", "replay"), "pid": os.getpid(), "started_at": now, "written_at": now,
          "ready": answer.get("ready", True), "last_error": None, "symbols": {s: of(h) for s, h in current.items()}}
def write(name, health):
    with open(os.path.join(folder, "health.partial"), "w") as fresh:
        json.dump(health, fresh)
    os.rename(os.path.join(folder, "health.partial"), os.path.join(folder, name))
if "then" in answer:
    write("health.then", {**health, **answer["then"]})
if not answer.get("silent"):
    write("health.json", health)
"""


@dataclass
class TestHost:
    """A host folder and what is asked of it.

    Attributes:
        folder: the host folder.
        candles: its newest candles, of every symbol.
        said: progress, sentence by sentence.
    """

    __test__ = False

    folder: Path
    candles: pd.DataFrame = field(default_factory=walk_candles)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "current").mkdir(parents=True)
        (self.folder / "runtime.py").write_text(_RUNTIME)
        self.runtime_says({})

    def runtime_says(self, always: Mapping[str, Any], **by_release: Mapping[str, Any]) -> None:
        """What the runtime does at a restart; what is said of one of its releases goes first.

        fails, silent, ready, mode, names (a hash); figures (of that release's symbol); then (what else the health says from
        the second look on, where it is asked with `asking`).
        """
        says = {"always": always, "by_release": by_release}
        (self.folder / "runtime_says.json").write_text(json.dumps(says))

    @property
    def host(self) -> Host:
        return Host(self.folder, lambda bundle, minutes: self.candles, self.said.append)

    @property
    def service(self) -> Service:
        command = (sys.executable, "-S", str(self.folder / "runtime.py"), str(self.folder))
        return Service(restart=command, restart_seconds=20, health=None, health_seconds=1)

    @property
    def asking(self) -> Service:
        """The service with a health command, which sees what the runtime reports next once it was asked."""
        look = 'cat "$0"/health.json; if [ -e "$0"/health.then ]; then mv "$0"/health.then "$0"/health.json; fi'
        return self.service.model_copy(update={"health": ("/bin/sh", "-c", look, str(self.folder))})

    def killed_in_its_restart(self, number: int) -> Service:
        """The service whose restart command, at its call of that number, kills who called it and restarts nothing."""
        calls = (
            'echo >> "$0"/calls; if [ $(wc -l < "$0"/calls) -eq "$1" ]; then kill -9 $PPID; exit; fi; shift; exec "$@"'
        )
        command = ("/bin/sh", "-c", calls, str(self.folder), str(number), *self.service.restart)
        return self.service.model_copy(update={"restart": command})

    @contextlib.contextmanager
    def runtime_lock(self) -> Iterator[None]:
        """Held as by a runtime that lives."""
        path = self.folder / LOCK_FILE
        path.parent.mkdir(exist_ok=True)
        with locked(path, within_seconds=0.0, otherwise="it is held"):
            yield

    def current(self, symbol: str = "BTC-USD") -> str | None:
        return Releases(self.folder).current(symbol)

    def restarts(self) -> list[dict[str, str]]:
        """What current/ linked to at each restart."""
        try:
            return [json.loads(line) for line in (self.folder / "restarts").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def activation(self, bundles: Mapping[str, Path], *, watch: WatchSection = WATCH, **changed: Any) -> Activation:
        """The order for these bundles, which are uploaded by it."""
        token = f"order-{secrets.token_hex(4)}"
        for symbol, bundle in bundles.items():
            shutil.copytree(bundle, self.folder / "incoming" / token / symbol)
        given = {
            "token": token,
            "who": "tester@here",
            "moves": tuple(
                Move(symbol=symbol, bundle=bundle.name, before=self.current(symbol))
                for symbol, bundle in bundles.items()
            ),
            "service": self.service,
            "lock_seconds": 0.0,
            "watch": watch,
            "keep_releases": 3,
        }
        return Activation.model_validate(given | changed)

    def deploy(self, bundles: Mapping[str, Path], **chosen: Any) -> Outcome:
        return self.carry_out(self.activation(bundles, **chosen))

    def carry_out(self, order: Activation | Return) -> Outcome:
        with self.host.alone(within_seconds=0.0):
            settle(self.host)
            return activate(self.host, order) if isinstance(order, Activation) else put_back(self.host, order)

    def settle(self) -> Outcome | None:
        with self.host.alone(within_seconds=0.0):
            return settle(self.host)


def host_target(folder: Path, **watch: Any) -> HostTarget:
    """A host on this machine whose runtime is the stand-in; no rehearsal unless `watch` asks for one."""
    host = TestHost(folder)
    section = LocalTargetSection(
        kind="local", folder=folder, restart=host.service.restart, health_timeout_seconds=host.service.health_seconds
    )
    rules = DeploymentSection(lock_seconds=0.0, watch=WATCH.model_copy(update=watch))
    return HostTarget("host", section, rules, LocalLink, "tester@here", host.said.append)
