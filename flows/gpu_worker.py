"""A rented machine as a worker of Prefect's `gpu` pool, which switches itself off: `python -m flows.gpu_worker`.

The machine is switched off when no flow run was at work for a time, at a hard limit, when the worker cannot live, and
when this watcher itself fails. A server that is away gives no work, so the idle limit covers it.

What does not belong here: when it is time (models_lib.idleness), how the worker is watched and ended
(flows/watched_worker.py) and how to switch off (flows/switch_off.py).
"""

import argparse
import http.client
import logging
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.switch_off import POWER_OFF, arm_second_line, parse_command, switch_off
from flows.watched_worker import Signals, WatchedWorker
from models_lib.errors import ConfigError
from models_lib.files import write_text
from models_lib.idleness import Stay, StayLimits, joined_at
from models_lib.orphans import adopt_orphans

_ANSWER_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Left:
    """Why the machine stops being a worker, and whether a person asked for it."""

    reason: str
    by_request: bool = False


def stay(worker: WatchedWorker, signals: Signals, limits: StayLimits, *, joined: float, look_seconds: float) -> Left:
    """Keeps the worker alive until there is a reason to leave, and says which.

    Args:
        worker: not started yet.
        signals: wake the waiting, and say when a stop is asked for.
        limits: how long this machine may stay.
        joined: when it joined, by the monotonic clock.
        look_seconds: between two looks.
    """
    now = time.monotonic()
    here = Stay(limits, joined_at=joined, now=now)
    start_at: float | None = now
    while not signals.stops_asked:
        if start_at is not None and now >= start_at:
            worker.start()
            start_at = None
        elif start_at is None and (status := worker.ended()) is not None:
            pause = here.worker_died(now, by_itself=server_answers())
            _log.warning("the worker ended with status %s; it is started again in %g seconds", status, pause)
            start_at = now + pause
        here.see(now, busy=bool(worker.work()))
        if reason := here.reason_to_leave(now):
            return Left(reason)
        signals.wait(look_seconds)
        now = time.monotonic()
    return Left("this watcher was told to stop", by_request=True)


def server_answers() -> bool:
    """Whether something answers at PREFECT_API_URL; a refusal is an answer, too."""
    url = os.environ.get("PREFECT_API_URL", "")
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=_ANSWER_SECONDS):  # noqa: S310  the operator's own address
            return True
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError):
        return False


def watch(
    worker: WatchedWorker,
    signals: Signals,
    limits: StayLimits,
    *,
    command: tuple[str, ...],
    joined: float,
    off_on_stop: bool = False,
    look_seconds: float = 5.0,
) -> int:
    """The whole stay, its orderly end and the switching off; 0 when all of it is done.

    Args:
        worker: not started yet.
        signals: of this process.
        limits: how long this machine may stay.
        command: switches it off.
        joined: when it joined, by the monotonic clock.
        off_on_stop: whether it is switched off also when a person stops this watcher.
        look_seconds: between two looks for work.
    """
    try:
        left = stay(worker, signals, limits, joined=joined, look_seconds=look_seconds)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong here, the machine must not be left running
        _log.exception("the watcher failed")
        left = Left(f"the watcher failed: {type(error).__name__}")
    _log.warning("leaving: %s; %s", left.reason, "the server answers" if server_answers() else "no server answers")
    try:
        worker.end()
    except Exception:  # noqa: BLE001 - the same
        _log.exception("the worker could not be ended in order")
    if left.by_request and not off_on_stop:
        _log.warning("this machine stays on")
        return 0
    return 0 if switch_off(command, told_to_stop=signals.told_to_stop) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the options, arms the second line of defence and watches; the exit status."""
    logging.basicConfig(format="%(asctime)s %(levelname)s gpu-worker: %(message)s", level=logging.INFO)
    options = build_parser().parse_args(arguments)
    try:
        command, limits = _checked(options)
    except ConfigError as error:
        _log.error("%s", error)
        return 2
    if options.check:
        return 0
    joined = _join(options.joined_file, limits, arm=options.switch_off == POWER_OFF)
    adopt_orphans()
    signals = Signals()
    worker = WatchedWorker(worker_command(options.pool), signals)
    return watch(worker, signals, limits, command=command, joined=joined, off_on_stop=options.switch_off_on_stop)


def worker_command(pool: str) -> list[str]:
    """Prefect's own worker: one flow run at a time, because one GPU is shared by nobody."""
    words = ["worker", "start", "--pool", pool, "--type", "process", "--limit", "1", "--install-policy", "never"]
    return [sys.executable, "-m", "prefect", *words]


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    what, _, _ = str(__doc__).partition("\n")
    parser = argparse.ArgumentParser(prog="python -m flows.gpu_worker", description=what, allow_abbrev=False)
    parser.add_argument("--pool", default="gpu", help="work pool to join (default: gpu)")
    parser.add_argument(
        "--idle-minutes", type=float, default=15.0, help="leave after so long without work (default: 15)"
    )
    parser.add_argument(
        "--hard-limit-hours", type=float, default=8.0, help="leave in any case so long after joining (default: 8)"
    )
    parser.add_argument(
        "--switch-off",
        default=POWER_OFF,
        metavar="COMMAND",
        help=f"switches this machine off; split as a shell would, run without one (default: {POWER_OFF})",
    )
    parser.add_argument(
        "--switch-off-on-stop", action="store_true", help="switch off also when this watcher gets SIGTERM or SIGINT"
    )
    parser.add_argument(
        "--joined-file",
        type=Path,
        help="remembers when the machine joined, so that a restart of this watcher does not prolong its stay; in /run",
    )
    parser.add_argument("--check", action="store_true", help="say whether the options are sound, and start nothing")
    return parser


def _checked(options: argparse.Namespace) -> tuple[tuple[str, ...], StayLimits]:
    """The switch-off command and the limits; refuses now what nobody would see later."""
    if not os.environ.get("PREFECT_API_URL"):
        raise ConfigError("PREFECT_API_URL is not set. Export the server's address, such as http://HOST:4200/api.")
    command = parse_command(options.switch_off)
    idle_seconds, hard_limit_seconds = 60.0 * options.idle_minutes, 3_600.0 * options.hard_limit_hours
    try:
        return command, StayLimits(idle_seconds=idle_seconds, hard_limit_seconds=hard_limit_seconds)
    except ValueError as error:
        raise ConfigError(f"{error}. Change --idle-minutes or --hard-limit-hours.") from error


def _join(kept: Path | None, limits: StayLimits, *, arm: bool) -> float:
    """When this machine joined; on its first start also the second line of defence."""
    now = time.monotonic()
    joined = now if kept is None else _kept(kept, now)
    if arm and joined == now:
        arm_second_line(limits.second_line_minutes)
    return joined


def _kept(path: Path, now: float) -> float:
    try:
        joined = joined_at(path.read_text() if path.exists() else None, now)
        write_text(path, f"{joined!r}\n")
    except OSError as error:
        _log.warning("%s: %s; a restart of this watcher will count as joining again", path, error.strerror)
        return now
    return joined


if __name__ == "__main__":
    sys.exit(main())
