"""`crpbot costs`: what was paid for what. It must not wait for torch, boto3 or Prefect."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flows.home import crpbot_home
from flows.plain_table import table_lines

if TYPE_CHECKING:
    from models_lib.costs import CostLedger, JobCost
    from models_lib.costs.statement import Item
    from models_lib.registry import LedgerEntry

_HEADER = ("jobs", "billed time", "billed USD", "may yet be USD", "spot saved", "prices")
_ALIGN = ">>>>><"


def execute(arguments: argparse.Namespace) -> int:
    """Prints one line a run, symbol, month or model, and what this month has come to."""
    from models_lib.costs import CostLedger, month_of, told_usd
    from models_lib.costs.ledger import damage_sentence
    from models_lib.costs.statement import together

    ledger, now = CostLedger(crpbot_home()), datetime.now(UTC)
    items, damaged = _items(ledger, arguments), ledger.damaged_lines()
    month = {"name": month_of(now), "billed_usd": ledger.spent(month_of(now)), "committed_usd": ledger.committed(now)}
    if arguments.json:
        document: dict[str, Any] = {
            "by": arguments.by,
            "items": [item.to_json() for item in items],
            "month": month,
            "damaged_lines": list(damaged),
        }
        print(json.dumps(document, indent=2, sort_keys=True))
    elif not ledger.jobs():
        print("nothing was paid: no training was billed")
    else:
        print("\n".join(_table(arguments.by, [*items, together(items)])))
        open_usd = ledger.committed(now) - ledger.spent(month_of(now))
        print(f"{month_of(now)} (UTC): {told_usd(ledger.spent(month_of(now)))} USD billed, {open_usd:.2f} may yet be")
        print("".join(f"{line}\n" for line in _remarks(ledger.running())), end="")
    if damaged:
        print(f"crpbot: {damage_sentence(ledger.path, damaged)}", file=sys.stderr)
    return 0


def _items(ledger: "CostLedger", arguments: argparse.Namespace) -> "Sequence[Item]":
    from models_lib.costs.statement import statement, statement_of_models

    match arguments.by:
        case "run" | "symbol" | "month" as by:
            return statement(ledger, by)
        case _:
            return statement_of_models(ledger, _promotions(arguments))


def _promotions(arguments: argparse.Namespace) -> "Sequence[LedgerEntry]":
    from models_lib.config import load_config
    from tasks.adapters.stores import registry_to_look_at

    config = load_config(arguments.config, arguments.settings)
    return registry_to_look_at(crpbot_home(), config).history().entries


def _table(by: str, items: "Sequence[Item]") -> list[str]:
    if by != "model":
        return table_lines((by, *_HEADER), [(item.name, *_figures(item)) for item in items], f"<{_ALIGN}")
    rows = [(*_model(item), *_figures(item)) for item in items]
    return table_lines(("model", "symbol", "promoted (UTC)", "run", *_HEADER), rows, f"<<<<{_ALIGN}")


def _model(item: "Item") -> tuple[str, str, str, str]:
    if item.model is None:
        return item.name, "", "", ""
    when = f"{item.model.promoted_at.astimezone(UTC):%Y-%m-%d %H:%M}"
    return item.name[:12], item.model.symbol, when, item.model.run_id or "-"


def _figures(item: "Item") -> tuple[str, ...]:
    from models_lib.costs import told_usd

    failed = sum(job.outcome in ("failed", "stopped") for job in item.jobs)
    return (
        f"{len(item.jobs)} ({failed} failed)" if failed else f"{len(item.jobs)}",
        _duration(item.billable_seconds),
        "unknown" if item.cost_usd is None else told_usd(item.cost_usd),
        f"{item.open_usd:.2f}",
        "-" if item.spot_saving is None else f"{item.spot_saving:.0%}",
        _prices(item.jobs),
    )


def _prices(jobs: "Sequence[JobCost]") -> str:
    """Each price with its date; of more than two only the newest, and how many more."""
    newest_first = sorted({(job.price_as_of, job.instance_type, job.usd_per_hour) for job in jobs}, reverse=True)
    told = [f"{machine} {usd:g} USD/h of {day}" for day, machine, usd in newest_first]
    return ", ".join(told if len(told) <= 2 else [told[0], f"and {len(told) - 1} more"]) or "-"


def _remarks(running: "Sequence[JobCost]") -> list[str]:
    return [
        f"{job.symbol}: {job.job} was submitted {job.submitted_at.astimezone(UTC):%Y-%m-%d %H:%M} and has no end yet; it "
        f"counts with its ceiling, {job.ceiling_usd:.2f} USD"
        for job in running
    ]


def _duration(seconds: float) -> str:
    """As in 1:02:03, hours first."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
