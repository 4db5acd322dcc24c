"""`crpbot`, the front door: it reads the command line, calls one flow or library function, prints, and exits.

Exit status: 0 done; 1 the answer is no; 2 nothing was started (usage, configuration, a file that is missing or refused);
3 try again later. An error is one readable message on stderr; `--debug` shows the traceback. With `--json` stdout carries
the JSON and nothing else.

Commands live in flows/commands, one module each, imported when called: `crpbot --help` must not wait for torch.
"""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from models_lib.errors import CrpbotError, PromotionError, TrainingError, TransientError

DONE, NO, NOTHING_STARTED, LATER, INTERRUPTED = 0, 1, 2, 3, 130


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="crpbot",
        description="Trains, calibrates, judges and promotes crypto direction classifiers; nothing reaches the trading "
        "host unless every blocking gate was measured and passed.",
        epilog="State lives under CRPBOT_HOME (default .crpbot/). Exit status: 0 done, 1 the answer is no, "
        "2 nothing was started, 3 try again later.",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_data(commands)
    _add_temperature(commands)
    _add_verify(commands)
    _add_promote(commands)
    _add_rollback(commands)
    _add_history(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        module = importlib.import_module(f"flows.commands.{arguments.module}")
        status: int = module.execute(arguments)
        sys.stdout.flush()
    except CrpbotError as error:
        _report(error, debug=arguments.debug)
        return _status(error)
    except BrokenPipeError:
        # The reader of our output went away (crpbot history | head): not our failure, and nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print("crpbot: interrupted; the store and the promoted models are as they were.", file=sys.stderr)
        return INTERRUPTED
    return status


def _report(error: CrpbotError, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    print(f"crpbot: {error}", file=sys.stderr)


def _status(error: CrpbotError) -> int:
    match error:
        case TransientError():
            return LATER
        case PromotionError() | TrainingError():
            return NO
        case _:
            return NOTHING_STARTED


# argparse has no public name for what add_subparsers returns.
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def _add_run(commands: _Commands) -> None:
    command = commands.add_parser(
        "run",
        help="train, judge and promote every symbol in this process; no server needed",
        description="Runs train-all in this process and ends with one line a symbol: promoted, held (by which gates), "
        "or failed (why). Exit status 1 when a symbol failed; held is 0.",
    )
    command.set_defaults(module="run")
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML configuration; the defaults without it")
    command.add_argument("--symbols", metavar="A,B", help="symbols to train; every configured one without it")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="dotted.key=value",
        help="one value over the configuration, such as data.days=50; may be repeated",
    )
    command.add_argument("--json", action="store_true", help="print the summary as JSON, and nothing else, on stdout")
    command.add_argument("--yes", action="store_true", help="approve whatever asks for approval")


def _add_data(commands: _Commands) -> None:
    data = commands.add_parser("data", help="look at candles", description="Looks at candles.")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="check every <SYMBOL>.parquet of a folder",
        description="Checks every <SYMBOL>.parquet of a folder. Exit status 1 when a file breaks a rule.",
    )
    check.set_defaults(module="data_check")
    check.add_argument("folder", type=Path, metavar="DIR", help="folder with one <SYMBOL>.parquet a symbol")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")


def _add_temperature(commands: _Commands) -> None:
    command = commands.add_parser(
        "temperature",
        help="sweep temperatures for a bundle on labelled candles",
        description="A table over temperatures of confidence, calibration error and NLL, with plots. The bundle is not "
        "changed: it keeps the temperature that was fitted on validation.",
    )
    command.set_defaults(module="temperature")
    command.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")
    command.add_argument("--candles", type=Path, required=True, metavar="DIR", help="folder with <SYMBOL>.parquet")
    command.add_argument("--values", metavar="1,2,3", help="temperatures of the table; the configured ones without it")
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="where table and plots go; below CRPBOT_HOME without it"
    )
    command.add_argument("--json", action="store_true", help="print the study as JSON")


def _add_verify(commands: _Commands) -> None:
    command = commands.add_parser(
        "verify",
        help="check a bundle folder: hashes, tensors, features, golden vectors",
        description="Every check of a bundle folder. Exit status 1 when it is damaged.",
    )
    command.set_defaults(module="verify")
    command.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle folder")
    command.add_argument("--json", action="store_true", help="print the findings as JSON")


def _add_promote(commands: _Commands) -> None:
    command = commands.add_parser(
        "promote",
        help="make a bundle the champion of its symbol",
        description="Makes a bundle the champion of its symbol. Refused, with exit status 1, when a blocking gate "
        "failed; nothing forces it.",
    )
    command.set_defaults(module="promote")
    command.add_argument("symbol", metavar="S", help="symbol, such as BTC-USD")
    command.add_argument("bundle", metavar="BUNDLE", help="bundle folder, or the hash of one in the store")
    command.add_argument("--why", default="promoted by hand", metavar="TEXT", help="reason, for the ledger")


def _add_rollback(commands: _Commands) -> None:
    command = commands.add_parser(
        "rollback",
        help="make the previous champion of a symbol the champion again",
        description="Makes the previous champion of a symbol the champion again; verifies hashes only.",
    )
    command.set_defaults(module="rollback")
    command.add_argument("symbol", metavar="S", help="symbol, such as BTC-USD")
    command.add_argument("--why", default="rolled back by hand", metavar="TEXT", help="reason, for the ledger")


def _add_history(commands: _Commands) -> None:
    command = commands.add_parser(
        "history",
        help="who promoted what, when and why; verifies the ledger's chain",
        description="The ledger of promotions and rollbacks. Exit status 1 when its chain is broken.",
    )
    command.set_defaults(module="history")
    command.add_argument("symbol", nargs="?", metavar="S", help="one symbol only")
    command.add_argument("--json", action="store_true", help="print the entries as JSON")


if __name__ == "__main__":
    sys.exit(main())
