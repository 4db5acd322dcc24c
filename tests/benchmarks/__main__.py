"""`make bench`: every claim about speed in one run, as ratios and as seconds: `python -m tests.benchmarks [options]`.

Seconds depend on the machine and on its neighbours; a ratio of two things that took turns in one run does not. Options
go through make as `make bench BENCH='--only run --json now.json'`.

Not here: what is compared and how it is timed (bench_*.py), the goals (goals.py), earlier runs (earlier.py).
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from models_lib.candles.simulated import simulate_candles
from models_lib.files import write_json
from tests.benchmarks import (
    bench_archive,
    bench_features,
    bench_orchestration,
    bench_run,
    bench_training,
    earlier,
    goals,
)


@dataclass(frozen=True)
class Amounts:
    """How much is measured, and on what."""

    days: int
    rounds: int
    epoch_rows: int
    at_once_seconds: float
    orchestrated: int
    run: bench_run.Size
    candles: Path | None = None
    """Real ones for the whole run. Elsewhere the market is simulated: TA-Lib and the like know nothing of holes."""


FULL = Amounts(days=730, rounds=3, epoch_rows=50_000, at_once_seconds=15.0, orchestrated=3, run=bench_run.FULL)
TINY = Amounts(days=20, rounds=1, epoch_rows=6_000, at_once_seconds=0.1, orchestrated=1, run=bench_run.TINY)


def features(amounts: Amounts) -> dict[str, Any]:
    """The 72 features, ours and others'."""
    candles = simulate_candles("BTC-USD", market="default", seed=7, days=amounts.days)
    found = bench_features.bench(candles, amounts.rounds)
    bench_features.tell(found, amounts.rounds)
    return found


def archive(amounts: Amounts) -> dict[str, Any]:
    """Reading three symbols from the archive of candles."""
    rounds = 5 * amounts.rounds  # a read is short, and easily disturbed
    found = bench_archive.bench(amounts.days, rounds)
    bench_archive.tell(found, rounds)
    return found


def training(amounts: Amounts) -> dict[str, Any]:
    """An epoch by our loop and by others, under the size of its batch; three symbols at once, under `at once`."""
    bench_training.as_the_worker_trains()
    rows, rounds = amounts.epoch_rows, amounts.rounds
    found = {f"batch {batch}": bench_training.measure(rows=rows, batch=batch, rounds=rounds) for batch in (256, 1_024)}
    bench_training.tell(list(found.values()))
    together = bench_training.at_once(rows=rows, seconds=amounts.at_once_seconds)
    bench_training.tell_at_once(together)
    return found | {"at once": together}


def orchestration(amounts: Amounts) -> dict[str, Any]:
    """A run with Prefect and the same steps without."""
    found = bench_orchestration.measure(amounts.orchestrated, 1)
    bench_orchestration.tell(found)
    return found


def run(amounts: Amounts) -> dict[str, Any]:
    """From parquet to a verdict."""
    found = bench_run.bench(amounts.candles, amounts.run)
    bench_run.tell(found)
    return found


BENCHMARKS: dict[str, Callable[[Amounts], dict[str, Any]]] = {
    "features": features,
    "archive": archive,
    "training": training,
    "orchestration": orchestration,
    "run": run,
}


def main(words: Sequence[str] | None = None) -> int:
    """Prints tables and goals; 1 when a goal was missed."""
    parser = _parser()
    chosen = parser.parse_args(words)
    amounts = replace(TINY if chosen.tiny else FULL, candles=bench_run.folder_of(chosen.candles))
    try:
        before = earlier.read(chosen.against) if chosen.against else None
        if chosen.json:
            chosen.json.touch()  # said now, not when all is measured
    except (OSError, ValueError) as error:
        parser.error(str(error))
    told = {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}",
        "machine": machine(),
        "tiny": chosen.tiny,
        "candles": "real" if amounts.candles else "simulated",
        "load_average": os.getloadavg()[0],
    }
    measured = {}
    for name, benchmark in BENCHMARKS.items():
        if name in (chosen.only or BENCHMARKS):
            print(f"{name} ...", file=sys.stderr, flush=True)
            measured[name] = benchmark(amounts)
            sys.stdout.flush()
    judged = goals.judged(measured)
    told |= {"measured": measured, "goals": {one.goal.name: one.as_json() for one in judged}}
    if chosen.json:
        write_json(chosen.json, told)
    if before:
        earlier.tell(before, told)
    if chosen.tiny:
        print("tiny: it runs; nothing was judged")
        return 0
    print("\n".join(one.told() for one in judged))
    return 0 if all(one.reached for one in judged) else 1


def machine() -> dict[str, Any]:
    """What the seconds depend on most."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0].partition(": ")[2] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", choices=tuple(BENCHMARKS), help="this one; may be given again")
    parser.add_argument(
        "--candles", type=Path, metavar="DIR", help=f"two years of <SYMBOL>.parquet; else {bench_run.ENVIRONMENT}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there")
    parser.add_argument("--against", type=Path, metavar="OLD.json", help="print ratios to that earlier --json")
    parser.add_argument("--tiny", action="store_true", help="shows that everything runs, measures nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
