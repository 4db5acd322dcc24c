"""`crpbot-runtime`, the runtime on the trading host: reads the command line, injects source and channels, runs, and exits.

Exit status: 0 done, also when ended by SIGTERM or Ctrl-C; 1 no symbol has a usable release; 2 nothing was started; 3 another
runtime works in the folder. With `--json` stdout carries one JSON line a signal and nothing else.

Imports are light until the command line was read: a wrong option must not wait for numba.

What does not belong here: what happens to a bar (models_lib.runtime).
"""

import _thread
import argparse
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models_lib.bundle import Bundle
    from models_lib.config.exchange_section import ExchangeSection
    from models_lib.config.runtime_section import RuntimeSection
    from models_lib.runtime.configuration import RuntimeConfig
    from models_lib.runtime.engine import Engine
    from models_lib.runtime.sources import BarSource, FolderSource
    from models_lib.runtime.speaking import Channel
    from models_lib.signals import Signal
    from tasks.adapters.exchange_bars import ExchangeBars
    from tasks.adapters.http_candles import HttpCandles

DONE, NO, NOTHING_STARTED, LATER = 0, 1, 2, 3
DEFAULT_FOLDER = Path("~/crpbot-runtime")
_SLACK = "CRPBOT_SLACK_WEBHOOK_URL"
_SLACK_SECONDS = 5.0
"""The longest silence of Slack's server."""
_EXCHANGE_SECONDS = 1.0
"""An exchange that wants to be left alone for longer is told as trouble, and not waited for in silence."""
_LOCK_SECONDS = 5.0
"""A runtime that is being restarted ends its bar within this time."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    Raises:
        SystemExit: as argparse does, with status 2 for a wrong usage and 0 for --help.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["host"]:
        return told(lambda: _host(words[1:]), debug=False)
    arguments = _parser().parse_args(words)
    return told(lambda: serve(arguments), debug=arguments.debug)


def _host(words: list[str]) -> int:
    """What a deployer runs on the host; the candles of its rehearsals are those of this runtime."""
    from models_lib.host.command_line import main as host_main
    from models_lib.runtime.configuration import read_runtime_config
    from models_lib.runtime.health import runtime_version

    named = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    named.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    folder = named.parse_known_args(words)[0].folder.expanduser().absolute()

    def of_its_source(bundle: "Bundle", minutes: int) -> Any:
        from models_lib.runtime.newest import newest_candles
        from models_lib.runtime.served_symbol import trained_fill_minutes

        config = read_runtime_config(folder)
        section = config.runtime
        source = _replay_source(section, folder) if section.source == "folder" else _live_source(config, folder)
        fill = trained_fill_minutes(bundle, otherwise=section.fill_no_trade_minutes)
        return newest_candles(source, bundle.manifest.symbol, minutes, fill_no_trade_minutes_up_to=fill)

    return host_main(words, version=runtime_version(), newest_candles=of_its_source)


def told(run: Callable[[], int], *, debug: bool) -> int:
    """The exit status of `run`; an error is one readable line on stderr."""
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - the front door: whatever comes through must end in one readable line
        if debug:
            traceback.print_exception(error)
        print(f"crpbot-runtime: {_sentence(error)}", file=sys.stderr)
        return _status(error)


def _sentence(error: Exception) -> str:
    from models_lib.errors import CrpbotError

    if isinstance(error, CrpbotError | OSError):
        return str(error)
    *_, last = traceback.extract_tb(error.__traceback__)
    place = f"{Path(last.filename).name}, line {last.lineno}"
    return f"unexpected {type(error).__name__}: {error} ({place}). This is a fault of crpbot; --debug shows where."


def _status(error: Exception) -> int:
    from models_lib.errors import ConfigError, DataError, TransientError

    match error:
        case TransientError():
            return LATER
        case ConfigError() | DataError() | OSError():
            return NOTHING_STARTED
        case _:
            return NO


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `crpbot-runtime` and `crpbot signals` share."""
    parser.add_argument(
        "--mode",
        choices=("replay", "live"),
        required=True,
        help="replay: a folder of candles; live: closed bars as they come",
    )
    parser.add_argument("--symbols", metavar="A,B", help="symbols to serve (default: every one with a release)")
    parser.add_argument(
        "--candles", type=Path, metavar="DIR", help="folder with <SYMBOL>.parquet or .safetensors to replay"
    )
    parser.add_argument(
        "--pace",
        type=float,
        metavar="SECONDS",
        help="seconds a minute of a replay takes (default: 0, as fast as possible)",
    )
    parser.add_argument(
        "--newest-minutes",
        type=int,
        metavar="N",
        help="replay decides on the last N minutes only; those before fill the windows",
    )
    parser.add_argument(
        "--from", type=_moment, dest="first", metavar="TIME", help="open time of the first bar that a replay decides on"
    )
    parser.add_argument("--to", type=_moment, dest="last", metavar="TIME", help="open time of the last one")
    parser.add_argument(
        "--again", action="store_true", help="predict also what was decided on before; no signal is said twice"
    )
    parser.add_argument(
        "--json", action="store_true", help="print each signal as a line of JSON, and nothing else, on stdout"
    )


