"""Child processes that are started again when they die, later and later; none of them outlives this process.

One thread, the main one, starts and ends children: the kernel ends a child when the *thread* that started it is gone.
Everything that happens comes to that thread as one queue of events, also signals.

What does not belong here: what the children are.
"""

import contextlib
import os
import queue
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TypeAlias

FIRST_DELAY_SECONDS = 1.0
_LONGEST_DELAY_SECONDS = 60.0
_SOUND_SECONDS = 120.0
"""A child that lived so long is started again without delay, whatever was before."""
_PATIENCE_SECONDS = 15.0
_LARGEST_LOG_BYTES = 10 * 2**20


@dataclass(frozen=True)
class Ended:
    """A child is gone."""

    name: str
    status: int


@dataclass(frozen=True)
class Stop:
    """Somebody asked for the end."""


@dataclass(frozen=True)
class Told:
    """A thread of ours has something to say."""

    word: str
    error: Exception | None = None


@dataclass(frozen=True)
class Due:
    """The time has come for a look at what says nothing by itself."""


Event: TypeAlias = Ended | Stop | Told | Due


@dataclass(frozen=True)
class ChildPlan:
    """How a child is started."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    descriptors: tuple[int, ...] = ()


@dataclass
class _Child:
    plan: ChildPlan
    process: "subprocess.Popen[bytes] | None" = None
    born: float = 0.0
    deaths: int = 0
    due: float | None = field(default=None)


class Children:
    """The children of this process."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._children: dict[str, _Child] = {}
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._looked_at = time.monotonic()

    def listen_to_signals(self) -> None:
        """SIGTERM and SIGINT become `Stop`; also where a shell started this process with SIGINT ignored."""

        def stop(_number: int, _frame: FrameType | None) -> None:
            self._events.put(Stop())

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)

    def tell(self, event: Event) -> None:
        """May be called by any thread."""
        self._events.put(event)

    def start(self, plan: ChildPlan) -> None:
        """Starts a child for the first time."""
        child = self._children[plan.name] = _Child(plan)
        self._start(child)

    def next_event(self, *, look_every: float) -> Event:
        """Waits for it; meanwhile children are started again when their time has come.

        Args:
            look_every: seconds between two `Due`; what else happens does not put them off.
        """
        while True:
            due = [child.due for child in self._children.values() if child.due is not None]
            look_at = self._looked_at + look_every
            try:
                return self._events.get(timeout=max(0.0, min([*due, look_at]) - time.monotonic()))
            except queue.Empty:
                self._start_what_is_due()
            if time.monotonic() >= look_at:
                self._looked_at = time.monotonic()
                return Due()

    def start_again_later(self, name: str) -> float:
        """Plans another start of a child that ended; returns in how many seconds."""
        child = self._children[name]
        now = time.monotonic()
        child.deaths = 1 if now - child.born > _SOUND_SECONDS else child.deaths + 1
        delay = min(FIRST_DELAY_SECONDS * 2.0 ** min(child.deaths - 1, 10), _LONGEST_DELAY_SECONDS)
        child.due = now + delay
        return delay

    def bury_adopted(self) -> None:
        """Waits for adopted processes that have ended; the others are looked after by threads of their own."""
        for pid in self._adopted():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def grandchildren(self, *names: str) -> set[int]:
        """Process ids of what the named children started, and of what children that died left alive."""
        pids = [pid for name in names if (pid := self._pid(name))]
        return self._adopted().union(*(children_of(pid) for pid in pids))

    def _adopted(self) -> set[int]:
        return children_of(os.getpid()) - {child.process.pid for child in self._children.values() if child.process}

    def _pid(self, name: str) -> int | None:
        child = self._children.get(name)
        return child.process.pid if child and child.process and child.process.poll() is None else None

    def kill(self, name: str) -> None:
        """SIGKILL to a child that is alive; its end is told as any other."""
        child = self._children.get(name)
        if child and child.process:
            child.process.kill()

    def works(self, name: str) -> bool:
        """Whether the child was started; one that is about to be started again counts."""
        return name in self._children

    def deaths(self, name: str) -> int:
        """How often in a row a child died young."""
        return self._children[name].deaths

    def end(self, *names: str) -> None:
        """Ends children, together, and waits for them; a second signal to this process kills them at once."""
        ending = [child for name in names if (child := self._children.pop(name, None)) and child.process]
        processes = [child.process for child in ending if child.process]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            try:
                event = self._events.get(timeout=deadline - time.monotonic())
            except queue.Empty:
                break
            if isinstance(event, Stop):
                break
        for process in processes:
            process.kill()
            process.wait()

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.due is not None and child.due <= now:
                self._start(child)

    def _start(self, child: _Child) -> None:
        child.due = None
        child.born = time.monotonic()
        plan = child.plan
        plan.log.parent.mkdir(parents=True, exist_ok=True)
        if plan.log.exists() and plan.log.stat().st_size > _LARGEST_LOG_BYTES:
            plan.log.replace(plan.log.with_suffix(".old.log"))
        with plan.log.open("ab") as stream:
            child.process = subprocess.Popen(  # noqa: S603  our own interpreter and modules
                [*plan.command, "--parent", str(os.getpid())],
                env=dict(plan.environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                pass_fds=plan.descriptors,
                start_new_session=True,  # Ctrl-C in a terminal reaches this process only, which ends them in order
            )
        threading.Thread(target=self._wait_for, args=(plan.name, child.process), daemon=True).start()

    def _wait_for(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        self._events.put(Ended(name, process.wait()))


def end_processes(pids: set[int], *, seconds: float) -> None:
    """SIGTERM to each, and SIGKILL to what is not gone in time; they need not be children of this process."""
    opened: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            opened[os.pidfd_open(pid)] = pid
    for descriptor in opened:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    alive = set(opened)
    while alive and (rest := deadline - time.monotonic()) > 0:
        alive -= set(select.select(list(alive), [], [], rest)[0])
    for descriptor in opened:
        if descriptor in alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


def how_it_ended(status: int) -> str:
    """In words."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def children_of(pid: int) -> set[int]:
    """Process ids of a process' children; empty where the system does not tell (it is not Linux)."""
    found: set[int] = set()
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found.update(int(word) for word in listed.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
