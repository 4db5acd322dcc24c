"""A trading host on this machine: a real sshd, a real supervisord, and under it the real runtime on a quick exchange.

What does not belong here: the deployer's side (desk.py).
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import yaml

from models_lib.bundle import verify_hashes
from models_lib.config.targets import SshTargetSection
from models_lib.holds import held_symbols
from models_lib.host.messages import Outcome
from models_lib.host.releases import Releases
from models_lib.locks import locked
from models_lib.runtime.health import Health, read_health
from tests.deployment.exchange import Exchange
from tests.deployment.supervisor import Supervisor
from tests.sshd import Sshd

PATIENCE_SECONDS = 40.0
"""Of two busy cores."""
_EVERY_AGE = 1e9
"""The exchange's bars are of another year."""
_SERVICE = """#!/bin/sh
# The service. It does not come up with a release that is named in the file "refused".
for release in $(cat {refused}); do
    readlink {folder}/current/* | grep -q "$release" && exit 1
done
exec {python} -m flows.runtime_cli --folder {folder} --mode live
"""


def until(met: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Returns when it is met."""
    deadline, pause = time.monotonic() + seconds, Event()
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        pause.wait(0.02)


class TradingHost:
    """What stands on the host, and what it says.

    Attributes:
        folder: the host folder.
        sshd: the way in.

    Args:
        scratch: for everything of the host; short.
        sshd: serves already.
        exchange: the same.
    """

    def __init__(self, scratch: Path, sshd: Sshd, exchange: Exchange) -> None:
        self.folder = sshd.folder / "runtime"
        self.sshd = sshd
        self._exchange = exchange
        self._refused, service = scratch / "refused", scratch / "service.sh"
        self._refused.touch()
        names = {"refused": self._refused, "folder": self.folder, "python": sys.executable}
        service.write_text(_SERVICE.format(**{name: shlex.quote(str(path)) for name, path in names.items()}))
        self.supervisor = Supervisor(scratch, ("/bin/sh", str(service)))

    def section(self, **changes: Any) -> SshTargetSection:
        """The target as a configuration names it."""
        values = {
            "folder": self.folder,
            "runtime_command": (sys.executable, "-m", "flows.runtime_cli"),
            "restart": self.supervisor.restart,
            "health_timeout_seconds": PATIENCE_SECONDS,
            "command_timeout_seconds": PATIENCE_SECONDS,
        }
        return self.sshd.section(**(values | changes))

    def stand(self, releases: Mapping[str, Path]) -> None:
        """Makes sure that exactly these releases are served, and that nothing is left of what was before."""
        self.refuse()
        with self.at_rest():
            if self._is_as_new(releases):
                return
            self.supervisor.stop()
            self._make(releases)
        self.supervisor.start()
        names = {symbol: bundle.name for symbol, bundle in releases.items()}
        until(lambda: self.serves(names), f"the runtime serves {names}: {self.health()}")

    def refuse(self, *releases: str) -> None:
        """From now on the service does not come up with these."""
        self._refused.write_text("\n".join(releases))

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """The host's own lock: no order is under way."""
        self.folder.mkdir(exist_ok=True)
        with locked(self.folder / "lock", within_seconds=PATIENCE_SECONDS, otherwise="an order is still under way"):
            yield

    def health(self) -> Health | None:
        return read_health(self.folder)

    def served(self) -> Health:
        """The health of a runtime that has some."""
        health = self.health()
        assert health is not None
        return health

    def serves(self, releases: Mapping[str, str]) -> bool:
        """Whether a runtime that lives and is ready names exactly these."""
        health = self.health()
        if health is None or not health.ready or health.ended_at is not None:
            return False
        return {symbol: served.bundle for symbol, served in health.symbols.items()} == dict(releases)

    def speaks_with(self, releases: Mapping[str, str]) -> None:
        """The runtime serves exactly these releases, which are complete, and says new signals of theirs."""
        assert Releases(self.folder).all_current() == dict(releases)
        for symbol, release in releases.items():
            assert verify_hashes(self.folder / "current" / symbol, expected_hash=release) == release
        assert not (self.folder / "journal.json").exists()
        until(lambda: self.serves(releases), f"the runtime serves {releases}: {self.health()}")
        before, said = self.served(), len(self.signals())
        for symbol in releases:
            until(lambda symbol=symbol: self._has_decided_since(before, symbol), f"{symbol}: bars go on")
        silent = held_symbols(self.folder)
        for symbol in set(releases) - set(silent):
            until(
                lambda symbol=symbol: (symbol, releases[symbol]) in self.signals()[said:], f"{symbol}: a signal of it"
            )
        new = self.signals()[said:]
        assert all(releases[symbol] == release for symbol, release in new), "no other release speaks"
        assert not {symbol for symbol, _ in new} & set(silent), "who is on hold says nothing"

    def signals(self) -> list[tuple[str, str]]:
        """Symbol and release of every signal that was said."""
        try:
            lines = (self.folder / "signals.jsonl").read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        said = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [(line["symbol"], line["bundle"]) for line in said]

    def outcomes(self) -> list[Outcome]:
        """The host's own record."""
        lines = (self.folder / "deployments.jsonl").read_bytes().splitlines()
        return [Outcome.model_validate_json(line) for line in lines]

    def kill_order(self) -> bool:
        """Ends the process of the order under way with -9; whether there was one."""
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if words[0] == sys.executable and words[-2] == "order" and str(self.folder) in words:
                    os.kill(int(entry.name), signal.SIGKILL)
                    return True
        return False

    def _has_decided_since(self, before: Health, symbol: str) -> bool:
        now = self.served()
        same_process = now.started_at == before.started_at
        return now.symbols[symbol].bars > (before.symbols[symbol].bars if same_process else 0)

    def _is_as_new(self, releases: Mapping[str, Path]) -> bool:
        names = {symbol: bundle.name for symbol, bundle in releases.items()}
        left = held_symbols(self.folder) or any((self.folder / name).exists() for name in ("journal.json", "incoming"))
        return not left and Releases(self.folder).all_current() == names and self.serves(names)

    def _make(self, releases: Mapping[str, Path]) -> None:
        for path in self.folder.iterdir():
            if path.name != "lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        settings = {
            "signals": {"min_confidence": 0.34},
            "runtime": {
                "source": "http",
                "url": self._exchange.url,
                "poll_seconds": 0.1,
                "stale_after_seconds": _EVERY_AGE,
            },
        }
        (self.folder / "runtime.yaml").write_text(yaml.safe_dump(settings))
        for symbol, bundle in releases.items():
            standing = Releases(self.folder)
            standing.adopt(symbol, bundle.name, lambda fresh, bundle=bundle: shutil.copytree(bundle, fresh))
            standing.switch(symbol, bundle.name)
        self._exchange.rewind()