def serve(arguments: argparse.Namespace) -> int:
    """Serves the symbols of `arguments.folder` until the candles end or the process is told to."""
    from models_lib.host.abandoned import undo_at_start
    from models_lib.locks import locked
    from models_lib.runtime.configuration import read_runtime_config
    from models_lib.runtime.health import LOCK_FILE
    from models_lib.runtime.logs import set_up_logs
    from models_lib.runtime.releases import released_symbols

    folder: Path = arguments.folder.expanduser().absolute()
    config = read_runtime_config(folder)
    config = config.model_copy(update={"runtime": _laid_over(config.runtime, arguments)})
    section = config.runtime
    undo_at_start(folder)
    symbols = _symbols(
        arguments.symbols, released_symbols(folder), folder, may_wait=arguments.mode == "live" or arguments.again
    )
    source = _source(arguments, config, folder)
    (folder / LOCK_FILE).parent.mkdir(parents=True, exist_ok=True)
    end_logs = set_up_logs(
        folder / "logs", max_bytes=section.log_max_bytes, keep=section.log_keep, secrets=[os.environ.get(_SLACK, "")]
    )
    busy = (
        f"{folder}: another runtime serves this folder (waited {_LOCK_SECONDS:g} s). Stop it first, or try again later."
    )
    try:
        with locked(folder / LOCK_FILE, within_seconds=_LOCK_SECONDS, otherwise=busy):
            return _run(arguments, folder, config, symbols, source)
    finally:
        end_logs()


def _run(
    arguments: argparse.Namespace, folder: Path, config: "RuntimeConfig", symbols: tuple[str, ...], source: "BarSource"
) -> int:
    from functools import partial

    from models_lib.host.abandoned import undo_abandoned
    from models_lib.runtime.engine import Engine
    from models_lib.runtime.health import HealthServer
    from models_lib.runtime.proposal import propose
    from models_lib.runtime.speaking import Speaker
    from models_lib.runtime.state import RuntimeState

    stop = Event()
    with RuntimeState.open(folder / "state" / "runtime.sqlite") as state, _ended_by_signals(stop):
        echo = _printer(config.signals.time_zone, as_json=arguments.json)
        channels = _channels(config.signals.time_zone) if arguments.mode == "live" else []
        speaker = Speaker(folder, state, echo=echo, channels=channels)
        engine = Engine(
            folder,
            config=config,
            symbols=symbols,
            source=source,
            state=state,
            speaker=speaker,
            mode=arguments.mode,
            propose=partial(propose, settings=config.signals),
            clock=lambda: datetime.now(UTC),
            again=arguments.again,
            mend=partial(undo_abandoned, folder),
        )
        port = config.runtime.health_port
        server = HealthServer(port, engine.content) if port is not None else contextlib.nullcontext()
        with contextlib.closing(speaker), server:
            engine.run(stop)
    if not arguments.json:
        _print_summary(engine)
    usable = not symbols or any(symbol.model is not None for symbol in engine.symbols.values())
    return DONE if usable else NO


def _channels(time_zone: str) -> "list[Channel]":
    """Who is told besides the terminal: Slack, where the environment holds its webhook. A replay tells nobody."""
    url = os.environ.get(_SLACK)
    if not url:
        return []
    try:
        from tasks.adapters.slack_webhook import SlackSignals
    except ImportError as error:
        from models_lib.errors import ConfigError

        raise ConfigError(f"{_SLACK} is set, and this host has no slack_sdk. Install crpbot-runtime[slack].") from error
    from models_lib.signals import signal_text

    return [
        SlackSignals(
            url, timeout_seconds=_SLACK_SECONDS, text_of=lambda issued: signal_text(issued, time_zone=time_zone)
        )
    ]


def _printer(time_zone: str, *, as_json: bool) -> "Callable[[Signal], None]":
    from models_lib.signals import signal_text

    def say(issued: "Signal") -> None:
        try:
            print(issued.to_json() if as_json else f"{signal_text(issued, time_zone=time_zone)}\n", flush=True)
        except BrokenPipeError:
            # Nobody reads any more; the signal is recorded, and a service goes on.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return say


