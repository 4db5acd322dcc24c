"""Ctrl-C while a run works: the trainings end, no further step begins, and the process is gone within seconds.

The orderly way is a KeyboardInterrupt in the main thread: Prefect marks the runs as crashed and everything unwinds. It
has to wait for steps in other threads, which no signal reaches; when the time is up, or when Ctrl-C is pressed again,
the process leaves as it is. Nothing is lost by that: every file appears whole or not at all.

What does not belong here: what a stop means to a step (models_lib.interruption).
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_STATUS = 130
"""128 + SIGINT, as shells have it."""
_PATIENCE_SECONDS = 4.0
_SHOW_CURSOR = "\x1b[?25h"
_told = threading.Event()


def tell_interrupted() -> None:
    """One line on stderr, once."""
    if not _told.is_set():
        _told.set()
        line = "crpbot: interrupted; nothing half-done is kept. `crpbot history` shows what was promoted before.\n"
        os.write(sys.stderr.fileno(), line.encode())


def leave() -> None:
    """Ends this process now; its children die with it."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR.encode())  # the progress bars hid it
    tell_interrupted()
    os._exit(EXIT_STATUS)


@contextlib.contextmanager
def ends_when_interrupted() -> Iterator[None]:
    """Within the body a first SIGINT raises KeyboardInterrupt and starts the countdown; a second one leaves at once."""
    countdown = threading.Timer(_PATIENCE_SECONDS, leave)
    countdown.daemon = True
    pressed = False

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            leave()
        pressed = True
        countdown.start()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        # After an interruption the countdown goes on: the interpreter's own end waits for threads, too.
        signal.signal(signal.SIGINT, before if not pressed else signal.SIG_IGN)
