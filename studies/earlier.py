"""Compares the shipped training with an earlier one on the test rows of a folder of candles: not worse, or by how much.

    python -m studies.earlier --candles DIR [--symbols BTC-USD,ETH-USD] [--set training.max_epochs=6]

The earlier training takes torch's autograd and optimiser for every step and the values given by `--set`; the shipped one
is the product's own. Same arrays, same seed. One line a symbol and figure: earlier, shipped, shipped minus earlier with its 95 %
interval from the moving-block bootstrap of the judgement, on the same blocks for both.
"""

import argparse
import time
from collections.abc import Callable
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
    data: TrainingData, test: NDArray[np.int64], config: RunConfig, *, symbol: str, stepper: StepperKind | None
) -> Answers:
    """One training, and its figures on the test rows."""
    began = time.monotonic()
    outcome = train_network(
        data,
        network=config.network,
        training=config.training,
        gates=config.gates,
        seed=symbol_seed(config.training.seed, symbol),
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


def calibration_interval(earlier: Answers, shipped: Answers, section: EvaluationSection) -> tuple[float, float]:
    """95 % interval of ECE(shipped) - ECE(earlier), float64, from resampled blocks of consecutive rows.

    A calibration error is no mean over rows, so each resample sums confidence minus correctness by bin: with one cumulative
    sum a bin, a block is a difference of two of its values.
    """
    rows, length = len(earlier.nll), block_bars(len(earlier.nll), section)
    generator = np.random.default_rng(section.bootstrap_seed)
    starts = generator.integers(0, rows - length + 1, size=(section.bootstrap_samples, rows // length))
    errors = [_resampled_errors(answers, starts, length, section.ece_bins) for answers in (earlier, shipped)]
    low, high = np.quantile(errors[1] - errors[0], [0.025, 0.975])
    return float(low), float(high)


def _resampled_errors(answers: Answers, starts: NDArray[np.int64], length: int, bins: int) -> Floats:
    place = np.minimum((answers.confidence * bins).astype(np.int64), bins - 1)
    total = np.zeros(len(starts))
    for k in range(bins):
        apart = np.where(place == k, answers.confidence - answers.correct, 0.0)
        cumulative = np.concatenate(([0.0], np.cumsum(apart)))
        total += np.abs((cumulative[starts + length] - cumulative[starts]).sum(axis=1))
    return total / (starts.shape[1] * length)


def lines(symbol: str, earlier: Answers, shipped: Answers, section: EvaluationSection) -> list[str]:
    """A line a figure, and one on the time."""
    blocks = Blocks(len(earlier.nll), section)

    def line(name: str, figure: Callable[[Answers], float], interval: tuple[float, float] | None) -> str:
        before, after = figure(earlier), figure(shipped)
        ends = "not measured" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}"
        return f"{symbol:8} {name:8} {before:9.4f} {after:9.4f} {after - before:+9.4f}  {ends}"

    def of_means(per_row: Floats) -> tuple[float, float] | None:
        interval = blocks.mean(per_row)
        return None if interval is None else (interval.low, interval.high)

    def calibration(answers: Answers) -> float:
        return expected_calibration_error(answers.confidence, answers.correct > 0.0, bins=section.ece_bins)

    return [
        line("accuracy", lambda answers: float(answers.correct.mean()), of_means(shipped.correct - earlier.correct)),
        line("nll", lambda answers: float(answers.nll.mean()), of_means(shipped.nll - earlier.nll)),
        line("ece", calibration, calibration_interval(earlier, shipped, section)),
        (
            f"{symbol:8} {'training':8} {earlier.seconds:7.1f} s {shipped.seconds:7.1f} s   "
            f"{earlier.epochs} epochs, {shipped.epochs} epochs; {len(earlier.nll):,} test rows"
        ),
    ]


def main() -> None:
    """Trains both for each symbol and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candles", type=Path, required=True)
    parser.add_argument("--symbols", default="BTC-USD,ETH-USD,SOL-USD")
    parser.add_argument(
        "--set", action="append", default=[], metavar="dotted.key=value", help="of the earlier training"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shipped, earlier = load_config(None, []), load_config(None, arguments.set)
    print("symbol   figure     earlier   shipped    change  95 % interval of the change", flush=True)
    for symbol in arguments.symbols.split(","):
        data, test = prepare(symbol, arguments.candles, shipped)
        before = train_and_test(data, test, earlier, symbol=symbol, stepper=TorchStepper)
        after = train_and_test(data, test, shipped, symbol=symbol, stepper=None)
        print("\n".join(lines(symbol, before, after, shipped.evaluation)), flush=True)


if __name__ == "__main__":
    main()
