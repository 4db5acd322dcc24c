"""A whole retrain as a person starts it, from parquet to promoted or held: `python -m tests.benchmarks.bench_run`.

`crpbot run` of three symbols with two years of candles each, as a process with a home of its own in which nothing ran
before: real Prefect, two symbols at once on one thread each, the shipped recipe but for at most 30 epochs instead of the
configured, all gates, temperature, report. A symbol whose file in the folder of candles is shorter, or that has none, is
simulated, and the result says which.

The seconds of the steps are those of the run's own summary.json. Memory is what all its processes share out among
themselves (PSS), sampled each second; where the summary knows the peak of a step, that stands beside the step.

Not here: what Prefect costs of it (bench_orchestration.py), and how fast a step is beside other ways to do it.
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
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models_lib.candles.simulated import DAY_MINUTES, simulate_candles
from models_lib.candles.sources import read_parquet
from models_lib.config import RunConfig
from models_lib.reports.summary import outcome_lines

AT_ONCE = 2
SIMULATED_FROM = datetime(2024, 4, 1, tzinfo=UTC)
"""A Monday, as the simulated week wants it, from which two years are over."""
ENVIRONMENT = "CRPBOT_TEST_CANDLES"
"""Names the folder of candles where no option does."""
STEPS = (
    "candles", "features", "labels", "scaler", "train", "temperature", "candidate", "judge", "report", "promote", "deploy", "page",
)  # fmt: skip
"""In their order, which the summary does not keep; one that is not among them comes last."""
_TWO_YEARS = "spot-2y"
_SAMPLE_SECONDS = 1.0


@dataclass(frozen=True)
class Size:
    """How much is trained."""

    symbols: tuple[str, ...]
    days: int
    most_epochs: int
    settings: tuple[str, ...] = ()


FULL = Size(RunConfig().symbols, days=730, most_epochs=30)
TINY = Size(("BTC-USD",), 14, 1, ("evaluation.block_bars=60", "evaluation.bootstrap_samples=200"))


def folder_of(named: Path | None) -> Path | None:
    """The folder with <SYMBOL>.parquet: the named one, else the environment's; of several lengths the two years."""
    found = named or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if found and not found.is_dir():
        raise SystemExit(
            f"the folder of candles {found} does not exist. Name another one, or none: all is simulated then."
        )
    return found / _TWO_YEARS if found and (found / _TWO_YEARS).is_dir() else found


def lay_out(candles: Path | None, folder: Path, size: Size) -> dict[str, str]:
    """Writes <SYMBOL>.parquet of each symbol's newest days into `folder`; whether they are real or simulated."""
    bars, origins = size.days * DAY_MINUTES, {}
    folder.mkdir()
    for symbol in size.symbols:
        path = candles / f"{symbol}.parquet" if candles else None
        frame = read_parquet(path, symbol=symbol).tail(bars) if path and path.is_file() else None
        origins[symbol] = "real" if frame is not None and len(frame) == bars else "simulated"
        if origins[symbol] == "simulated":
            frame = simulate_candles(symbol, market="default", seed=7, days=size.days, start=SIMULATED_FROM)
        frame.to_parquet(folder / f"{symbol}.parquet", index=False)
    return origins


def bench(candles: Path | None, size: Size = FULL) -> dict[str, Any]:
    """Seconds of the whole and of each step, memory, and what became of each symbol."""
    with tempfile.TemporaryDirectory(prefix="crpbot-bench-") as scratch:
        folder, home = Path(scratch, "candles"), Path(scratch, "home")
        origins = lay_out(candles, folder, size)
        whole = _crpbot_run(folder, home, size)
        (path,) = home.glob("runs/*/summary.json")
        summary = json.loads(path.read_text())
        lines = dict(zip(summary["symbols"], outcome_lines(summary), strict=True))
        symbols = {
            symbol: {"candles": origins[symbol], "told": lines[symbol], **_symbol(entry, path.parent / symbol)}
            for symbol, entry in summary["symbols"].items()
        }
    return {
        "days": size.days,
        "most_epochs": size.most_epochs,
        "cores": len(os.sched_getaffinity(0)),
        **whole,
        "peak_mb_a_symbol": whole["peak_mb"] / min(AT_ONCE, len(size.symbols)),
        "symbols_without_verdict": sum(one["outcome"] == "failed" for one in symbols.values()),
        "symbols": symbols,
    }


