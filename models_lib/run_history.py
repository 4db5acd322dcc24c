"""What the runs of the last weeks came to, symbol by symbol, read from their summaries.

What does not belong here: who is champion (models_lib.registry) and writing summaries (models_lib.steps).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from models_lib.bundle.parsing import parse_json
from models_lib.errors import BundleError
from models_lib.running import run_folders

RUNS_LOOKED_AT = 60
"""Newest run folders that are read: two months of nights, in a fraction of a second."""


class _Gate(BaseModel):
    name: str
    severity: str
    passed: bool


class _Entry(BaseModel):
    """As much of a symbol's entry in `summary.json` as is told here."""

    outcome: Literal["promoted", "held", "failed"]
    reason: str
    gates: list[_Gate]
    report: str | None

    def failed_blocking(self) -> tuple[str, ...]:
        return tuple(gate.name for gate in self.gates if gate.severity == "blocking" and not gate.passed)


@dataclass(frozen=True)
class RunVerdict:
    """What one run came to for one symbol.

    Attributes:
        run_id: which run.
        at: when it began.
        outcome: promoted, held or failed.
        reason: why; empty when there is nothing to say.
        report: path of the symbol's page, if it has one.
    """

    run_id: str
    at: datetime
    outcome: Literal["promoted", "held", "failed"]
    reason: str
    report: str | None


@dataclass
class SymbolRuns:
    """The runs of one symbol, read from the newest back to its last promotion.

    Attributes:
        last: what the newest run came to; None when no kept run trained the symbol.
        held: the days (UTC) since the last promotion on which a run held a candidate; more than one run is one night.
        held_by: gate -> the days of these on which it said no.
        faults: what could not be read.
        complete: the last promotion was reached; older runs do not count.
    """

    last: RunVerdict | None = None
    held: set[date] = field(default_factory=set)
    held_by: dict[str, set[date]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    complete: bool = False

    def gates(self) -> dict[str, int]:
        """Gate -> nights on which it held a candidate, the most frequent first."""
        nights = {gate: len(days) for gate, days in self.held_by.items()}
        return dict(sorted(nights.items(), key=lambda item: (-item[1], item[0])))

    def add(self, verdict: RunVerdict, failed_gates: Sequence[str], *, since: datetime | None) -> None:
        """Takes in the next older run, which counts if it began after `since`."""
        self.last = self.last or verdict
        self.complete = verdict.outcome == "promoted" or (since is not None and verdict.at < since)
        if verdict.outcome == "held" and not self.complete:
            self.held.add(verdict.at.date())
            for gate in failed_gates:
                self.held_by.setdefault(gate, set()).add(verdict.at.date())


def read_runs(home: Path, symbols: Sequence[str], *, since: Mapping[str, datetime]) -> dict[str, SymbolRuns]:
    """The runs of each symbol, of the newest `RUNS_LOOKED_AT`.

    Args:
        home: the state folder.
        symbols: which are asked for.
        since: symbol -> time of its last change of champion; older runs do not count as held nights.
    """
    found = {symbol: SymbolRuns() for symbol in symbols}
    for folder in run_folders(home)[:RUNS_LOOKED_AT]:
        at = _began(folder)
        wanted = {symbol: runs for symbol, runs in found.items() if not runs.complete}
        if not wanted:
            break
        for symbol, entry in _entries(folder, wanted):
            if isinstance(entry, str):
                found[symbol].faults.append(entry)
                continue
            verdict = RunVerdict(folder.name, at, entry.outcome, entry.reason, entry.report)
            found[symbol].add(verdict, entry.failed_blocking(), since=since.get(symbol))
    return found


def _began(folder: Path) -> datetime:
    """When the run began, by its name; a folder of another name is as old as its last change."""
    try:
        return datetime.strptime(folder.name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(folder.stat().st_mtime, UTC)


def _entries(folder: Path, symbols: Mapping[str, object]) -> Iterator[tuple[str, _Entry | str]]:
    """Of each symbol that the run decided about: its entry, or what is wrong with it.

    A run that was killed has no summary; what it decided before lies in the symbols' own folders.
    """
    path = folder / "summary.json"
    if path.is_file():
        tree = _tree(path)
        entries = tree.get("symbols") if isinstance(tree, dict) else tree
        fault = entries if isinstance(entries, str) else f"{path} names no symbols"
        decided = entries if isinstance(entries, dict) else dict.fromkeys(symbols, fault)
    else:
        decided = {name: _tree(folder / name / "outcome.json") for name in symbols}
    for symbol in symbols:
        if decided.get(symbol) is not None:
            yield symbol, _entry(decided[symbol], folder)


def _tree(path: Path) -> dict[str, Any] | str | None:
    """The object in the file, or what is wrong with it; None when there is no such file."""
    try:
        return parse_json(path.read_bytes(), name=str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    except BundleError:
        return f"{path} is damaged"


def _entry(tree: dict[str, Any] | str, folder: Path) -> _Entry | str:
    if isinstance(tree, str):
        return tree
    try:
        return _Entry.model_validate(tree)
    except ValidationError:
        return f"run {folder.name}: its entry in the summary is damaged"
