"""Seconds and peak memory of each step, measured as the flow goes, a line when a step begins, and the limit of them all."""

import contextlib
import logging
import math
import time
from collections.abc import Iterator

from models_lib.errors import TrainingError
from models_lib.interruption import refuse_when_stopped
from models_lib.memory import PeakMemory
from models_lib.steps.refs import Judged

_log = logging.getLogger(__name__)


class StepClock:
    """Wall seconds and peak memory by step name, in the order in which the steps ended.

    Attributes:
        seconds: wall seconds.
        peak_rss_mb: MiB, the largest resident memory while the step ran: of this process, whatever else it does, and of
            the symbol's training process; a step is missing where the system does not tell.

    Args:
        symbol: named in the lines.
        limit_minutes: no step begins later than this after the clock was made.
    """

    def __init__(self, symbol: str, *, limit_minutes: float = math.inf) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_rss_mb: dict[str, float] = {}
        self._symbol = symbol
        self._limit_minutes = limit_minutes
        self._began = time.monotonic()

    @property
    def minutes_left(self) -> float:
        """Until no step begins any more; below 0 when that is over."""
        return self._limit_minutes - self._minutes

    def go_on_from(self, judged: Judged) -> None:
        """Takes over what was measured up to the judgement, here or by the process that made it."""
        self.seconds, self.peak_rss_mb = {**judged.seconds}, {**judged.peak_rss_mb}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measures the body under `name`, also when it raises.

        Raises:
            StoppedError: the run was told to stop; the body is not entered.
            TrainingError: the symbol's time is over; the same.
        """
        refuse_when_stopped()
        self._refuse_when_late(name)
        _log.info("%s ...", name, extra={"symbol": self._symbol})
        began, peak = time.monotonic(), PeakMemory(self._symbol)
        try:
            with peak:
                yield
        finally:
            self.seconds[name] = round(time.monotonic() - began, 3)
            if peak.mb:
                self.peak_rss_mb[name] = round(peak.mb, 1)

    @property
    def _minutes(self) -> float:
        return (time.monotonic() - self._began) / 60.0

    def _refuse_when_late(self, name: str) -> None:
        minutes = self._minutes
        if minutes > self._limit_minutes:
            raise TrainingError(
                f"{self._symbol}: {minutes:.1f} minutes were over before its step {name} (at most {self._limit_minutes:g}: "
                f"orchestration.symbol_time_limit_minutes). Its finished steps are kept: run again, or raise the limit."
            )
