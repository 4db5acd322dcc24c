"""`crpbot-runtime host ...`: what a deployer runs on the host; JSON lines on stdout.

    look                                   what the host runs, as it is seen: waits for nobody, settles nothing
    state [--token T] [--lock-seconds N]   the same behind the order under way, and after a killed one was undone; what order
                                           T came to. A T that has not come by then is never carried out
    order                                  an Activation or Return on stdin, to its end, once
    hold SYMBOL / release-hold SYMBOL      silence a symbol at once; end that. The reason or nothing on stdin
    shadow SYMBOL [HASH] [--token T]       a release that runs beside the current one without speaking; none ends that.
                                           With T it is adopted from incoming/T first

An order goes on to its end when the deployer is gone: a broken stdout and a hung-up terminal end nothing.

Exit statuses: 0 answered; 2 the request is not understood; 75 another deployment is at work; 1 anything else, with one
line on stderr.

What does not belong here: the steps (transaction.py).
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import Field, TypeAdapter, ValidationError

from models_lib.bundle.layout import READABLE_VERSIONS
from models_lib.bundle.parsing import Sha256
from models_lib.config.sections import SymbolName
from models_lib.errors import BusyError, ConfigError, CrpbotError, DeployError
from models_lib.holds import held, held_symbols, place_hold, release_hold
from models_lib.host.messages import BUSY, Activation, HostState, Outcome, Return, Token
from models_lib.host.transaction import activate, put_back, settle
from models_lib.host.work import Host, NewestCandles
from models_lib.runtime.health import read_health

_ORDER: TypeAdapter[Activation | Return] = TypeAdapter(Annotated[Activation | Return, Field(discriminator="kind")])


def main(
    argv: Sequence[str], *, version: str, newest_candles: NewestCandles, stdin: BinaryIO = sys.stdin.buffer
) -> int:
    """Carries out one host command; its exit status.

    Args:
        argv: what stands behind `host`.
        version: of the runtime.
        newest_candles: the runtime's own source, for the rehearsal.
        stdin: the request.
    """
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the deployer's session may end before the order does
    host = Host(arguments.folder.absolute(), newest_candles, _say)
    try:
        match arguments.command:
            case "look":
                host.folder.mkdir(parents=True, exist_ok=True)
                _tell(_seen(host, version))
            case "state":
                _state(host, arguments, version)
            case "order":
                _carry_out(host, stdin.read())
            case "hold" | "release-hold":
                _change_hold(host, arguments, stdin.read().decode(errors="replace"))
            case "shadow":
                _change_shadow(host, arguments)
    except BusyError as error:
        print(error, file=sys.stderr)
        return BUSY
    except (CrpbotError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def _state(host: Host, arguments: argparse.Namespace, version: str) -> None:
    """Waits for an order that is under way, so that the answer holds."""
    with host.alone(within_seconds=arguments.lock_seconds):
        settle(host)
        asked = host.journal.outcome_or_void(arguments.token) if arguments.token else None
        state = _seen(host, version, asked)
    _tell(state)


def _seen(host: Host, version: str, asked: Outcome | None = None) -> HostState:
    return HostState(
        runtime_version=version,
        schema_versions=READABLE_VERSIONS,
        python=sys.version.split()[0],
        free_bytes=shutil.disk_usage(host.folder).free,
        current=host.releases.all_current(),
        holds=tuple(hold for hold in (held(host.folder, symbol) for symbol in held_symbols(host.folder)) if hold),
        health=read_health(host.folder),
        asked=asked,
    )


def _carry_out(host: Host, request: bytes) -> None:
    try:
        order = _ORDER.validate_json(request)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise ConfigError(
            f"the order is not understood ({'.'.join(map(str, fault['loc']))}: {fault['msg']}). Deployer and host are of "
            f"different versions: upgrade the older one."
        ) from error
    with host.alone(within_seconds=order.lock_seconds):
        settle(host)
        if host.journal.outcome(order.token) is not None:
            raise DeployError(
                f"order {order.token} was carried out already, or its deployer was told that it had not come. Nothing is "
                f"moved; deploy again."
            )
        outcome: Outcome = activate(host, order) if isinstance(order, Activation) else put_back(host, order)
    _line("outcome", outcome.model_dump_json())


def _change_hold(host: Host, arguments: argparse.Namespace, reason: str) -> None:
    now, who = datetime.now(UTC), arguments.who
    if arguments.command == "hold":
        change = place_hold(host.folder, arguments.symbol, placed_by=who, reason=reason, now=now)
    else:
        change = release_hold(host.folder, arguments.symbol, who=who, now=now)
    _say(change.message)


def _change_shadow(host: Host, arguments: argparse.Namespace) -> None:
    """The runtime sees the link at its next bar; it needs no restart, for a shadow says nothing."""
    symbol, bundle = arguments.symbol, arguments.bundle
    with host.alone(within_seconds=arguments.lock_seconds):
        try:
            if bundle is not None:
                _bring_shadow(host, symbol, bundle, arguments.token)
            host.shadows.switch(symbol, bundle)
        finally:
            if arguments.token:
                shutil.rmtree(host.incoming(arguments.token, symbol).parent, ignore_errors=True)
    _say(f"{symbol}: shadow {bundle[:12] if bundle else 'none'}")


def _bring_shadow(host: Host, symbol: str, bundle: str, token: str | None) -> None:
    from models_lib.host.rehearsal import load_release  # noqa: PLC0415 - other commands must not wait for numba

    if token is not None:
        host.adopt(token, symbol, bundle)
    elif not host.releases.is_sound(symbol, bundle):
        raise ConfigError(f"{symbol}: release {bundle[:12]} is not on this host. Bring it there first.")
    load_release(host.releases.path(symbol, bundle), symbol, bundle)


def _say(sentence: str) -> None:
    _line("progress", TypeAdapter(str).dump_json(sentence).decode())


def _tell(state: HostState) -> None:
    _line("state", state.model_dump_json())


def _line(kind: str, content: str) -> None:
    """One line, at once. Nobody may be listening any more; the order goes on all the same."""
    try:
        sys.stdout.write(f'{{"{kind}":{content}}}\n')
        sys.stdout.flush()
    except (BrokenPipeError, OSError):
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _checked(kind: TypeAdapter[str], example: str) -> Callable[[str], str]:
    """What argparse calls for an argument of that kind: a path is made of it."""

    def parse(text: str) -> str:
        try:
            return kind.validate_python(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"must be {example}, was {text!r}") from error

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crpbot-runtime host", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="the host folder")
    commands = parser.add_subparsers(dest="command", required=True)
    symbol = _checked(TypeAdapter(SymbolName), "a symbol such as BTC-USD")
    token = _checked(TypeAdapter(Token), "the name of an order")
    commands.add_parser("look", help="what the host runs, as it is seen; waits for nobody, settles nothing")
    state = commands.add_parser("state", help="what the host runs, after an order that is under way or was killed")
    state.add_argument("--token", type=token, help="what this order came to; has it not come by now, it is void")
    commands.add_parser("order", help="carries out the order on stdin")
    shadow = commands.add_parser("shadow", help="a release that runs beside the current one without speaking")
    shadow.add_argument("symbol", type=symbol)
    shadow.add_argument("bundle", nargs="?", type=_checked(TypeAdapter(Sha256), "the hash of a bundle"))
    shadow.add_argument("--token", type=token, help="where its files were brought to")
    for name, summary in (("hold", "silences a symbol; the reason on stdin"), ("release-hold", "ends a hold")):
        hold = commands.add_parser(name, help=summary)
        hold.add_argument("symbol", type=symbol)
        hold.add_argument("--who", required=True)
    for waiting in (state, shadow):
        waiting.add_argument("--lock-seconds", type=float, default=0.0, help="how long to wait for an order under way")
    return parser
