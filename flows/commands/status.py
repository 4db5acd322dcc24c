"""`crpbot status`: where each symbol stands, and what needs a look. It must not wait for torch, numba or Prefect."""

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.home import crpbot_home, operator
from flows.plain_table import table_lines

if TYPE_CHECKING:
    from models_lib.status import Status, SymbolStatus

_SERVER_SECONDS = 3.0
_HEADER = ("symbol", "champion", "since (UTC)", "age", "expires", "last run", "began (UTC)", "held", "release", "hold")


def execute(arguments: argparse.Namespace) -> int:
    """Prints one line a symbol, then what needs a look."""
    from models_lib.config import load_config
    from models_lib.deployment.known import known_targets
    from models_lib.registry.commands import check_known, known_symbols
    from models_lib.status import read_status
    from tasks.adapters.links import open_ssh
    from tasks.adapters.stores import registry_to_look_at

    home, config = crpbot_home(), load_config(arguments.config, arguments.settings)
    registry = registry_to_look_at(home, config)
    for symbol in arguments.symbols:
        check_known(home, symbol, config.symbols, registry=lambda: registry)
    symbols = tuple(dict.fromkeys(arguments.symbols)) or known_symbols(home, config.symbols, registry=registry)
    targets = known_targets(home, config.deployment, ssh=open_ssh, who=operator())
    status = read_status(
        home, symbols, registry=registry, now=datetime.now(UTC), targets=targets, waiting=_waiting_for_a_person()
    )
    if arguments.json:
        document = {
            "home": str(home),
            "symbols": {row.symbol: row.to_json() for row in status.symbols},
            "retrain": status.retrain,
            "running": list(status.running),
            "notices": {"pending": status.notices, "undelivered": status.undelivered},
            "damage": list(status.damage),
        }
        print(json.dumps(document, indent=2, sort_keys=True))
        return 0
    print("\n".join(table_lines(_HEADER, [_cells(row) for row in status.symbols], "<<<>><<><<")))
    for line in _remarks(status):
        print(line)
    if status.damage:
        print(f"crpbot: the record of champions is damaged: {'; '.join(status.damage)}", file=sys.stderr)
    return 0


def _waiting_for_a_person() -> dict[str, str]:
    """Symbol -> the approval that it waits for, where the environment names a server; one that is away is a remark."""
    from flows.serving.settings import API_URL, address
    from flows.waiting_runs import waiting_runs
    from models_lib.errors import TransientError

    if not os.environ.get(API_URL):
        return {}
    try:
        waiting = waiting_runs(address().api_url, seconds=_SERVER_SECONDS)
    except TransientError as error:
        print(f"crpbot: what waits for approval is not shown: {error}", file=sys.stderr)
        return {}
    return {symbol: f"the approval of {run.name} (crpbot approve)" for run in waiting for symbol in run.symbols}


def _cells(row: "SymbolStatus") -> tuple[str, ...]:
    champion, last = row.champion, row.last
    nights = len(row.runs.held)
    return (
        row.symbol,
        (champion.bundle or "")[:12] if champion else "none",
        f"{champion.since.astimezone(UTC):%Y-%m-%d %H:%M}" if champion else "-",
        "-" if row.age_days is None else f"{row.age_days:.1f} d",
        _expiry(row),
        last.outcome if last else "none",
        f"{last.at:%Y-%m-%d %H:%M}" if last else "-",
        f"{nights} {'night' if nights == 1 else 'nights'}",
        ", ".join(f"{target}: {(release or 'none')[:12]}" for target, release in row.releases.items())
        or "not_configured",
        "yes" if row.hold else "no",
    )


def _expiry(row: "SymbolStatus") -> str:
    if row.champion is None:
        return "-"
    if row.days_left is None:
        return "unknown"
    return f"in {row.days_left:.1f} d" if row.days_left > 0 else f"{-row.days_left:.1f} d ago"


def _remarks(status: "Status") -> list[str]:
    """What does not fit into a cell: reasons, holds, warnings, faults, runs at work."""
    lines = []
    for row in status.symbols:
        if row.last is not None and row.last.reason:
            reason = " ".join(row.last.reason.split()).removeprefix(f"{row.last.outcome} ")
            lines.append(f"{row.symbol}: {row.last.outcome} {reason}")
        if row.hold is not None:
            lines.append(f"{row.symbol}: {row.hold.sentence()}")
        lines += [f"{row.symbol}: {target}: {line}" for target, line in row.live.items()]
        failed = {target: last for target, last in row.attempts.items() if last.outcome != "deployed"}
        lines += [f"{row.symbol}: {target}: last deployment: {last.sentence()}" for target, last in failed.items()]
        if row.waiting:
            lines.append(f"{row.symbol}: waits for {row.waiting}")
        warning = row.warning()
        lines += [f"warning: {warning.sentence()}"] if warning is not None else []
        lines += [f"{row.symbol}: {fault}" for fault in row.faults]
    lines += [f"running: run {run}" for run in status.running]
    lines += [f"running: {status.retrain}"] if status.retrain else []
    lines += [f"notices: {status.notices} not delivered yet"] if status.notices else []
    lines += [f"notices: {status.undelivered} given up, see outbox/undelivered"] if status.undelivered else []
    return lines
