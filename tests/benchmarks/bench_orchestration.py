"""What a run costs beside the work of its steps: `python -m tests.benchmarks.bench_orchestration [--symbols N]`.

`crpbot run` and the same steps without Prefect, on the same embedded market, each in a process and a home of its own, in
turns, with as many threads. The difference is Prefect's import, its server, its bookkeeping, the artifacts, the messages
and the summary: all that is not library work. Wall seconds are what a person waits; seconds of the processor are what
other programs on the machine disturb little.

Neither deploys: that is work of the steps as well (summary.json tells its seconds), and it is left out on both sides.

The home has seen two other runs before, as every night but the first. The first run in a home also creates Prefect's
database, which is told apart.

With more than three symbols the market is two short weeks and the training one epoch, so that a hundred of them end in
minutes; the cost a symbol is printed beside the share.

Not here: how long the steps themselves take (summary.json, "seconds").
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from models_lib.config import RunConfig, load_config
from models_lib.steps.plan import plan_run
from models_lib.steps.summary import parallel_symbols
from studies.retrain import retrain

NOT_DEPLOYED = ("deployment.target=null",)
SHORT = (
    "data.days=14",
    "training.max_epochs=1",
    "evaluation.block_bars=60",
    "evaluation.bootstrap_samples=200",
)
_RUN = (sys.executable, "-m", "flows.cli", "run", "--json")


@dataclass(frozen=True)
class Cost:
    """Seconds of one process and its children."""

    wall: float
    processor: float


@dataclass(frozen=True)
class Costs:
    """Of the runs of one home, in their order."""

    first: Cost
    """It also makes Prefect's database."""
    second: Cost
    """As short as the first."""
    measured: Cost


def settings_of(num_symbols: int) -> tuple[str, ...]:
    """The default market for the three default symbols, a short one for more."""
    if num_symbols == len(RunConfig().symbols):
        return NOT_DEPLOYED
    names = ", ".join(f"S{number:03d}-USD" for number in range(num_symbols))
    return (f"symbols=[{names}]", *SHORT, *NOT_DEPLOYED)


def as_a_run(settings: Sequence[str], *, keep: Path | None = None) -> Costs:
    """`crpbot run` in a new home, after two short runs of symbols of their own, which leave it nothing to take over."""
    with _home(keep) as home:
        first, second = (
            _timed(home, [*_RUN, *_words((*SHORT, *NOT_DEPLOYED, f"symbols=[{name}]"))])
            for name in ("ONE-USD", "TWO-USD")
        )
        return Costs(first, second, _timed(home, [*_RUN, *_words(settings)]))


def as_a_library(settings: Sequence[str]) -> Cost:
    """The same steps without Prefect."""
    with _home() as home:
        return _timed(home, [sys.executable, "-m", __spec__.name, "--as-a-library", *_words(settings)])


def measure(num_symbols: int, rounds: int, *, keep: Path | None = None) -> dict[str, float]:
    """Medians over rounds in which both took turns; the last run's home is kept in that folder."""
    settings = settings_of(num_symbols)
    runs, plain = [], []
    for number in range(rounds):
        runs.append(as_a_run(settings, keep=keep if number == rounds - 1 else None))
        plain.append(as_a_library(settings))

    def median(costs: Sequence[Cost], what: str) -> float:
        return statistics.median(getattr(cost, what) for cost in costs)

    measured = [one.measured for one in runs]
    wall, library = median(measured, "wall"), median(plain, "wall")
    return {
        "symbols": float(num_symbols),
        "run_wall_seconds": wall,
        "library_wall_seconds": library,
        "run_processor_seconds": median(measured, "processor"),
        "library_processor_seconds": median(plain, "processor"),
        "seconds_that_are_not_library_work": wall - library,
        "share_of_the_run": (wall - library) / wall,
        "seconds_a_symbol": (wall - library) / num_symbols,
        "seconds_more_of_the_first_run": statistics.median(one.first.wall - one.second.wall for one in runs),
    }


def tell(found: dict[str, float]) -> None:
    """A few lines for people."""
    print(f"orchestration of {found['symbols']:.0f} symbols:")
    for kind in ("wall", "processor"):
        run, library = found[f"run_{kind}_seconds"], found[f"library_{kind}_seconds"]
        print(f"  {kind:<10} crpbot run {run:6.1f} s, the same steps without Prefect {library:6.1f} s")
    extra, share = found["seconds_that_are_not_library_work"], found["share_of_the_run"]
    print(f"  not library work: {extra:.1f} s, {share:.1%} of the run, {found['seconds_a_symbol']:.2f} s a symbol")
    print(f"  the first run in a home takes {found['seconds_more_of_the_first_run']:.1f} s more")


def _words(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@contextlib.contextmanager
def _home(keep: Path | None = None) -> Iterator[str]:
    if keep:
        yield str(keep.absolute())
        return
    with tempfile.TemporaryDirectory(prefix="crpbot-bench-") as home:
        yield home


def _timed(home: str, command: list[str]) -> Cost:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        command,
        env=environment | {"CRPBOT_HOME": home},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _run_as_a_library(settings: Sequence[str]) -> None:
    config, home, now = load_config(None, settings), Path(os.environ["CRPBOT_HOME"]), datetime.now(UTC)
    plan = plan_run(config, home=home, symbols=None, who="bench", now=now)
    with ThreadPoolExecutor(parallel_symbols(plan)) as pool:
        list(pool.map(lambda symbol: retrain(config, symbol, home=home, now=now, with_last_page=True), plan.symbols))


def main() -> None:
    """Prints the cost of orchestration."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--symbols", type=int, default=len(RunConfig().symbols), help="how many (default: three)")
    parser.add_argument("--rounds", type=int, default=1, help="of both, in turns")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="home of the last run, to look at its summary")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--as-a-library", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--set", action="append", default=[], dest="settings", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.as_a_library:
        _run_as_a_library(chosen.settings)
        return
    found = measure(chosen.symbols, chosen.rounds, keep=chosen.keep)
    print(json.dumps(found)) if chosen.json else tell(found)


if __name__ == "__main__":
    main()
