"""Switching a rented machine off, until it is off: one that is left running costs money every hour.

What does not belong here: when (models_lib.idleness).
"""

import itertools
import logging
import shlex
import shutil
import subprocess
from collections.abc import Callable

from models_lib.errors import ConfigError

POWER_OFF = "systemctl poweroff"
_LONGEST_SECONDS = 120.0
_LONGEST_PAUSE_SECONDS = 300
_log = logging.getLogger(__name__)


def parse_command(text: str) -> tuple[str, ...]:
    """The words of a switch-off command, split as a shell would, for no shell.

    Raises:
        ConfigError: no such program here. Found out now, because later nobody is there to see it.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(f"--switch-off: {error} in the command. Close the quotation.") from error
    if not words or shutil.which(words[0]) is None:
        program = words[0] if words else "(nothing)"
        raise ConfigError(
            f"--switch-off: {program} is not a program on this machine, so it would never be switched off. "
            f"Name one that is in PATH, or a script by its whole path."
        )
    return words


def arm_second_line(minutes: int) -> None:
    """Asks the system to power off after so many minutes, whatever becomes of this process; says so when it cannot."""
    program = shutil.which("shutdown")
    status = None if program is None else _status((program, "-P", f"+{minutes}", "crpbot: the hard limit is reached"))
    if status == 0:
        _log.info("second line of defence: `shutdown` powers off in %d minutes (`shutdown -c` cancels it)", minutes)
    else:
        _log.warning("no second line of defence: `shutdown -P +%d` cannot be used here", minutes)


def switch_off(command: tuple[str, ...], *, told_to_stop: Callable[[float], bool]) -> bool:
    """Runs the command until it succeeds; False when it never did and someone told this process to stop.

    Args:
        command: the words. Only the first is logged: the others may be nobody's business.
        told_to_stop: waits for so many seconds; True at once when someone does not want more attempts.
    """
    for attempt in itertools.count(1):
        _log.warning("switching this machine off: %s", command[0])
        status = _status(command)
        if status == 0:
            return True
        pause = min(5 * 2 ** min(attempt - 1, 10), _LONGEST_PAUSE_SECONDS)
        _log.critical(
            "THIS MACHINE IS STILL RUNNING AND COSTS MONEY: %s ended with %s (attempt %d). Switch it off by hand; the "
            "next attempt is in %d seconds.",
            command[0],
            status,
            attempt,
            pause,
        )
        if told_to_stop(pause):
            break
    return False


def _status(command: tuple[str, ...]) -> int | str:
    """Exit status, or why there is none."""
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False, timeout=_LONGEST_SECONDS).returncode  # noqa: S603  the operator's own command
    except subprocess.TimeoutExpired:
        return f"no end after {_LONGEST_SECONDS:g} seconds"
    except OSError as error:
        return f"{error.strerror}"