def _print_summary(engine: "Engine") -> None:
    for name, symbol in engine.symbols.items():
        tally = symbol.tally
        refused = ", ".join(f"{kind} {count:,}" for kind, count in sorted(tally.refusals.items()))
        print(f"{name}: {tally.bars:,} bars, {tally.signals:,} signals; silent: {refused or 'never'}")
        if tally.bars == 0:
            print(f"{name}: nothing to decide on: {tally.last_error or 'every bar was decided on before'}")


@contextlib.contextmanager
def _ended_by_signals(stop: Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop`: the bar at hand is finished, then the process ends.

    On another thread: a handler runs between two instructions of the main thread, which may hold the event's own lock there,
    at the beginning and the end of each wait; setting it there would then wait for itself. Nor is it a Thread, whose start
    takes locks that the main thread may hold as well.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        _thread.start_new_thread(stop.set, ())

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _laid_over(section: "RuntimeSection", arguments: argparse.Namespace) -> "RuntimeSection":
    """The section with what the command line says instead."""
    from pydantic import ValidationError

    from models_lib.config.loading import explain
    from models_lib.config.runtime_section import RuntimeSection
    from models_lib.errors import ConfigError

    given = {"candles": arguments.candles, "pace_seconds": arguments.pace, "newest_minutes": arguments.newest_minutes}
    said = {name: value for name, value in given.items() if value is not None}
    try:
        return RuntimeSection.model_validate({**section.model_dump(), **said})
    except ValidationError as error:
        raise ConfigError(explain(error, origin="the command line", of=RuntimeSection)) from error


def _symbols(asked: str | None, released: tuple[str, ...], folder: Path, *, may_wait: bool) -> tuple[str, ...]:
    from models_lib.errors import ConfigError

    if asked is None:
        if released or may_wait:  # a new host waits, alive, for its first release and the restart that comes with it
            return released
        raise ConfigError(
            f"{folder}: no symbol has a release there. Deploy one, or name the host's folder with --folder."
        )
    wanted = tuple(dict.fromkeys(name for name in asked.split(",") if name))
    for name in wanted:
        if name not in released:
            raise ConfigError(
                f"{name!r} has no release in {folder}; there are {', '.join(released) or 'none'}. Deploy it first."
            )
    return wanted


def _source(arguments: argparse.Namespace, config: "RuntimeConfig", folder: Path) -> "BarSource":
    if arguments.mode == "live":
        return _live_source(config, folder)
    return _replay_source(config.runtime, folder, first_ms=arguments.first, last_ms=arguments.last)


def _live_source(config: "RuntimeConfig", folder: Path) -> "HttpCandles | ExchangeBars":
    from models_lib.errors import ConfigError

    section = config.runtime
    if section.source == "exchange":
        return _exchange_bars(config.exchange, folder)
    if section.url is None:
        raise ConfigError(
            "--mode live needs candles from somewhere: set runtime.source to exchange, or to http and runtime.url beside it, "
            "in runtime.yaml."
        )
    from tasks.adapters.http_candles import HttpCandles

    return HttpCandles(section.url, poll_seconds=section.poll_seconds, timeout_seconds=section.request_timeout_seconds)


def _exchange_bars(section: "ExchangeSection", folder: Path) -> "ExchangeBars":
    from importlib.util import find_spec

    if find_spec("ccxt") is None:  # asked before anything is served: the import itself takes a second, and comes later
        from models_lib.errors import ConfigError

        raise ConfigError(
            "runtime.source is exchange, and this host has no ccxt. Install crpbot-runtime[exchange]: install.sh --extras exchange."
        )
    from tasks.adapters.exchange.ccxt_exchange import open_exchange
    from tasks.adapters.exchange_bars import ExchangeBars

    exchange = open_exchange(section, pace_folder=folder / "state" / "pace", longest_wait_seconds=_EXCHANGE_SECONDS)
    return ExchangeBars(exchange, connections=section.connections)


def _replay_source(
    section: "RuntimeSection", folder: Path, *, first_ms: int | None = None, last_ms: int | None = None
) -> "FolderSource":
    from models_lib.runtime.sources import FolderSource

    return FolderSource(
        section.candles or folder / "candles",
        first_ms=first_ms,
        last_ms=last_ms,
        newest_minutes=section.newest_minutes,
        pace_seconds=section.pace_seconds,
    )


def _moment(text: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a time such as 2026-01-02T00:00, was {text!r}") from error
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crpbot-runtime",
        description="Says a signal, or why there is none, for every closed bar of every symbol with a release. Places no orders.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=DEFAULT_FOLDER,
        metavar="F",
        help=f"the host's folder (default: {DEFAULT_FOLDER})",
    )
    add_options(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