def _symbol(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the summary and the history of the training say of one symbol."""
    found = {"outcome": entry["outcome"], "seconds": entry["seconds"], "peak_rss_mb": entry.get("peak_rss_mb") or {}}
    if not (folder / "training/history.json").is_file():  # it failed before, and its line says of what
        return found
    history = json.loads((folder / "training/history.json").read_text())
    seconds = [epoch["seconds"] for epoch in history["epochs"]]
    return found | {
        "epochs": len(seconds),
        "best_epoch": history["best_epoch"],
        "stop": history["stop"],
        "epoch_seconds": statistics.median(seconds),
    }


def _crpbot_run(folder: Path, home: Path, size: Size) -> dict[str, float]:
    """Runs it to its end; seconds of the wall and of the processor, and its memory."""
    settings = (
        "data.source=parquet",
        f"data.path={folder}",
        "training.device=cpu",
        f"training.max_parallel={AT_ONCE}",
        f"training.max_epochs={size.most_epochs}",
    )
    command = [sys.executable, "-m", "flows.cli", "run", "--symbols", ",".join(size.symbols)]
    command += [word for setting in (*settings, *size.settings) for word in ("--set", setting)]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CRPBOT_"))}
    environment = ours | {"CRPBOT_HOME": str(home), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with (folder.parent / "said").open("w+") as said:
        with (
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said) as process,
            peak_memory(process.pid) as peak,
        ):
            status = process.wait()
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        if status not in (0, 1):  # 1: a symbol failed, which the summary says
            said.seek(0)
            raise RuntimeError(f"crpbot run ended with status {status}. It said last: {said.read()[-2_000:]}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_seconds": wall, "processor_seconds": processor, "peak_mb": peak["mb"]}


@contextlib.contextmanager
def peak_memory(process_id: int) -> Iterator[dict[str, float]]:
    """Under "mb": the most that the process and its descendants held together (PSS) while the body ran."""
    most, over = {"mb": 0.0}, threading.Event()

    def look() -> None:
        most["mb"] = max(most["mb"], sum(map(_pss_mb, family(process_id))))

    def watch() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            look()
        look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def family(process_id: int) -> list[int]:
    """The process and its descendants of the moment."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [process_id]
    for one in found:  # grows while it is walked
        found += children.get(one, [])
    return found


def _pss_mb(process_id: int) -> float:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # ended, or is about to
        text = Path(f"/proc/{process_id}/smaps_rollup").read_text()
        return int(text.partition("\nPss:")[2].split(maxsplit=1)[0]) / 1024 if "\nPss:" in text else 0.0
    return 0.0


def tell(found: dict[str, Any]) -> None:
    """Prints the steps of each symbol, the verdicts and the whole."""
    symbols = found["symbols"]
    print(f"from parquet to a verdict: {found['days']} days, at most {found['most_epochs']} epochs, {AT_ONCE} at once")
    simulated = [symbol for symbol, one in symbols.items() if one["candles"] == "simulated"]
    if simulated:
        print(f"  simulated, as there is no such file of {found['days']} days: {', '.join(simulated)}")
    print(f"  {'':12}" + "".join(f"{symbol:>20}" for symbol in symbols))
    known = {step for one in symbols.values() for step in one["seconds"]}
    for step in [*(step for step in STEPS if step in known), *sorted(known - {*STEPS})]:
        print(f"  {step:12}" + "".join(_cell(one, step) for one in symbols.values()))
    print(f"  {'together':12}" + "".join(f"{sum(one['seconds'].values()):9.1f} s{'':9}" for one in symbols.values()))
    for symbol, one in symbols.items():
        if "epochs" in one:
            print(
                f"  {symbol}: {one['epochs']} epochs of {one['epoch_seconds']:.2f} s with their gates (median), "
                f"the best was {one['best_epoch']}, ended by {one['stop']}"
            )
    for one in symbols.values():
        print(f"  {one['told']}")
    print(
        f"  whole command: {found['wall_seconds']:.1f} s, of the processor {found['processor_seconds']:.1f} s; "
        f"its processes held {found['peak_mb']:,.0f} MB at the most, {found['peak_mb_a_symbol']:,.0f} MB a symbol at work"
    )


def _cell(one: dict[str, Any], step: str) -> str:
    seconds, peak = one["seconds"].get(step), one["peak_rss_mb"].get(step)
    told = "" if seconds is None else f"{seconds:9.2f} s"
    return f"{told:11}{'' if peak is None else f'{peak:,.0f} MB':>9}"


def main() -> None:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candles", type=Path, help=f"folder with <SYMBOL>.parquet; else that of {ENVIRONMENT}")
    parser.add_argument("--tiny", action="store_true", help="shows that it runs, measures nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    found = bench(folder_of(arguments.candles), TINY if arguments.tiny else FULL)
    print(json.dumps(found, indent=2)) if arguments.json else tell(found)


if __name__ == "__main__":
    main()
