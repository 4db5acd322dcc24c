"""A `DeploymentTarget` that is a trading host: the host does the whole transaction, this side plans, brings and asks.

The steps of a deployment, each of which may be repeated:

    ask      version, bundle schema, free space, what is current; what a killed order left is settled by this already
    bring    each bundle to incoming/<token>/<SYMBOL>
    order    `crpbot-runtime host order`: verify, load, rehearse, switch, restart, health, watch (models_lib.host)
    answer   what each symbol came to. A link that breaks meanwhile ends nothing on the host: it is asked again by token

What does not belong here: promotion (models_lib.steps.release) and how the host is reached (host_link.py).
"""

import json
import logging
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from models_lib.bundle.layout import MANIFEST_FILE
from models_lib.bundle.parsing import parse_json
from models_lib.config import DeploymentSection
from models_lib.config.targets import LocalTargetSection, SshTargetSection
from models_lib.deployment.host_link import NOT_FOUND, Answer, HostLink
from models_lib.deployment.look import Look, look_at_folder
from models_lib.deployment.release import Release
from models_lib.errors import BusyError, DeployError, RolledBackError, TransientError, UnhealthyError
from models_lib.host.messages import (
    BUSY,
    PROTOCOL_VERSION,
    Activation,
    Fate,
    HostState,
    Move,
    Outcome,
    Return,
    Service,
)

_log = logging.getLogger(__name__)

_ROOM_BYTES = 50_000_000
"""Left free on the host beside what is brought: for logs, state and the next health file."""
_STEPS_SECONDS = 120.0
"""Of one symbol: adopting, loading and rehearsing take seconds; a slow host has this long."""
_ASKED_AGAIN = 3
"""Times that a host is asked what became of an order whose link broke."""
_BY_A_SIGNAL = 128
"""Shells add it to the number of the signal that ended a command; links know such an end by a negative status."""
_TOLD_BYTES = 600
_REPLAY = ("--mode", "replay", "--newest-minutes", "480", "--again")
"""How a host without a service manager runs its releases: the newest hours, bar by bar, once."""
PartT = TypeVar("PartT", bound=BaseModel)


