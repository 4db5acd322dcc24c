"""Seconds of each step, measured as the flow goes, and a line when a step begins."""

import contextlib
import logging
import time
from collections.abc import Iterator

from models_lib.interruption import refuse_when_stopped

_log = logging.getLogger(__name__)


class StepClock:
    """Wall seconds by step name, in the order in which the steps ended.

    Args:
        symbol: named in the lines.
    """

    def __init__(self, symbol: str) -> None:
        self.seconds: dict[str, float] = {}
        self._symbol = symbol

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measures the body under `name`, also when it raises.

        Raises:
            StoppedError: the run was told to stop; the body is not entered.
        """
        refuse_when_stopped()
        _log.info("%s ...", name, extra={"symbol": self._symbol})
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - began, 3)
