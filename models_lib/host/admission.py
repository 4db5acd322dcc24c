"""Which bundles may be switched to: each is complete, loads on this host, and kept within the limits for the newest day.

A symbol is judged alone: what is refused stays as it is, and the others go on.

What does not belong here: the switch (transaction.py).
"""

from models_lib.errors import BundleError, ConfigError, DataError, TransientError
from models_lib.holds import held
from models_lib.host.messages import Activation, Move
from models_lib.host.watch import Answers, breach
from models_lib.host.work import Host, Work


class _RefusedError(Exception):
    """Why a symbol is not moved."""


def admitted(work: Work, order: Activation) -> list[Move]:
    """The moves that may be made; the others are refused, each with its reason."""
    moves = []
    for move in order.moves:
        try:
            _admit(work, order, move)
        except _RefusedError as refusal:
            work.decide(move, "refused", str(refusal))
        else:
            moves.append(move)
    return moves


def changed_meanwhile(host: Host, move: Move) -> str:
    """What is said when another release is current than the one that the move was planned against."""
    return (
        f"{_named(host.releases.current(move.symbol))} is current, and {_named(move.before)} was when this was planned: "
        f"somebody else deployed meanwhile. Look at `crpbot status`, then deploy again"
    )


def _admit(work: Work, order: Activation, move: Move) -> None:
    host, bundle = work.host, move.bundle
    assert bundle is not None, "an activation names what shall be current"
    hold = held(host.folder, move.symbol)
    if hold is not None:
        raise _RefusedError(f"{hold.sentence()}. `crpbot release-hold {move.symbol}` ends it")
    if host.releases.current(move.symbol) not in (move.before, bundle):
        raise _RefusedError(changed_meanwhile(host, move))
    try:
        answers = _answers(work, order, move, bundle)
    except (OSError, BundleError, ConfigError, DataError, TransientError) as error:
        raise _RefusedError(f"release {bundle[:12]} cannot be used on this host: {error}") from error
    if answers is None:
        work.note(move, "no rehearsal: watch.rehearsal_minutes is 0")
        return
    work.note(move, f"rehearsal of the newest {order.watch.rehearsal_minutes} minutes: {answers.sentence()}")
    broken = breach(answers, order.watch)
    if broken:
        reason = f"in the rehearsal of the newest day {broken}"
        work.hold(move, reason)
        raise _RefusedError(reason)


def _answers(work: Work, order: Activation, move: Move, bundle: str) -> Answers | None:
    """What the release answers to the newest day, after it was adopted and loaded; None without a rehearsal."""
    from models_lib.host.rehearsal import load_release, rehearse  # noqa: PLC0415 - a return must not wait for numba

    host, symbol, minutes = work.host, move.symbol, order.watch.rehearsal_minutes
    with work.step("adopt"):
        host.adopt(order.token, symbol, bundle)
    with work.step("load"):
        loaded = load_release(host.releases.path(symbol, bundle), symbol, bundle)
    if move.judged_at is not None:
        host.releases.renew(symbol, bundle, move.judged_at)
    host.say(f"{symbol}: release {bundle[:12]} is complete and answers as recorded")
    if not minutes:
        return None
    with work.step("rehearse"):
        return rehearse(loaded, host.newest_candles(loaded, minutes), minutes=minutes)


def _named(bundle: str | None) -> str:
    return f"release {bundle[:12]}" if bundle else "no release"
