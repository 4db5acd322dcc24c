"""Activation and return: whole, or as it was before.

All symbols that are switched share one restart. When the runtime then does not come up with them, all of them go back;
when one breaks a limit of the watch, that one is put on hold and goes back, and the others are watched anew.

Whoever calls holds the folder's lock (`Host.alone`), and has settled what a killed order left (`settle`).

What does not belong here: which bundles may be switched to (admission.py), and the lines that are printed
(command_line.py).
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from models_lib.errors import DeployError
from models_lib.holds import held
from models_lib.host.admission import admitted, changed_meanwhile
from models_lib.host.first_bars import Fault, watch_first_bars
from models_lib.host.messages import Activation, Move, Order, Outcome, Return
from models_lib.host.work import Host, Work

_UPLOAD_SECONDS = 86_400.0
"""A day: no upload that an order may still come for is so old."""
_LEAST_FREE_BYTES = 5_000_000
"""A restarted runtime opens its state and its log anew. The one that runs survives a full disk; its successor would not."""
Wanted = dict[str, str | None]
"""Symbol -> what shall be current; None: nothing."""


def activate(host: Host, order: Activation) -> Outcome:
    """Puts the uploaded bundles to use; what each symbol came to.

    Start state: whatever an earlier order left, settled. End state: each symbol runs its new release, or the one of
    before; nothing of the upload is left; the outcome is in deployments.jsonl.
    """
    work = Work.on(host, order)
    _sweep(host)
    try:
        moves = _with_room(work, admitted(work, order))
        if not moves or _runs_already(work, moves):
            return _finished(work, order, moves)
        with _journaled(host, order):
            return _finished(work, order, _watched(work, order, moves) if _moved(work, moves) else [])
    finally:
        shutil.rmtree(host.folder / "incoming" / order.token, ignore_errors=True)


def _finished(work: Work, order: Activation, moves: Sequence[Move]) -> Outcome:
    """The outcome, in which these moves are deployed; it is recorded before the journal goes, or nobody could know it."""
    for move in moves:
        work.decide(move, "deployed")
        if move.bundle != move.before:  # a repeated one does not know which release is the previous one
            kept = {move.bundle, move.before, work.host.shadows.current(move.symbol)}
            work.host.releases.forget_old(move.symbol, kept, at_least=order.keep_releases)
    return work.recorded()


def put_back(host: Host, order: Return) -> Outcome:
    """Makes earlier releases current again and restarts the runtime; what each symbol came to.

    Only hashes are verified: these releases were loaded and watched when they came.
    """
    work = Work.on(host, order)
    damaged = _damaged(work, {move.symbol: move.bundle for move in order.moves})
    moves = []
    for move in order.moves:
        if move.bundle is not None and move.symbol in damaged:
            work.decide(move, "refused", f"release {move.bundle[:12]} is not there any more, or is damaged")
        elif host.releases.current(move.symbol) not in (move.before, move.bundle):
            work.decide(move, "refused", changed_meanwhile(host, move))
        else:
            moves.append(move)
    if not moves or _runs_already(work, moves):
        return _returned(work, moves)
    with _journaled(host, order):
        return _returned(work, moves if _moved(work, moves) else [])


def _returned(work: Work, moves: Sequence[Move]) -> Outcome:
    for move in moves:
        work.decide(move, "deployed")
    return work.recorded()


def settle(host: Host) -> Outcome | None:
    """Undoes what a killed order left half done; None when there is nothing.

    Raises:
        RecordError: its journal cannot be read.
    """
    # Also when the links are right already, the runtime is restarted: the kill may have come between the two.
    order = _left(host)
    return _undone(host, order, _restored_at_last, by="") if order is not None else None


def _with_room(work: Work, moves: list[Move]) -> list[Move]:
    """The moves, when the host has room for a restart; without, each is refused."""
    free = shutil.disk_usage(work.host.folder).free
    if free >= _LEAST_FREE_BYTES:
        return moves
    shutil.rmtree(work.host.folder / "incoming" / work.order.token, ignore_errors=True)  # room for the record
    for move in moves:
        room = f"{free / 1e6:,.1f} MB are free on the host, and a restart needs {_LEAST_FREE_BYTES / 1e6:g} MB"
        work.decide(move, "refused", f"{room}. Make room there, then deploy again")
    return []


def _sweep(host: Host) -> None:
    """Removes what deployers uploaded that died before they gave an order; what cannot go harms nobody."""
    with contextlib.suppress(OSError):
        for upload in (host.folder / "incoming").iterdir():
            if time.time() - upload.stat().st_mtime > _UPLOAD_SECONDS:
                shutil.rmtree(upload, ignore_errors=True)


def undo_links(host: Host, loaded: Mapping[str, str | None] | None) -> Outcome | None:
    """As `settle`, by the runtime itself, which restarts nothing; None also when that needs a restart, and nothing is moved.

    Args:
        host: where.
        loaded: symbol -> what the runtime serves; None: nothing yet, and next it loads what the links lead to.

    Raises:
        RecordError: the journal cannot be read.
    """
    order = _left(host)
    if order is None:
        return None
    if loaded is not None and any(loaded.get(name) != bundle for name, bundle in _as_before(host, order).items()):
        return None
    return _undone(host, order, _linked, by="; the runtime undid it")


def _undone(host: Host, order: Activation | Return, put: Callable[[Work, Wanted], str | None], *, by: str) -> Outcome:
    """Undoes what a killed order left, with `put`, which answers what is wrong afterwards."""
    work = Work.on(host, order)
    before = _as_before(host, order)
    fault = put(work, before)
    for move in order.moves:
        if move.symbol not in before:
            work.decide(move, "refused", changed_meanwhile(host, move))
            continue
        hold = held(host.folder, move.symbol)  # by the watch of the killed order, or by a person
        also = f"{f'; and it is {hold.sentence()}' if hold else ''}{f'; and after going back {fault}' if fault else ''}"
        reason = f"{order.who} was killed during this deployment{by}{also}"
        work.decide(move, "unhealthy" if fault else "rolled_back", reason)
    outcome = work.recorded()
    host.journal.clear()
    return outcome


def _left(host: Host) -> Activation | Return | None:
    """The order that a killed process left half done; one whose outcome is recorded was done, only its journal was left."""
    order = host.journal.read()
    if order is not None and host.journal.outcome(order.token) is not None:
        host.journal.clear()
        return None
    return order


def _as_before(host: Host, order: Activation | Return) -> Wanted:
    """What shall be current after a killed order: the releases of before. A return is finished: what it left is unwanted.

    A symbol that runs neither of the two is somebody else's deployment, which the order had refused to overwrite.
    """
    return {
        move.symbol: move.bundle if isinstance(order, Return) else move.before
        for move in order.moves
        if host.releases.current(move.symbol) in (move.bundle, move.before)
    }


@contextlib.contextmanager
def _journaled(host: Host, order: Order) -> Iterator[None]:
    """Keeps the journal during the body; what raises leaves it there, for `settle`."""
    assert isinstance(order, Activation | Return), "an order is one of the two"
    host.journal.write(order)
    yield
    host.journal.clear()


def _runs_already(work: Work, moves: Sequence[Move]) -> bool:
    wanted = {move.symbol: move.bundle for move in moves}
    if any(work.host.releases.current(symbol) != bundle for symbol, bundle in wanted.items()):
        return False
    return work.service.missing_now(wanted) is None


def _moved(work: Work, moves: Sequence[Move]) -> bool:
    """Switch, restart, health; whether the runtime runs them all. If not, all went back."""
    fault = _put(work, {move.symbol: move.bundle for move in moves})
    if fault is None:
        return True
    with work.step("roll back"):
        second = _restored(work, {move.symbol: move.before for move in moves})
    for move in moves:
        _decide_return(work, move, fault, second)
    return False


def _watched(work: Work, order: Activation, moves: Sequence[Move]) -> list[Move]:
    """Follows the first bars; the moves that stay. What is at fault goes back, and the others are watched anew."""
    staying = list(moves)
    while staying:
        with work.step("watch"):
            faults = watch_first_bars(work, order.watch, staying)
        if not faults:
            break
        back = [move for move in staying if move.symbol in faults]
        staying = [move for move in staying if move.symbol not in faults]
        second = _gone_back(work, back, faults)
        if second:
            _decide_others(work, moves, back, second)
            return []
    return staying


def _decide_others(work: Work, moves: Sequence[Move], back: Sequence[Move], second: str) -> None:
    """The runtime that did not come up is that of all: also of those that went back before."""
    names = ", ".join(move.symbol for move in back)
    for move in moves:
        if move not in back:
            before = work.fates.get(move.symbol)
            work.decide(
                move, "unhealthy", f"{f'{before.reason}; and ' if before else ''}after {names} went back {second}"
            )


def _gone_back(work: Work, moves: Sequence[Move], faults: Mapping[str, Fault]) -> str | None:
    """Puts each model that is to blame on hold, then puts the releases of before back; what is wrong afterwards."""
    for move in moves:
        if faults[move.symbol].of_model:
            work.hold(move, faults[move.symbol].reason)  # first: whoever settles this after a kill must know it
    with work.step("roll back"):
        second = _restored(work, {move.symbol: move.before for move in moves})
    for move in moves:
        _decide_return(work, move, faults[move.symbol].reason, second)
    return second


def _restored(work: Work, releases: Wanted) -> str | None:
    """Makes these releases current and restarts the runtime; what is wrong afterwards, None when nothing is."""
    damaged = _damaged(work, releases)
    sentences = [f"{symbol}: release {bundle[:12]} is damaged" for symbol, bundle in damaged.items()]
    return _put(work, releases) or "; ".join(sentences) or None


def _damaged(work: Work, releases: Wanted) -> dict[str, str]:
    """Those whose files are not as they were written, or not there."""
    with work.step("verify"):
        return {
            symbol: bundle
            for symbol, bundle in releases.items()
            if bundle is not None and not work.host.releases.is_sound(symbol, bundle)
        }


def _restored_at_last(work: Work, releases: Wanted) -> str | None:
    """As `_restored`, where a killed order's own restart command may still be at work: the two can collide.

    Then that one may bring the runtime up, so its health is waited for, and only then the restart is tried once more.
    """
    if _restored(work, releases) is None:
        return None
    try:
        with work.step("health"):
            work.service.wait_for(releases)
    except DeployError:
        return _restored(work, releases)
    return None


def _linked(work: Work, releases: Wanted) -> None:
    """The links alone."""
    for symbol, bundle in releases.items():
        work.host.releases.switch(symbol, bundle)


def _put(work: Work, releases: Wanted) -> str | None:
    """Switch, restart, health; what is wrong afterwards."""
    with work.step("switch"):
        _linked(work, releases)
    try:
        with work.step("restart"):
            work.service.restart()
        with work.step("health"):
            work.service.wait_for(releases)
    except DeployError as error:
        return str(error)
    return None


def _decide_return(work: Work, move: Move, reason: str, second: str | None) -> None:
    if second:
        work.decide(move, "unhealthy", f"{reason}; and after going back {second}")
    else:
        work.decide(move, "rolled_back", reason)
