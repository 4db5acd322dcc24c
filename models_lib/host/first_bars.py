"""The first bars after the switch: whom the runtime or the model itself gives a reason to go back.

What does not belong here: the limits (watch.py) and going back (transaction.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models_lib.config.targets import WatchSection
from models_lib.host.messages import Move
from models_lib.host.watch import answers_of, breach
from models_lib.host.work import Work
from models_lib.runtime.health import Health


@dataclass(frozen=True)
class Fault:
    """Why a release cannot stay.

    Attributes:
        reason: for people.
        of_model: it broke a limit. Otherwise the runtime failed it, and it may be tried again.
    """

    reason: str
    of_model: bool


def watch_first_bars(work: Work, limits: WatchSection, moves: Sequence[Move]) -> dict[str, Fault]:
    """Symbol -> its fault, of those that had one before all were watched to the end.

    A runtime that does not serve them all any more is a fault of every one: which of them brought it down is not known.
    """
    wanted = {move.symbol: move.bundle for move in moves}
    bars = dict.fromkeys(wanted, 0)
    faults: dict[str, Fault] = {}

    def judge(health: Health | None) -> str | None:
        if health is None:
            return "the runtime reported no health"
        missing = work.service.missing(health, wanted)
        if missing is not None:
            faults.update(_of_all(wanted, missing))
            return None
        bars.update({symbol: health.symbols[symbol].bars for symbol in wanted})
        faults.update(_of_each(health, wanted, limits))
        return None if faults or min(bars.values()) >= limits.bars else "more bars are to come"

    if work.service.follow(judge, within_seconds=60.0 * limits.minutes) is not None:
        missing = work.service.missing_now(wanted)  # one that could not be asked all the time is none
        faults.update(_of_all(wanted, missing) if missing else {})
    for move in moves:
        if move.symbol in faults:
            work.note(move, f"watched for {bars[move.symbol]} bars")
        elif not faults:  # otherwise it is watched anew
            work.note(move, _watched_for(bars[move.symbol], limits))
    return faults


def _of_each(health: Health, symbols: Iterable[str], limits: WatchSection) -> dict[str, Fault]:
    faults = {}
    for symbol in symbols:
        broken = breach(answers_of(health.symbols[symbol], live=health.mode == "live"), limits)
        if broken:
            faults[symbol] = Fault(f"after the switch {broken}", of_model=True)
    return faults


def _of_all(symbols: Iterable[str], missing: str) -> dict[str, Fault]:
    return dict.fromkeys(symbols, Fault(f"after the switch {missing}", of_model=False))


def _watched_for(bars: int, limits: WatchSection) -> str:
    few = f", fewer than {limits.bars}: no more came within {limits.minutes:g} minutes"
    return f"watched for {bars} bars{few if bars < limits.bars else ''}"
