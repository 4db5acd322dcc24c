"""`crpbot`, the front door: it reads the command line, calls one flow or library function, prints, and exits.

Exit status: 0 done; 1 the answer is no; 2 nothing was started (usage, configuration, a file that is missing or refused);
3 try again later. An error is one readable message on stderr; `--debug` shows the traceback. With `--json` stdout carries
the JSON and nothing else.

Commands live in flows/commands, one module each, imported when called: `crpbot --help` must not wait for torch.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from flows.command_line import build_parser
from flows.interruption import EXIT_STATUS as INTERRUPTED
from flows.interruption import tell_interrupted
from models_lib.errors import BundleError, ConfigError, CrpbotError, DataError, TransientError

DONE, NO, NOTHING_STARTED, LATER = 0, 1, 2, 3

# Only these talk to somebody who may be away. Elsewhere a passing fault, such as a busy lock, is a no.
_ASK_SOMEBODY_ELSE = frozenset({"fetch", "deploy", "preflight"})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Raises:
        SystemExit: as argparse does, with status 2 for a wrong usage and 0 for --help.
    """
    _open_missing_streams()
    arguments = build_parser().parse_args(argv)
    try:
        module = importlib.import_module(f"flows.commands.{arguments.module}")
        status: int = module.execute(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output went away (crpbot history | head): not our failure, and nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        tell_interrupted()
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the front door: whatever comes through must end in one readable line
        if arguments.debug:
            traceback.print_exception(error)
        print(f"crpbot: {_message(error)}", file=sys.stderr)
        return _status(error, arguments.module)
    return status


def _open_missing_streams() -> None:
    """Closed standard streams lead nowhere from now on: otherwise a socket or a file would get their number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    # Python has None for a stream that was closed when it started.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _message(error: Exception) -> str:
    if isinstance(error, CrpbotError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}. Check the path, its permissions and the space left; --debug shows where."
    *_, last = traceback.extract_tb(error.__traceback__)
    fact = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(".: ")
    return (
        f"unexpected {fact} ({Path(last.filename).name}, line {last.lineno}). This is a fault of crpbot. "
        f"Run `crpbot --debug ...` to see the traceback, and report it."
    )


def _status(error: Exception, command: str) -> int:
    match error:
        case TransientError() if command in _ASK_SOMEBODY_ELSE:
            return LATER
        case ConfigError() | DataError() | BundleError() | OSError():
            return NOTHING_STARTED
        case _:
            return NO


if __name__ == "__main__":
    sys.exit(main())