@dataclass(frozen=True)
class HostTarget:
    """A `DeploymentTarget` over a host.

    Attributes:
        name: as in the configuration.
        section: where it is and how its runtime is restarted.
        rules: what holds for every target: releases kept, watch, lock.
        open_link: a new way to the host.
        who: for the host's record.
        say: takes progress, sentence by sentence.
    """

    name: str
    section: SshTargetSection | LocalTargetSection
    rules: DeploymentSection
    open_link: Callable[[], HostLink]
    who: str
    say: Callable[[str], None]

    def current(self, symbol: str) -> str | None:
        """The hash of the host's current release, after an order that is under way came to its end."""
        return self.state().current.get(symbol)

    def look(self) -> Look:
        """What is there now: no order under way is waited for, and none that was killed is undone."""
        if isinstance(self.section, LocalTargetSection):
            return look_at_folder(Path(self._folder()))
        with self.open_link() as link:
            state = self._parsed(HostState, "state", self._run(link, ("look",)))
        return Look(state.current, {hold.symbol: hold for hold in state.holds}, state.health)

    def deploy(self, release: Release) -> str:
        """Brings the bundle, has it verified, rehearsed, switched to and watched.

        Raises:
            RolledBackError: it was switched to, and the host runs the earlier release again.
            UnhealthyError: the host does not answer for what it runs now.
            DeployError: refused; nothing was moved. Its `hold_reason`, as of the others, says that the symbol is on hold.
            TransientError: the host does not answer now, or another deployment is at work.
        """
        error = self.deploy_all([release])[release.symbol]
        if error is not None:
            raise error
        return release.bundle.name

    def deploy_all(self, releases: Sequence[Release]) -> dict[str, DeployError | None]:
        """As `deploy`, with one restart for all; symbol -> why it is not deployed, None when it is.

        Raises:
            DeployError, TransientError: nothing was moved for any of them; or, where the message says so, the host does not
                tell what it did.
        """
        outcome = self.order(releases)
        return {release.symbol: failure_of(outcome.of(release.symbol), self.name) for release in releases}

    def put_back(self, symbol: str, bundle_hash: str | None) -> None:
        """Makes the release current again that the host still has; None leaves the symbol without one."""
        with self.open_link() as link:
            state = self._ask(link)
            move = Move(symbol=symbol, bundle=bundle_hash, before=state.current.get(symbol))
            order = Return(
                token=_token(), who=self.who, moves=(move,), service=self._service(), lock_seconds=self.rules.lock_seconds,
                why="put back by the deployer",
            )  # fmt: skip
            outcome = self._carried_out(link, order)
        error = failure_of(outcome.of(symbol), self.name)
        if error is not None:
            raise error

    def order(self, releases: Sequence[Release]) -> Outcome:
        """What the host made of an activation of these releases, in its own words; raises as `deploy_all`."""
        bundles = {release.symbol: release.bundle for release in releases}
        token = _token()
        with self.open_link() as link:
            state = self._ask(link)
            self._check_schema(state, bundles)
            self._bring(link, state, token, bundles)
            order = Activation(
                token=token,
                who=self.who,
                moves=tuple(
                    Move(
                        symbol=release.symbol,
                        bundle=release.bundle.name,
                        before=state.current.get(release.symbol),
                        judged_at=release.judged_at,
                    )
                    for release in releases
                ),
                service=self._service(),
                lock_seconds=self.rules.lock_seconds,
                watch=self.rules.watch,
                keep_releases=self.rules.keep_releases,
            )
            return self._carried_out(link, order)

    def state(self) -> HostState:
        """What the host is and runs.

        Raises:
            DeployError: it has no runtime, or one that this deployer does not understand.
            TransientError: it does not answer now, or a deployment is at work.
        """
        with self.open_link() as link:
            return self._ask(link)

    def shadow(self, symbol: str, bundle: Path | None) -> str:
        """Has a bundle run beside the current release without speaking, from the next bar on; None ends that.

        Returns:
            The host's sentence.

        Raises:
            DeployError, TransientError: the earlier shadow stays.
        """
        with self.open_link() as link:
            named: tuple[str, ...] = ()
            if bundle is not None:
                token, bundles = _token(), {symbol: bundle}
                state = self._ask(link)
                self._check_schema(state, bundles)
                self._bring(link, state, token, bundles)
                named = (bundle.name, "--token", token)
            answer = self._run(link, ("shadow", symbol, *named, "--lock-seconds", f"{self.rules.lock_seconds:g}"))
        return _last_sentence(answer)

    def hold(self, symbol: str, *, reason: str) -> str:
        """Silences the symbol on the host, from the next bar on; the host's sentence. Empty where nothing runs yet."""
        return "" if self._is_nowhere() else self._told("hold", symbol, reason)

    def release_hold(self, symbol: str) -> str:
        """Ends the symbol's hold on the host; the host's sentence. Empty where nothing runs yet."""
        return "" if self._is_nowhere() else self._told("release-hold", symbol, "")

    def _is_nowhere(self) -> bool:
        """Whether this is a folder of this machine that no deployment has made yet."""
        return isinstance(self.section, LocalTargetSection) and not Path(self._folder()).exists()

    def _told(self, command: str, symbol: str, reason: str) -> str:
        with self.open_link() as link:
            answer = self._run(link, (command, symbol, "--who", self.who), input_=reason.encode())
        return _last_sentence(answer)

    def _ask(self, link: HostLink, *, about: str | None = None, patience: float | None = None) -> HostState:
        seconds = self.rules.lock_seconds if patience is None else patience
        asked = ("--token", about) if about else ()
        answer = self._run(
            link, ("state", "--lock-seconds", f"{seconds:g}", *asked), seconds=seconds + self._restarts(3)
        )  # undoing what a killed order left is a restart, more time for it to get healthy, and another restart
        return self._parsed(HostState, "state", answer)

    def _bring(self, link: HostLink, state: HostState, token: str, bundles: Mapping[str, Path]) -> None:
        """Also what the host has already: its copy may be damaged, and a bundle is small."""
        needed = sum(path.stat().st_size for bundle in bundles.values() for path in bundle.rglob("*") if path.is_file())
        if state.free_bytes < 2 * needed + _ROOM_BYTES:  # once as it comes, once as the release
            raise DeployError(
                f"{self._where()}: {state.free_bytes / 1e6:,.0f} MB are free and {(2 * needed + _ROOM_BYTES) / 1e6:,.0f} MB are "
                f"needed. Nothing was brought. Make room there, or lower deployment.keep_releases."
            )
        folder = PurePosixPath(self._folder()) / "incoming" / token
        for symbol, bundle in bundles.items():
            self.say(f"{symbol}: bringing release {bundle.name[:12]} to {self._where()}")
            link.send(bundle, folder / symbol, timeout_seconds=self.section.transfer_timeout_seconds)

    def _carried_out(self, link: HostLink, order: Activation | Return) -> Outcome:
        try:
            answer = self._run(
                link,
                ("order",),
                input_=order.model_dump_json().encode(),
                seconds=self._patience(order),
                on_line=self._hear,
            )
        except BusyError:
            raise
        except TransientError as error:
            return self._asked_again(order, error)
        return self._parsed(Outcome, "outcome", answer)

    def _asked_again(self, order: Activation | Return, error: TransientError) -> Outcome:
        """What became of an order after the link broke: the host goes on without it. Or after it was killed: that settles it."""
        self.say(f"no answer of {self._where()} ({error}); asking what became of the deployment")
        for attempt in range(_ASKED_AGAIN):
            try:
                with self.open_link() as fresh:
                    asked = self._ask(fresh, about=order.token, patience=self._patience(order)).asked
            except TransientError as second:
                _log.info("asked %s again, attempt %d: %s", self.name, attempt + 1, second)
                continue
            if asked is None:
                raise TransientError(f"{error} Nothing was moved there.") from error
            return asked
        raise TransientError(
            f"{error} It does not tell what became of the deployment either. It goes on or undoes it by itself; "
            f"`crpbot status` tells as soon as it answers."
        ) from error

    def _run(
        self,
        link: HostLink,
        arguments: Sequence[str],
        *,
        input_: bytes = b"",
        seconds: float = 0.0,
        on_line: Callable[[bytes], None] | None = None,
    ) -> Answer:
        command = (*self._runtime(), "host", "--folder", str(self._folder()), *arguments)
        answer = link.run(command, input=input_, timeout_seconds=_STEPS_SECONDS + seconds, on_line=on_line)
        said = answer.stderr[-_TOLD_BYTES:].decode(errors="replace").strip()
        if answer.status == BUSY:
            raise BusyError(f"{self._where()}: {said}")
        if answer.status == NOT_FOUND:
            raise DeployError(f"{self._where()}: there is no {command[0]} ({said}). {self._upgrade()}")
        if answer.status < 0 or answer.status > _BY_A_SIGNAL:
            raise TransientError(f"{self._where()}: `{command[0]} host {arguments[0]}` was killed there. Try again.")
        if answer.status != 0:
            raise DeployError(
                f"{self._where()}: {' '.join(command[:1])} host {arguments[0]} says: {said or answer.status}"
            )
        return answer

    def _parsed(self, part: type[PartT], key: str, answer: Answer) -> PartT:
        for line in reversed(_lines(answer.stdout)):
            if key in line:
                try:
                    return part.model_validate(line[key])
                except ValidationError as error:
                    raise self._other_version(f"its answer is not understood ({error.error_count()} faults)") from error
        raise self._other_version("it did not answer")

    def _check_schema(self, state: HostState, bundles: Mapping[str, Path]) -> None:
        if state.protocol_version != PROTOCOL_VERSION:
            raise self._other_version(f"version {state.runtime_version} speaks protocol {state.protocol_version}")
        for symbol, bundle in bundles.items():
            if not bundle.is_dir():
                raise DeployError(f"{symbol}: {bundle} is no bundle folder. Restore the store from a backup.")
            schema = parse_json((bundle / MANIFEST_FILE).read_bytes(), name=MANIFEST_FILE).get("schema_version")
            if schema not in state.schema_versions:
                raise self._other_version(
                    f"version {state.runtime_version} reads bundles of schema {', '.join(map(str, state.schema_versions))}, and "
                    f"the one of {symbol} is of {schema}"
                )

    def _other_version(self, fact: str) -> DeployError:
        return DeployError(f"{self._where()}: {fact}. {self._upgrade()}")

    def _upgrade(self) -> str:
        match self.section:
            case SshTargetSection(upgrade_hint=hint):
                return f"Remedy: {hint}."
            case _:
                return "Set this installation up again with `make install`."

    def _service(self) -> Service:
        section = self.section
        return Service(
            restart=section.restart or (*self._runtime(), *_REPLAY, "--folder", str(self._folder())),
            restart_seconds=section.command_timeout_seconds,
            health=section.health_command,
            health_seconds=section.health_timeout_seconds,
        )

    def _patience(self, order: Activation | Return) -> float:
        """In the worst case one symbol after the other goes back, and the others are watched anew each time."""
        moves = len(order.moves)
        watches = moves * 60.0 * order.watch.minutes if isinstance(order, Activation) else 0.0
        return self.rules.lock_seconds + self._restarts(1 + moves) + watches + _STEPS_SECONDS * moves

    def _restarts(self, number: int) -> float:
        """The longest time that so many restarts take."""
        return number * (self.section.command_timeout_seconds + self.section.health_timeout_seconds)

    def _hear(self, line: bytes) -> None:
        for said in _lines(line):
            if "progress" in said:
                self.say(str(said["progress"]))

    def _where(self) -> str:
        return f"target {self.name}"

    def _folder(self) -> Path | PurePosixPath:
        assert self.section.folder is not None, "a local target got its folder when it was opened"
        return self.section.folder

    def _runtime(self) -> tuple[str, ...]:
        return self.section.runtime_command or (sys.executable, "-m", "flows.runtime_cli")


