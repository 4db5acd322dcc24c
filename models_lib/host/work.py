"""A host folder, and one order under way on it.

What does not belong here: the order of the steps (admission.py, transaction.py).
"""

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from models_lib.holds import BY_THE_SYSTEM, held, place_hold
from models_lib.host.journal import HostJournal
from models_lib.host.messages import Fate, FateName, Move, Order, Outcome
from models_lib.host.releases import Releases
from models_lib.host.service import RuntimeService
from models_lib.locks import locked

_log = logging.getLogger(__name__)
_LONGEST_REASON = 500

Say = Callable[[str], None]
if TYPE_CHECKING:  # a return must not wait for pandas
    import pandas as pd

    from models_lib.bundle import Bundle

NewestCandles = Callable[["Bundle", int], "pd.DataFrame"]
"""At most so many of the newest candles of a bundle's symbol, checked, and filled as they are for serving that bundle; from
the runtime's own source."""


@dataclass(frozen=True)
class Host:
    """A host folder and what its transactions need.

    Attributes:
        folder: absolute.
        newest_candles: for the rehearsal.
        say: takes progress, sentence by sentence.
    """

    folder: Path
    newest_candles: NewestCandles
    say: Say

    @property
    def releases(self) -> Releases:
        """The releases of the folder."""
        return Releases(self.folder)

    @property
    def journal(self) -> HostJournal:
        """The journal of the folder."""
        return HostJournal(self.folder)

    def incoming(self, token: str, symbol: str) -> Path:
        """Where the deployer put the symbol's bundle."""
        return self.folder / "incoming" / token / symbol

    @property
    def shadows(self) -> Releases:
        """The links to releases that run beside the current ones without speaking."""
        return Releases(self.folder, links="shadow")

    def adopt(self, token: str, symbol: str, bundle: str) -> None:
        """Makes a release of what the deployer brought; raises as `Releases.adopt`."""
        self.releases.adopt(symbol, bundle, partial(shutil.copytree, self.incoming(token, symbol), symlinks=True))

    @contextlib.contextmanager
    def alone(self, *, within_seconds: float) -> Iterator[None]:
        """Holds the folder's lock, which dies with its holder.

        Raises:
            BusyError: another deployment holds it for longer.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        otherwise = (
            f"{self.folder}: another deployment is at work on this host (waited {within_seconds:g} s). Try again later."
        )
        with locked(self.folder / "lock", within_seconds=within_seconds, otherwise=otherwise):
            yield


@dataclass
class Work:
    """One order under way.

    Attributes:
        host: where.
        order: what was asked for.
        service: the host's runtime.
        fates: symbol -> what it came to, as soon as that is known.
        notes: symbol -> what was measured.
        seconds: duration of each step.
    """

    host: Host
    order: Order
    service: RuntimeService
    fates: dict[str, Fate] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def on(cls, host: Host, order: Order) -> "Work":
        """The work of an order, none of it done."""
        return cls(host, order, RuntimeService(host.folder, order.service))

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times the body; a step that is done for each symbol adds up."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - began, 3)

    def note(self, move: Move, sentence: str) -> None:
        """Keeps what was measured, and says it."""
        self.notes.setdefault(move.symbol, []).append(sentence)
        self.host.say(f"{move.symbol}: {sentence}")

    def decide(self, move: Move, outcome: FateName, reason: str = "") -> None:
        """Settles the symbol."""
        self.fates[move.symbol] = Fate(
            symbol=move.symbol,
            outcome=outcome,
            release=self.host.releases.current(move.symbol),
            reason=reason,
            on_hold=held(self.host.folder, move.symbol) is not None,
            notes=tuple(self.notes.get(move.symbol, ())),
        )
        self.host.say(f"{move.symbol}: {outcome.replace('_', ' ')}{f', {reason}' if reason else ''}")

    def recorded(self) -> Outcome:
        """What the order came to, written into the host's record."""
        outcome = Outcome(
            token=self.order.token,
            at=datetime.now(UTC),
            who=self.order.who,
            fates=tuple(self.fates[move.symbol] for move in self.order.moves),
            seconds=self.seconds,
        )
        self.host.journal.record(outcome)
        return outcome

    def hold(self, move: Move, reason: str) -> None:
        """Puts the symbol on hold, whose model broke a limit: it is silent from its next bar on, whatever happens here."""
        sentence = f"release {(move.bundle or 'none')[:12]}: {reason}"[:_LONGEST_REASON]
        try:
            place_hold(self.host.folder, move.symbol, placed_by=BY_THE_SYSTEM, reason=sentence, now=datetime.now(UTC))
        except OSError:
            _log.exception("%s could not be put on hold", move.symbol)
            self.note(move, "the hold could not be written: place it by hand")
