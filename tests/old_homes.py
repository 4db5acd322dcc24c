"""Homes with a past, for the tests of status and retention: runs, results of steps and ledgers, without any model."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from models_lib.registry import LedgerEntry, LocalStore, Registry
from models_lib.registry.ledger import read_chain

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def ago(days: float) -> datetime:
    """A time of the tests' own clock."""
    return NOW - timedelta(days=days)


def aged(path: Path, days: float) -> Path:
    """The file, or the folder with all that lies in it, as it would be after so many days."""
    for one in (*path.rglob("*"), path):
        os.utime(one, (ago(days).timestamp(),) * 2, follow_symlinks=False)
    return path


def entry(outcome: str, *failed: str, reason: str = "", report: str | None = None) -> dict[str, Any]:
    """A symbol's entry of `summary.json`, as far as anybody reads it here, with the gates that failed."""
    gates = [{"name": name, "severity": "blocking", "passed": False} for name in failed]
    passed = {"name": "finite", "severity": "blocking", "passed": True}
    advisory = {"name": "edge_after_costs", "severity": "advisory", "passed": False}
    return {"outcome": outcome, "reason": reason, "gates": [*gates, passed, advisory], "report": report, "bundle": None}


def write_run(home: Path, days: float, symbols: Mapping[str, Any], *, suffix: str = "a") -> Path:
    """A run that began so many days ago and ended with these entries."""
    folder = home / "runs" / f"{ago(days):%Y%m%dT%H%M%SZ}-{suffix}"
    for symbol in symbols:
        (folder / symbol).mkdir(parents=True)
        (folder / symbol / "report.html").write_text("report")
    (folder / "summary.json").write_text(json.dumps({"run_id": folder.name, "symbols": symbols}))
    return aged(folder, days)


def write_step(home: Path, name: str, days: float, *, finished: bool = True, symbol: str = "BTC-USD") -> Path:
    """The kept result of a step that was used so many days ago; its files are older."""
    folder = home / "cache" / "steps" / symbol / name
    folder.mkdir(parents=True)
    (folder / "features.npy").write_bytes(b"x" * 1000)
    (folder / ".lock").touch()
    if finished:
        (folder / "result.json").write_text("{}")
    aged(folder, days + (50 if finished else 0))
    if finished:
        aged(folder / "result.json", days)
    return folder


def write_bundle(home: Path, bundle: str, days: float) -> Path:
    """Something under a bundle's hash, with a verdict; only its age matters."""
    folder, verdicts = home / "store" / "bundles" / bundle, home / "store" / "verdicts" / bundle
    for one in (folder, verdicts):
        (one / "golden").mkdir(parents=True)
        for name in ("manifest.json", "golden/golden.safetensors"):
            (one / name).write_text("{}")
        aged(one, days)
    return folder


def write_change(
    home: Path,
    symbol: str,
    bundle: str | None,
    days: float,
    *,
    run_id: str | None = None,
    cost_usd: float = 0.0,
) -> None:
    """A line of the ledger: the promotion of that bundle, or a rollback; pointers follow."""
    store = LocalStore(home)
    chain = read_chain(store.ledger().lines)
    standing = chain.standing(symbol)
    line = LedgerEntry.model_validate(
        {
            "index": len(chain.entries),
            "time": ago(days),
            "who": "test",
            "symbol": symbol,
            "action": "promote" if bundle else "rollback",
            "from": standing.champion,
            "to": bundle or standing.previous,
            "why": "test",
            "cost_usd": cost_usd,
            "run_id": run_id,
            "gates": {},
            "previous_hash": chain.head,
        }
    ).sealed()
    assert store.append(line.line(), index=line.index)
    Registry(store).recover()


def names(home: Path) -> set[str]:
    """Every path below the home except locks."""
    found = (path.relative_to(home).as_posix() for path in home.rglob("*"))
    return {name for name in found if name not in ("clean.lock", "registry.lock")}
