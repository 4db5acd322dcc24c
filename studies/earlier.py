"""Compares the shipped training with an earlier one on the test rows of a folder of candles: not worse, or by how much.

    python -m studies.earlier --candles DIR [--symbols BTC-USD,ETH-USD] [--seeds 3] [--set training.max_epochs=6]

The earlier training takes torch's autograd and optimiser for every step and the values given by `--set`; the shipped one
is the product's own. Same arrays, same seeds. One line a symbol and figure: earlier, shipped, shipped minus earlier with its 95 %
interval from the moving-block bootstrap of the judgement, on the same blocks for both. Each figure is the mean over the
seeds, since two trainings that differ in nothing but the seed differ too.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models_lib.calibration import expected_calibration_error, softmax
from models_lib.config import EvaluationSection, RunConfig, load_config
from models_lib.evaluation.blocks import Blocks, block_bars
from models_lib.evaluation.metrics import nll_per_row
from models_lib.networks import network_from_tensors
from models_lib.training.choice import StepperKind
from models_lib.training.data import TrainingData
from models_lib.training.seeds import symbol_seed
from models_lib.training.stepping import TorchStepper
from models_lib.training.trainer import train_network
from studies.recipes import prepare

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What one training says of n test rows.

    Attributes:
        nll: float64 [n], after the temperature fitted on validation rows.
        confidence: float64 [n], the largest probability.
        correct: float64 [n], 1 where the likeliest class is the true one.
        epochs: how many the training took.
        seconds: wall time of the training.
    """

    nll: Floats
    confidence: Floats
    correct: Floats
    epochs: int
    seconds: float


def train_and_test(
    data: TrainingData, test: NDArray[np.int64], config: RunConfig, *, seed: int, stepper: StepperKind | None
) -> Answers:
    """One training, and its figures on the test rows."""
    began = time.monotonic()
    outcome = train_network(
        data,
        network=config.network,
        training=config.training,
        gates=config.gates,
        seed=seed,
        stepper=stepper,
    )
    seconds = time.monotonic() - began
    network = network_from_tensors(config.network, outcome.tensors).eval()
    with torch.no_grad():
        rows = torch.from_numpy(data.features[test])
        logits = torch.cat([network.raw_logits(part) for part in rows.split(1024)]).numpy().astype(np.float64)
    logits /= outcome.history.best.temperature or 1.0
    classes = data.classes[test]
    return Answers(
        nll=nll_per_row(logits, classes),
        confidence=softmax(logits).max(axis=1),
        correct=(logits.argmax(axis=1) == classes).astype(np.float64),
        epochs=len(outcome.history.epochs),
        seconds=seconds,
    )


def calibration_interval(
    earlier: Sequence[Answers], shipped: Sequence[Answers], section: EvaluationSection
) -> tuple[float, float]:
    """95 % interval of ECE(shipped) - ECE(earlier), means over seeds, from resampled blocks of consecutive rows.

    A calibration error is no mean over rows, so each resample sums confidence minus correctness by bin: with one cumulative
    sum a bin, a block is a difference of two of its values.
    """
    rows = len(earlier[0].nll)
    length = block_bars(rows, section)
    generator = np.random.default_rng(section.bootstrap_seed)
    starts = generator.integers(0, rows - length + 1, size=(section.bootstrap_samples, rows // length))
    before, after = (
        np.mean([_resampled_errors(answers, starts, length, section.ece_bins) for answers in side], axis=0)
        for side in (earlier, shipped)
    )
    low, high = np.quantile(after - before, [0.025, 0.975])
    return float(low), float(high)


def _resampled_errors(answers: Answers, starts: NDArray[np.int64], length: int, bins: int) -> Floats:
    place = np.minimum((answers.confidence * bins).astype(np.int64), bins - 1)
    total = np.zeros(len(starts))
    for k in range(bins):
        apart = np.where(place == k, answers.confidence - answers.correct, 0.0)
        cumulative = np.concatenate(([0.0], np.cumsum(apart)))
        total += np.abs((cumulative[starts + length] - cumulative[starts]).sum(axis=1))
    return total / (starts.shape[1] * length)


def lines(symbol: str, earlier: Sequence[Answers], shipped: Sequence[Answers], section: EvaluationSection) -> list[str]:
    """A line a figure, and one on the time; the trainings of each side differ in their seeds."""
    rows = len(earlier[0].nll)
    blocks = Blocks(rows, section)

    def of_rows(name: str, figure: Callable[[Answers], Floats]) -> str:
        before, after = (np.mean([figure(answers) for answers in side], axis=0) for side in (earlier, shipped))
        interval = blocks.mean(after - before)
        ends = None if interval is None else (interval.low, interval.high)
        return _line(symbol, name, float(before.mean()), float(after.mean()), ends)

    def calibration(side: Sequence[Answers]) -> float:
        return statistics.mean(
            expected_calibration_error(answers.confidence, answers.correct > 0.0, bins=section.ece_bins)
            for answers in side
        )

    seconds = [statistics.mean(answers.seconds for answers in side) for side in (earlier, shipped)]
    epochs = [statistics.mean(answers.epochs for answers in side) for side in (earlier, shipped)]
    return [
        of_rows("accuracy", lambda answers: answers.correct),
        of_rows("nll", lambda answers: answers.nll),
        _line(
            symbol, "ece", calibration(earlier), calibration(shipped), calibration_interval(earlier, shipped, section)
        ),
        (
            f"{symbol:8} {'training':8} {seconds[0]:7.1f} s {seconds[1]:7.1f} s   "
            f"{epochs[0]:.1f} epochs, {epochs[1]:.1f} epochs; {rows:,} test rows, {len(earlier)} seeds"
        ),
    ]


def _line(symbol: str, name: str, before: float, after: float, interval: tuple[float, float] | None) -> str:
    ends = "not measured" if interval is None else f"{interval[0]:+.5f} to {interval[1]:+.5f}"
    return f"{symbol:8} {name:8} {before:9.4f} {after:9.4f} {after - before:+9.5f}  {ends}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candles", type=Path, required=True)
    parser.add_argument("--symbols", default="BTC-USD,ETH-USD,SOL-USD")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--set", action="append", default=[], metavar="dotted.key=value", help="of the earlier training"
    )
    return parser


def main() -> None:
    """Trains both for each symbol and prints the table."""
    arguments = _parser().parse_args()
    torch.set_num_threads(1)
    shipped, earlier = load_config(None, []), load_config(None, arguments.set)
    print("symbol   figure     earlier   shipped    change  95 % interval of the change", flush=True)
    for symbol in arguments.symbols.split(","):
        data, test = prepare(symbol, arguments.candles, shipped)
        seeds = [symbol_seed(shipped.training.seed + number, symbol) for number in range(arguments.seeds)]
        before = [train_and_test(data, test, earlier, seed=seed, stepper=TorchStepper) for seed in seeds]
        after = [train_and_test(data, test, shipped, seed=seed, stepper=None) for seed in seeds]
        print("\n".join(lines(symbol, before, after, shipped.evaluation)), flush=True)


if __name__ == "__main__":
    main()
