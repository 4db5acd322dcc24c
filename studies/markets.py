"""Retrains on many simulated markets of one kind and says whether the verdicts tell the truth about it.

    python -m studies.markets --market iid --seeds 20
    python -m studies.markets --market null --label forward_return --out null_forward_return.json
    python -m studies.markets --market planted --seeds 3

Every market goes through the product's own steps, from candles to promotion in a store of its own (retrain.py). `iid`:
nothing is predictable. `null`: volatility is, direction is not. `planted`: the best possible accuracy is known. The
claims are in claims.py; the exit status is 1 when one is broken. One run takes some 10 seconds of one core.
"""

import argparse
import json
import logging
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from models_lib.candles.planted import class_probabilities
from models_lib.config import RunConfig, load_config
from models_lib.errors import CrpbotError
from models_lib.files import write_json
from models_lib.steps.candles import read_candles
from models_lib.steps.labels import read_labels
from models_lib.steps.refs import Prepared
from studies.claims import Claim, MarketRun, claims_of
from studies.retrain import retrain, temporary_home

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_COLUMNS = ("accuracy", "mechanical_rule_accuracy", "lift", "nll", "driftless_rule_nll", "directional_accuracy",
            "edge_bp", "edge_after_costs_bp", "ece")  # fmt: skip


@dataclass(frozen=True)
class Study:
    """Which markets, and what is trained on them.

    Attributes:
        config: the configuration of every run; its market, length and label are the study's.
        symbols: each is a market of its own.
        seeds: of the markets; the seed of the training stays the configuration's, as on any night.
        processes: runs at the same time, one thread each; 1 runs them in this process.
    """

    config: RunConfig
    symbols: tuple[str, ...]
    seeds: range
    processes: int


def run_study(study: Study) -> Iterator[MarketRun]:
    """The runs, seed by seed, as they become known."""
    tasks = [(study.config, symbol, seed) for seed in study.seeds for symbol in study.symbols]
    if study.processes == 1:
        yield from map(run_market, tasks)
        return
    os.environ |= dict.fromkeys(_ONE_THREAD, "1")  # read by the fresh interpreters of the pool
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(study.processes, mp_context=context, initializer=_quiet) as pool:
        try:
            yield from pool.map(run_market, tasks)
        finally:
            pool.shutdown(cancel_futures=True)


def run_market(task: tuple[RunConfig, str, int]) -> MarketRun:
    """One market from its first candle to the verdict, in a home that is gone afterwards.

    Args:
        task: configuration, symbol, seed of the market.

    Raises:
        CrpbotError: a step failed; the message names symbol and seed.
    """
    config, symbol, seed = task
    config = config.model_copy(update={"data": config.data.model_copy(update={"seed": seed})})
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            retrained = retrain(config, symbol, home=temporary_home(stack), now=datetime.now(UTC))
        except CrpbotError as error:
            raise type(error)(f"market seed {seed}: {error}") from error
        outcome = retrained.outcome
        assert outcome.metrics is not None  # a judged candidate has figures
        return MarketRun(
            seed=seed,
            symbol=symbol,
            outcome=outcome.outcome,
            reason=outcome.reason,
            words=tuple(outcome.words),
            gates=tuple(outcome.gates),
            metrics=outcome.metrics["test"],
            best_realised_accuracy=_best_realised_accuracy(config, retrained.prepared),
            seconds=time.monotonic() - began,
        )


def _best_realised_accuracy(config: RunConfig, prepared: Prepared) -> float | None:
    """Accuracy on the test rows of the calls that know the planted market's law; None on other markets."""
    label = config.label
    if config.data.market != "planted" or label.kind == "triple_barrier" or label.threshold != "quantile":
        return None
    rows = read_labels(prepared.labels)
    threshold = json.loads(prepared.labels.facts.checked().read_text())["threshold"]
    frame = read_candles(prepared.candles)
    likeliest = class_probabilities(frame, label=label, threshold=threshold, rows=rows.test).argmax(axis=1)
    return float(np.mean(likeliest == rows.classes[rows.test]))


