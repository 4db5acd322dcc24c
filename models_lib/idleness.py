"""When a rented machine shall leave: after a time without work, at a hard limit, when its worker cannot live.

Pure: every time comes in as seconds of one clock that never jumps, and nothing is started or ended here.

What does not belong here: looking at processes (models_lib.orphans) and switching a machine off (flows/switch_off.py).
"""

from dataclasses import dataclass

_MOST_DEATHS = 5
_DEATHS_WINDOW_SECONDS = 3_600.0
_LONGEST_RESTART_SECONDS = 60.0
_SECOND_LINE_MINUTES = 15.0


@dataclass(frozen=True, kw_only=True)
class StayLimits:
    """How long a machine may stay.

    Attributes:
        idle_seconds: without work, after which it leaves.
        hard_limit_seconds: after joining, when it leaves in any case, also in the middle of work.
        restart_seconds: before a worker that ended is started again; doubled with each further death.
    """

    idle_seconds: float
    hard_limit_seconds: float
    restart_seconds: float = 5.0

    def __post_init__(self) -> None:
        if not 0.0 < self.idle_seconds <= self.hard_limit_seconds < float("inf"):
            raise ValueError(
                f"the idle limit must be above 0 and at most the hard limit, were {self.idle_seconds:g} and "
                f"{self.hard_limit_seconds:g} seconds"
            )

    @property
    def second_line_minutes(self) -> int:
        """When an independent timer shall switch off: late enough that the orderly way always comes first."""
        return round(self.hard_limit_seconds / 60.0 + _SECOND_LINE_MINUTES)


class Stay:
    """One machine's stay in the pool, and whether it has reason to leave.

    Args:
        limits: how long it may stay.
        joined_at: when it joined; before `now` when its watcher was started again.
        now: the present.
    """

    def __init__(self, limits: StayLimits, *, joined_at: float, now: float) -> None:
        self._limits = limits
        self._joined_at = joined_at
        self._last_work_at = now
        self._busy = False
        self._deaths: list[float] = []

    def see(self, now: float, *, busy: bool) -> None:
        """Notes whether there is work at this moment."""
        self._busy = busy
        if busy:
            self._last_work_at = now

    def worker_died(self, now: float, *, by_itself: bool) -> float:
        """Notes that the worker ended; the seconds after which it may be started again.

        Args:
            now: when that was noticed.
            by_itself: False when the server was away: then its death is not the worker's fault, and waiting helps.
        """
        self._deaths = [at for at in self._deaths if now - at < _DEATHS_WINDOW_SECONDS]
        if not by_itself:
            return _LONGEST_RESTART_SECONDS / 2.0
        self._deaths.append(now)
        doubled: float = self._limits.restart_seconds * 2.0 ** (len(self._deaths) - 1)
        return min(doubled, _LONGEST_RESTART_SECONDS)

    def reason_to_leave(self, now: float) -> str | None:
        """Why the machine must be switched off now, or None."""
        limits = self._limits
        if now - self._joined_at >= limits.hard_limit_seconds:
            at_work = "; a flow run is at work and ends as crashed" if self._busy else ""
            return f"the hard limit of {limits.hard_limit_seconds / 3_600.0:g} hours is reached{at_work}"
        if self._busy:
            return None
        if len(self._deaths) >= _MOST_DEATHS:
            return f"the worker ended by itself {len(self._deaths)} times within an hour"
        if now - self._last_work_at >= limits.idle_seconds:
            return f"no flow run was at work for {limits.idle_seconds / 60.0:g} minutes"
        return None


def joined_at(kept: str | None, now: float) -> float:
    """When the machine joined: what an earlier watcher of the same boot kept, or `now`.

    Args:
        kept: the text of its file, or None; a time that cannot be (another boot's, damaged) does not count.
        now: the present, in seconds since boot.
    """
    try:
        earlier = float(kept) if kept is not None else now
    except ValueError:
        return now
    return earlier if 0.0 <= earlier <= now else now