def failure_of(fate: Fate, target: str) -> DeployError | None:
    """Why the symbol does not run its new release; None when it does."""
    runs = f"release {fate.release[:12]}" if fate.release else "no release"
    reason = fate.reason.rstrip(".")  # it may be a whole sentence
    error: DeployError
    match fate.outcome:
        case "deployed":
            return None
        case "refused":
            error = DeployError(f"{fate.symbol}: target {target} refuses it and still runs {runs}: {reason}.")
        case "rolled_back":
            error = RolledBackError(f"{fate.symbol}: target {target} went back and runs {runs} again: {reason}.")
        case "unhealthy":
            error = UnhealthyError(
                f"{fate.symbol}: target {target} DOES NOT ANSWER for what it runs (current is {runs}): {reason}. "
                f"Look at the host now."
            )
    error.hold_reason = fate.reason if fate.on_hold else None
    return error


def _last_sentence(answer: Answer) -> str:
    sentences = [str(line["progress"]) for line in _lines(answer.stdout) if "progress" in line]
    return sentences[-1] if sentences else ""


def _token() -> str:
    """Names one attempt; sorts by time on the host."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def _lines(stdout: bytes) -> list[dict[str, Any]]:
    """The host's JSON lines; what is none of them is left out."""
    said = []
    for line in stdout.splitlines():
        try:
            said.append(json.loads(line))
        except ValueError:
            _log.debug("the host also said %r", line)
    return [line for line in said if isinstance(line, dict)]