def _quiet() -> None:
    logging.getLogger().setLevel(logging.ERROR)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the study, prints its table and its claims; 1 when a claim is broken."""
    chosen = _parser().parse_args(arguments)
    study = _study_of(chosen)
    market, label = study.config.data.market, study.config.label.kind
    print(
        f"{market} market, {label} label, {study.config.data.days} days, {len(study.seeds)} seeds of each of {', '.join(study.symbols)}"
    )
    runs: list[MarketRun] = []
    for run in run_study(study):
        runs.append(run)
        if run.symbol == study.symbols[-1]:
            print(progress_line(runs, run.seed), flush=True)
    claims = claims_of(runs, market=market, label=label)
    print("\n".join(["", *table(runs), "", *(claim.line() for claim in claims)]))
    if chosen.out is not None:
        write_json(chosen.out, as_json(study, runs, claims))
    return 0 if all(claim.kept for claim in claims) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--market", required=True, choices=("iid", "null", "planted", "default"))
    parser.add_argument("--label", default="trend", choices=("trend", "forward_return"))
    parser.add_argument("--seeds", type=int, default=20, help="number of markets a symbol (default 20)")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--symbols", default="BTC-USD,ETH-USD,SOL-USD")
    parser.add_argument("--days", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2, help="runs at the same time, one thread each")
    parser.add_argument("--set", action="append", default=[], metavar="dotted.key=value", help="as in crpbot run")
    parser.add_argument("--out", type=Path, help="JSON of every run and claim")
    return parser


def _study_of(chosen: argparse.Namespace) -> Study:
    symbols = tuple(chosen.symbols.split(","))
    config = load_config(None, chosen.set).model_dump()
    config["data"] |= {"source": "simulated", "path": None, "market": chosen.market, "days": chosen.days}
    config["label"] |= {"kind": chosen.label}
    config["symbols"] = symbols
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    return Study(RunConfig.model_validate(config), symbols, seeds, chosen.processes)


def progress_line(runs: Sequence[MarketRun], seed: int) -> str:
    """One line a seed: each symbol's outcome and accuracy."""
    own = [run for run in runs if run.seed == seed]
    verdicts = ", ".join(f"{run.symbol} {run.outcome} {run.metrics['accuracy']:.4f}" for run in own)
    return f"seed {seed}: {verdicts} ({sum(run.seconds for run in own):.0f} s)"


def table(runs: Sequence[MarketRun]) -> list[str]:
    """Means over the runs of each symbol, and what held them."""
    lines = ["symbol   promoted  " + "  ".join(_heading(name) for name in _COLUMNS)]
    for symbol in dict.fromkeys(run.symbol for run in runs):
        own = [run for run in runs if run.symbol == symbol]
        promoted = f"{sum(run.outcome == 'promoted' for run in own)} of {len(own)}"
        cells = [_mean([run.metrics[name] for run in own]).rjust(len(_heading(name))) for name in _COLUMNS]
        lines.append(f"{symbol:8} {promoted:>8}  " + "  ".join(cells))
    reasons: dict[str, int] = {}
    for run in runs:
        if run.outcome == "held":
            reasons[run.reason] = reasons.get(run.reason, 0) + 1
    return lines + [f"{count} x {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1])]


def _heading(metric: str) -> str:
    return metric.replace("_accuracy", "_acc").replace("mechanical_", "").rjust(7)


def _mean(figures: Sequence[float | None]) -> str:
    measured = [figure for figure in figures if figure is not None]
    return f"{statistics.mean(measured):.4f}" if measured else "-"


def as_json(study: Study, runs: Sequence[MarketRun], claims: Sequence[Claim]) -> dict[str, Any]:
    """Everything, for the record."""
    return {
        "config": study.config.model_dump(mode="json"),
        "seeds": list(study.seeds),
        "claims": [asdict(claim) for claim in claims],
        "runs": [asdict(run) for run in runs],
    }


if __name__ == "__main__":
    sys.exit(main())
