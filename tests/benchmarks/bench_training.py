"""An epoch of ours against the naive loop of the same network: `python -m tests.benchmarks.bench_training`.

The naive loop is what most tutorials write: a Dataset that turns a numpy row into a tensor, a DataLoader that shuffles
and collates, nn.Dropout, AdamW with its defaults. It trains the same v8 layers with the same loss and batch; ours
averages the weights besides. Both on one thread of the CPU, rounds interleaved, each figure the median of its rounds in
seconds of the processor, which other programs on the machine disturb little.

Not here: the judgement after an epoch; both would need it.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from models_lib.config import NetworkSection, TrainingSection
from models_lib.networks import DirectionNetwork, build_network, loss_function
from models_lib.scaling import fit_scaler
from models_lib.training import TrainingData
from models_lib.training import trainer as loop

NUM_FEATURES = 72


class NaiveRows(Dataset):
    """Row by row, as a tutorial has it."""

    def __init__(self, data: TrainingData) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data.train_rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        row = self._data.train_rows[index]
        return torch.tensor(self._data.features[row]), torch.tensor(int(self._data.classes[row]))


class Inputs(nn.Module):
    """The scaler and the clip of the network, as a layer."""

    def __init__(self, network: DirectionNetwork) -> None:
        super().__init__()
        self._network = network

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        """The rows, scaled."""
        return self._network.inputs(x_BF)


def sequential(network: DirectionNetwork, dropout: float) -> nn.Sequential:
    """The layers of `network` one after another, with torch's own dropout."""
    layers: list[nn.Module] = [Inputs(network)]
    for linear, norm in zip(network.linears, network.norms, strict=False):
        layers += [linear, norm, nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, network.linears[-1])


def toy_data(rows: int) -> TrainingData:
    """Standard normal features, classes by the first of them."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((rows, NUM_FEATURES), dtype=np.float32)
    classes = np.digitize(features[:, 0], [-0.43, 0.43]).astype(np.int8)
    train = np.arange(rows - 1_000)
    return TrainingData(features, classes, train, np.arange(rows - 1_000, rows), fit_scaler(features, train))


def naive_epoch(data: TrainingData, network: NetworkSection, training: TrainingSection) -> Callable[[], None]:
    """One epoch of the naive loop, ready to be timed."""
    generator = torch.Generator().manual_seed(1)
    model = build_network(network, num_features=NUM_FEATURES, scaler=data.scaler, generator=generator)
    loss_of = loss_function(training, classes=data.classes, device=torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate)
    loader = DataLoader(NaiveRows(data), batch_size=training.batch_size, shuffle=True, drop_last=True)
    layers = sequential(model, network.dropout)

    def epoch() -> None:
        for x_BF, classes_B in loader:
            optimizer.zero_grad()
            loss = loss_of(model.tempered(layers(x_BF)), classes_B)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip_norm)
            optimizer.step()

    return epoch


def our_epoch(data: TrainingData, network: NetworkSection, training: TrainingSection) -> Callable[[], None]:
    """One epoch of our loop, rows prepared, ready to be timed."""
    device = torch.device("cpu")
    fit = loop._Fit.start(data, network=network, training=training, seed=1, device=device)
    rows = loop._rows_on_device(data, data.train_rows, fit.network, part="training", device=device)
    return lambda: fit.one_epoch(rows, epoch=1, listener=lambda _: None) and None


def measure(*, rows: int, batch: int, rounds: int) -> dict[str, float]:
    """Median seconds of each loop over interleaved rounds, and their ratio."""
    data, network = toy_data(rows), NetworkSection()
    training = TrainingSection(batch_size=batch, device="cpu", max_epochs=1_000)
    contenders = {"naive": naive_epoch(data, network, training), "ours": our_epoch(data, network, training)}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(rounds + 1):
        for name, epoch in contenders.items():
            started = time.process_time()
            epoch()
            if round_number > 0:  # the first warms up
                seconds[name].append(time.process_time() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "rows": float(len(data.train_rows)),
        "batch": float(batch),
        "naive_seconds": medians["naive"],
        "ours_seconds": medians["ours"],
        "ratio": medians["naive"] / medians["ours"],
    }


def as_the_worker_trains() -> None:
    """Puts torch of this process into the state of the training subprocess."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False


def tell(results: list[dict[str, float]]) -> None:
    """Prints one line a measurement."""
    for result in results:
        print(
            f"epoch of {result['rows']:,.0f} rows, batch {result['batch']:,.0f}, one thread: naive loop "
            f"{result['naive_seconds']:.2f} s, ours {result['ours_seconds']:.2f} s: {result['ratio']:.1f}x"
        )


def main() -> int:
    """Prints one line a batch size, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 1_024])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    as_the_worker_trains()
    results = [measure(rows=chosen.rows, batch=batch, rounds=chosen.rounds) for batch in chosen.batches]
    if chosen.json:
        print(json.dumps({"training": results}, indent=2))
        return 0
    tell(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
