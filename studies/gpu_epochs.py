"""Seconds of three symbols x 30 epochs on a GPU, at batch 256 and 4,096, with every epoch's validation and gates.

    python -m studies.gpu_epochs [--device cuda] [--symbols 3] [--epochs 30] [--rows 1051200] [--batches 256,4096] [--json]

One symbol after the other in one process, as a GPU is used here. Each is a whole training by the product's own loop, from
arrays in memory to the kept epoch; nothing ends it early. The features are random numbers of the shape of two years of
minutes, since no time depends on their values. A short training before the clock starts loads the device's libraries; it is
told apart. Whether the steps on that device are the right ones is asked by
`python -m pytest tests/unit/training -k "cuda or captured"`.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from models_lib.config import GatesSection, NetworkSection, TrainingSection
from models_lib.errors import ConfigError
from models_lib.features import FEATURE_NAMES
from models_lib.scaling import fit_scaler
from models_lib.training import TrainingData
from models_lib.training.settle import settle_torch
from models_lib.training.trainer import choose_device, train_network

TWO_YEARS_OF_MINUTES = 1_051_200
TRAIN_SHARE, VALIDATION_SHARE = 0.7, 0.15


@dataclass(frozen=True)
class Measured:
    """All symbols at one batch size.

    Attributes:
        device: its name.
        batch: rows a step.
        symbols: trained one after the other.
        epochs: of each.
        steps: of all of them.
        seconds: from arrays in memory to the kept epochs, wall clock.
        epoch_seconds: median over the epochs, validation and gates included.
        peak_megabytes: of the device's memory; None on a CPU.
    """

    device: str
    batch: int
    symbols: int
    epochs: int
    steps: int
    seconds: float
    epoch_seconds: float
    peak_megabytes: float | None

    @property
    def microseconds_a_step(self) -> float:
        """Everything that a training does, spread over its steps."""
        return self.seconds / self.steps * 1e6


def random_data(rows: int, *, seed: int) -> TrainingData:
    """So many rows as 72 features of two years, split as a run splits them; classes by the first feature and noise."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((rows, len(FEATURE_NAMES)), dtype=np.float32)
    score = features[:, 0] + rng.standard_normal(rows, dtype=np.float32)
    classes = np.digitize(score, [-0.6, 0.6]).astype(np.int8)
    train = np.arange(int(rows * TRAIN_SHARE))
    validation = np.arange(len(train), len(train) + int(rows * VALIDATION_SHARE))
    return TrainingData(features, classes, train, validation, fit_scaler(features, train))


def measure(symbols: Sequence[TrainingData], *, device: str, batch: int, epochs: int) -> Measured:
    """The seconds of these symbols at one batch size.

    Raises:
        ConfigError: the device is not there.
    """
    on_cuda = choose_device(device).type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    training = TrainingSection.model_validate(
        {
            "device": device,
            "batch_size": batch,
            "max_epochs": epochs,
            "patience": epochs,
            "gate_stop_epochs": epochs + 1,
        }
    )
    began = time.perf_counter()
    histories = [
        train_network(data, network=NetworkSection(), training=training, gates=GatesSection(), seed=seed).history
        for seed, data in enumerate(symbols)
    ]
    seconds = time.perf_counter() - began
    return Measured(
        device=histories[0].device,
        batch=batch,
        symbols=len(symbols),
        epochs=epochs,
        steps=sum(len(data.train_rows) // min(batch, len(data.train_rows)) * epochs for data in symbols),
        seconds=seconds,
        epoch_seconds=statistics.median(record.seconds for history in histories for record in history.epochs),
        peak_megabytes=torch.cuda.max_memory_allocated() / 2**20 if on_cuda else None,
    )


def table(measured: Sequence[Measured]) -> str:
    """One line a batch size, under the device's name."""
    first = measured[0]
    lines = [
        f"{first.device}, torch {torch.__version__}: {first.symbols} symbols x {first.epochs} epochs",
        "batch      steps  seconds  an epoch  a step, all included  peak memory",
    ]
    for run in measured:
        peak = "-" if run.peak_megabytes is None else f"{run.peak_megabytes:,.0f} MB"
        lines.append(
            f"{run.batch:5,} {run.steps:10,} {run.seconds:8.1f} {run.epoch_seconds:7.2f} s "
            f"{run.microseconds_a_step:18.1f} us {peak:>12}"
        )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--symbols", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rows", type=int, default=TWO_YEARS_OF_MINUTES, help="of one symbol, of which 70 %% train")
    parser.add_argument("--batches", default="256,4096")
    parser.add_argument("--json", action="store_true")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints; 2 when the device is not there."""
    chosen = _parser().parse_args(arguments)
    settle_torch()
    try:
        choose_device(chosen.device)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    warm_up = measure([random_data(20_000, seed=0)], device=chosen.device, batch=256, epochs=1)
    print(f"{warm_up.device}: ready after a first training of {warm_up.seconds:.1f} s", file=sys.stderr, flush=True)
    symbols = [random_data(chosen.rows, seed=seed) for seed in range(chosen.symbols)]
    measured = [
        measure(symbols, device=chosen.device, batch=int(batch), epochs=chosen.epochs)
        for batch in chosen.batches.split(",")
    ]
    if chosen.json:
        print(json.dumps({"torch": torch.__version__, "runs": [asdict(run) for run in measured]}))
    else:
        print(table(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
