"""Trains the controls on many honest markets and says how often one raises an alarm, which is then a false one.

    python -m studies.control_alarms --seeds 20
    python -m studies.control_alarms --seeds 20 --label forward_return --market null

Everything is done by the steps of a run, on simulated markets of 50 days. The exit status is 1 when more controls raise an
alarm than chance allows: one in 40 of `signflip` (the lower end of a 95 % interval), and of `shuffled` none.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from scipy.stats import binom

from models_lib.backends import LocalBackend
from models_lib.config import CONTROLS, RunConfig, load_config
from models_lib.steps.candles import fetch_candles
from models_lib.steps.controls import judge_control
from models_lib.steps.features import compute_feature_matrix
from models_lib.steps.labels import label_rows
from models_lib.steps.refs import ControlRef, Prepared
from models_lib.steps.scaler import fit_feature_scaler
from tasks.adapters.sources import open_source

FALSE_ALARMS = {"shuffled": 0.0, "signflip": 0.025}
"""Share of honest controls that raise an alarm, at most."""
_SYMBOL = "BTC-USD"


def honest_controls(config: RunConfig, seeds: Sequence[int]) -> Iterator[tuple[int, ControlRef]]:
    """Seed and result of both controls, market by market.

    Args:
        config: market, label and recipe.
        seeds: of the markets; the one of the training moves with them, and with it what is tossed and permuted.
    """
    for seed in seeds:
        own = config.model_copy(
            update={
                "data": config.data.model_copy(update={"seed": seed}),
                "training": config.training.model_copy(update={"seed": seed}),
            }
        )
        with tempfile.TemporaryDirectory() as name:
            prepared = _prepared(own, Path(name))
            for control in CONTROLS:
                yield seed, judge_control(own, prepared, control, Path(name) / control, backend=LocalBackend())


def more_than_chance(alarms: Counter[str], trained: Counter[str]) -> list[str]:
    """Controls with more alarms than 1 of 100 honest studies has."""
    return [name for name in trained if alarms[name] > binom.ppf(0.99, trained[name], FALSE_ALARMS[name])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line a control, and how many raised an alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many markets")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--market", choices=("default", "null", "iid"), default="default")
    parser.add_argument("--label", choices=("trend", "forward_return"), default="trend")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="dotted.key=value")
    chosen = parser.parse_args(arguments)
    settings = (f"data.market={chosen.market}", f"label.kind={chosen.label}", *chosen.settings)
    alarms, trained = Counter[str](), Counter[str]()
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    for seed, control in honest_controls(load_config(None, settings), seeds):
        trained[control.name] += 1
        alarms[control.name] += control.alarm is not None
        print(_line(seed, control), flush=True)
    for name, number in trained.items():
        print(f"{name}: {alarms[name]} of {number} raised an alarm (by chance {FALSE_ALARMS[name] * number:.1f})")
    return 1 if more_than_chance(alarms, trained) else 0


def _prepared(config: RunConfig, folder: Path) -> Prepared:
    source = open_source(config, home=folder)
    candles = fetch_candles(_SYMBOL, config.data, folder, source=source, now=datetime.now(UTC))
    features = compute_feature_matrix(candles, folder, threads=1)
    labels = label_rows(candles, config.label, config.splits, folder)
    return Prepared(
        candles=candles, features=features, labels=labels, scaler=fit_feature_scaler(features, labels, folder)
    )


def _line(seed: int, control: ControlRef) -> str:
    metrics = control.metrics or {}
    names = ("accuracy", "mechanical_rule_accuracy", "lift", "nll", "directional_accuracy")
    figures = " ".join(f"{name} {metrics[name]:.4f}" for name in names)
    return f"seed {seed} {control.name}: {figures} alarm {'no' if control.alarm is None else control.alarm['name']}"


if __name__ == "__main__":
    sys.exit(main())
