"""How much memory a step takes at its peak: this process while the step runs, and the child that works for it.

Linux keeps the largest resident memory of each process and forgets it when it is told to, so nothing is sampled. Several
symbols are worked on in one process: what one of them takes counts for the steps of the others, too, because the
machine must hold it all. Pages of mapped files count as far as they lie in memory.

What does not belong here: seconds (models_lib.steps.clock), and any limit.
"""

import contextlib
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_KIB_IN_MIB = 1024.0
_lock = threading.Lock()
_watched: list["PeakMemory"] = []


class PeakMemory:
    """The largest resident memory within its `with` block, also when that raises; blocks of several threads may overlap.

    Attributes:
        symbol: for which the work is done.
        own_mb: of this process, MiB; whole when the block has ended.
        child_mb: of the symbol's child, as far as `look_at_child` saw it.
    """

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.own_mb = 0.0
        self.child_mb = 0.0

    @property
    def mb(self) -> float:
        """Of both together, MiB; 0 where the system does not tell."""
        return self.own_mb + self.child_mb

    def __enter__(self) -> Self:
        with _lock:
            _credit()
            _forget_own_peak()  # what was before belongs to the blocks that are open, which have got it
            _watched.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _lock:
            _credit()
            _watched.remove(self)


def look_at_child(symbol: str, process_id: int) -> None:
    """Adds what the child took so far to the blocks that are open for the symbol; a child that is gone adds nothing."""
    seen = _peak_mb(str(process_id))
    with _lock:
        for peak in _watched:
            if peak.symbol == symbol:
                peak.child_mb = max(peak.child_mb, seen)


def _credit() -> None:
    own = _peak_mb("self")
    for peak in _watched:
        peak.own_mb = max(peak.own_mb, own)


def _peak_mb(process: str) -> float:
    """Largest resident memory of a process; 0 where there is no such process, or no /proc."""
    try:
        status = Path("/proc", process, "status").read_text()
    except OSError:
        return 0.0
    _, found, rest = status.partition("VmHWM:")
    return float(rest.split(maxsplit=1)[0]) / _KIB_IN_MIB if found else 0.0


def _forget_own_peak() -> None:
    """From here on the largest is that of now; where this is not allowed, it stays that of the process's whole life."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
