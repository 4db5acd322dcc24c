"""`crpbot fetch`: the archives of candles are brought up to date from the exchange, now."""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flows.home import crpbot_home, prepare_home
from flows.interruption import EXIT_STATUS as INTERRUPTED
from flows.interruption import ends_when_interrupted
from flows.plain_table import table_lines
from models_lib.errors import ConfigError, CrpbotError, TransientError

if TYPE_CHECKING:
    from models_lib.candles.fetching import Told

_HEADER = ("symbol", "market", "from", "to", "rows", "new", "corrected", "changed", "missing", "requests", "seconds")
DONE, NO, NOTHING_STARTED, LATER = 0, 1, 2, 3


def execute(arguments: argparse.Namespace) -> int:
    """Prints one line a symbol; 1 when one of them failed, 3 when trying again later may help all that did."""
    from flows.console import fetching_on_stderr
    from models_lib.candles.fetching import bring_up_to_date, until_now
    from models_lib.candles.since import since_ms
    from models_lib.config import load_config, select_symbols
    from models_lib.interruption import request_stop
    from tasks.adapters.archives import open_archive
    from tasks.adapters.sources import open_asked

    config, home = load_config(arguments.config, tuple(arguments.settings)), crpbot_home()
    asked = tuple(part.strip() for part in arguments.symbols.split(",")) if arguments.symbols is not None else None
    symbols, now_ms = select_symbols(config, asked), time.time_ns() // 1_000_000
    span = until_now(since_ms(arguments.since or f"{config.data.days}d", now_ms=now_ms), now_ms)
    prepare_home(home)
    archive, exchange = open_archive(config, home=home), open_asked(config, home=home)
    try:
        with ends_when_interrupted(), fetching_on_stderr() as on_progress:
            wanted = dict.fromkeys(symbols, span)
            told = bring_up_to_date(exchange, archive, wanted, config.exchange, on_progress=on_progress)
    except KeyboardInterrupt:
        request_stop()
        print("crpbot: interrupted; what came is kept, and the next fetch goes on from there", file=sys.stderr)
        return INTERRUPTED
    if arguments.json:
        document = {
            "exchange": exchange.name,
            "archive": archive.place.name,
            "symbols": {symbol: _plain(one) for symbol, one in told.items()},
        }
        print(json.dumps(document, indent=2, sort_keys=True))
    else:
        _print_table(told)
    return _status(told)


def _plain(one: "Told") -> dict[str, Any]:
    return {"error": str(one)} if isinstance(one, CrpbotError) else {**one.to_json(), "error": None}


def _print_table(told: "dict[str, Told]") -> None:
    rows = [_cells(one) for one in told.values() if not isinstance(one, CrpbotError)]
    if rows:
        print("\n".join(table_lines(_HEADER, rows, "<<<<>>>>>>>")))
    for one in told.values():
        if not isinstance(one, CrpbotError):
            print("".join(f"{line}\n" for line in one.remarks()), end="")


def _cells(one: "Told") -> tuple[str, ...]:
    from models_lib.candles.bars import moment

    assert not isinstance(one, CrpbotError)
    return (
        one.symbol,
        one.market,
        moment(one.span.start_ms),
        moment(one.span.end_ms),
        f"{one.rows:,}",
        f"{one.new_rows:,}",
        f"{one.corrections:,}",
        f"{len(one.changed or ()):,}",
        f"{sum(one.hole_minutes.values()):,}",
        f"{one.requests:,}",
        f"{one.seconds:.1f}",
    )


def _status(told: "dict[str, Told]") -> int:
    failed = {symbol: one for symbol, one in told.items() if isinstance(one, CrpbotError)}
    if not failed:
        return DONE
    print(f"crpbot: {len(failed)} of {len(told)} symbols could not be brought up to date:", file=sys.stderr)
    for symbol, error in failed.items():
        print(f"  {error}" if str(error).startswith(symbol) else f"  {symbol}: {error}", file=sys.stderr)
    return _worst(failed.values(), all_failed=len(failed) == len(told))


def _worst(failed: Iterable[CrpbotError], *, all_failed: bool) -> int:
    errors = list(failed)
    if all(isinstance(error, TransientError) for error in errors):
        return LATER
    if all_failed and all(isinstance(error, ConfigError) for error in errors):
        return NOTHING_STARTED
    return NO
