"""An epoch of ours against other loops of the same network: `python -m tests.benchmarks.bench_training`.

    naive   what most tutorials write: a Dataset that turns a numpy row into a tensor, a DataLoader that shuffles and collates,
            nn.Dropout, AdamW with its defaults
    fast    what a careful person writes in torch: rows gathered by one index, all else as in the naive loop, AdamW fused
    ours    the fused stepper; it averages the weights besides
    floor   the matrix products of a step and nothing else

`measure`: on one thread, rounds interleaved, each figure the median of its rounds in seconds of the processor, which other
programs on the machine disturb little. `at_once`: as a run trains, by the wall clock: two processes of one thread each, with
the judgement after the epoch, against the naive loop as an operator starts it (one process, as many threads as torch likes),
against what the processor multiplies at best, and beside a program that burns a core. It wants a quiet machine.
"""

import argparse
import functools
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from multiprocessing.synchronize import Barrier, Event
from queue import Queue

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from models_lib.config import GatesSection, NetworkSection, TrainingSection
from models_lib.networks import DirectionNetwork, build_network, loss_function
from models_lib.networks.direction import HIDDEN_WIDTHS
from models_lib.scaling import fit_scaler
from models_lib.training import TrainingData
from models_lib.training import trainer as loop
from models_lib.training.choice import stepper_kind

NUM_FEATURES = 72
WIDTHS = (NUM_FEATURES, *HIDDEN_WIDTHS, 3)
FLOP_A_ROW = 2 * (3 * sum(a * b for a, b in pairwise(WIDTHS)) - WIDTHS[0] * WIDTHS[1])
"""Forward, gradient of the weights, gradient of the inputs, which the first layer does not need."""
THREE_SYMBOLS = 3 * 1_051_200
"""Rows of two years of minutes, three times: 3 x 4,106 steps of 256."""
_SGEMM = 2_048


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


def toy_data(rows: int, *, validation_rows: int = 1_000) -> TrainingData:
    """Standard normal features, classes by the first of them."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((rows, NUM_FEATURES), dtype=np.float32)
    classes = np.digitize(features[:, 0], [-0.43, 0.43]).astype(np.int8)
    train = np.arange(rows - validation_rows)
    return TrainingData(features, classes, train, np.arange(rows - validation_rows, rows), fit_scaler(features, train))


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


def fast_epoch(data: TrainingData, network: NetworkSection, training: TrainingSection) -> Callable[[], None]:
    """One epoch of plain torch without a loader, ready to be timed."""
    generator = torch.Generator().manual_seed(1)
    model = build_network(network, num_features=NUM_FEATURES, scaler=data.scaler, generator=generator)
    loss_of = loss_function(training, classes=data.classes, device=torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, fused=True)
    layers = sequential(model, network.dropout)
    rows = torch.from_numpy(data.train_rows)
    features, classes = torch.from_numpy(data.features)[rows], torch.from_numpy(data.classes)[rows].long()

    def epoch() -> None:
        order = torch.randperm(len(rows), generator=generator)
        for chosen in order[: len(order) // training.batch_size * training.batch_size].split(training.batch_size):
            optimizer.zero_grad()
            loss = loss_of(model.tempered(layers(features[chosen])), classes[chosen])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip_norm)
            optimizer.step()

    return epoch


def products(rows: int, batch: int) -> Callable[[], None]:
    """The matrix products of one epoch, ready to be timed."""
    layers = list(pairwise(WIDTHS))
    above = [torch.randn(batch, width) for width in WIDTHS]
    slopes = [torch.randn(batch, width) for width in WIDTHS]
    weights = [torch.randn(fan_out, fan_in) for fan_in, fan_out in layers]
    gradients = [torch.empty_like(weight) for weight in weights]

    def epoch() -> None:
        for _ in range(rows // batch):
            for index, weight in enumerate(weights):
                torch.mm(above[index], weight.t(), out=above[index + 1])
            for index in reversed(range(len(weights))):
                torch.mm(slopes[index + 1].t(), above[index], out=gradients[index])
                if index > 0:
                    torch.mm(slopes[index + 1], weights[index], out=slopes[index])

    return epoch


def our_epoch(
    data: TrainingData, network: NetworkSection, training: TrainingSection, *, judged: bool = False
) -> Callable[[], None]:
    """One epoch of our loop, rows prepared, ready to be timed; `judged`: with what follows it."""
    device = torch.device("cpu")
    kind = stepper_kind(device, training)
    fit = loop._Fit.start(data, network=network, training=training, seed=1, device=device, kind=kind)
    rows = loop._rows_on_device(data, data.train_rows, fit.network, part="training", device=device)
    validation = loop._rows_on_device(data, data.validation_rows, fit.network, part="validation", device=device)
    judge = loop._Judge(network=network, gates=GatesSection(), rows=validation)

    def epoch() -> None:
        steps = fit.one_epoch(rows, epoch=1, listener=lambda _: None)
        if judged:
            judge.epoch(fit.average.network, steps=steps, started=time.perf_counter())

    return epoch


def measure(*, rows: int, batch: int, rounds: int) -> dict[str, float]:
    """Median seconds of each loop over interleaved rounds on one thread, and their ratios to ours of the default network."""
    data, v8, v7 = toy_data(rows), NetworkSection(), NetworkSection(family="v7")
    training = TrainingSection(batch_size=batch, device="cpu", max_epochs=1_000)
    contenders = {
        "naive": naive_epoch(data, v8, training),
        "fast": fast_epoch(data, v8, training),
        "ours": our_epoch(data, v8, training),
        "ours_v7": our_epoch(data, v7, training),
        "floor": products(len(data.train_rows), batch),
    }
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
        **{f"{name}_seconds": value for name, value in medians.items()},
        "ratio": medians["naive"] / medians["ours"],
        "fast_ratio": medians["fast"] / medians["ours"],
        "floor_ratio": medians["ours"] / medians["floor"],
        "v8_to_v7": medians["ours"] / medians["ours_v7"],
        "step_ms": 1_000.0 * medians["ours"] / (len(data.train_rows) // batch),
    }


def at_once(*, rows: int, seconds: float) -> dict[str, float]:
    """Seconds by the wall clock for one epoch of three symbols, from `rows` rows a symbol and so many seconds a figure."""
    quiet_v7, quiet_v8 = (_three_symbols(family, rows, seconds) for family in ("v7", "v8"))
    beside = _three_symbols("v7", rows, seconds, burning=True)
    naive = THREE_SYMBOLS / sum(_together([("naive", rows)], seconds))
    sgemm = sum(_together([("sgemm", 0)] * 2, seconds))
    return {
        "v7_three_symbols_seconds": quiet_v7,
        "v8_three_symbols_seconds": quiet_v8,
        "v8_to_v7": quiet_v8 / quiet_v7,
        "naive_three_symbols_seconds": naive,
        "naive_to_v7": naive / quiet_v7,
        "sgemm_gflops": sgemm / 1e9,
        "sgemm_share": THREE_SYMBOLS * FLOP_A_ROW / quiet_v7 / sgemm,
        "beside_a_burner": beside / quiet_v7,
    }


def _three_symbols(family: str, rows: int, seconds: float, *, burning: bool = False) -> float:
    """Seconds of an epoch of three symbols at the rate of two processes together."""
    return THREE_SYMBOLS / sum(_together([(family, rows)] * 2, seconds, burning=burning))


def _together(works: Sequence[tuple[str, int]], seconds: float, *, burning: bool = False) -> list[float]:
    """What each process does a second (rows, or operations of sgemm) while the others do theirs."""
    context = multiprocessing.get_context("spawn")
    start, rates, end = context.Barrier(len(works)), context.Queue(), context.Event()
    processes = [context.Process(target=_work, args=(*work, seconds, start, rates)) for work in works]
    burner = context.Process(target=_burn, args=(end,))
    for process in [*processes, *([burner] if burning else [])]:
        process.start()
    found = [rates.get(timeout=600.0) for _ in processes]
    end.set()
    for process in [*processes, *([burner] if burning else [])]:
        process.join()
    return found


def _burn(end: Event) -> None:
    """Takes a core until the event."""
    while not end.is_set():
        sum(range(100_000))


def _work(kind: str, rows: int, seconds: float, start: Barrier, rates: "Queue[float]") -> None:
    """Does the work over and over for so many seconds, from the moment that all are ready."""
    as_the_worker_trains()
    if kind == "naive":
        torch.set_num_threads(os.cpu_count() or 1)
    amount, epoch = _epoch_of(kind, rows)
    epoch()  # warms up
    start.wait()
    started, done = time.perf_counter(), 0.0
    while time.perf_counter() - started < seconds:
        epoch()
        done += amount
    rates.put(done / (time.perf_counter() - started))


def _epoch_of(kind: str, rows: int) -> tuple[float, Callable[[], None]]:
    """What is done at a time, and its amount."""
    if kind == "sgemm":
        a, b, c = torch.randn(3, _SGEMM, _SGEMM)
        return 2.0 * _SGEMM**3, functools.partial(_multiply, a, b, c)
    data = toy_data(rows, validation_rows=rows * 15 // 100)
    training = TrainingSection(batch_size=256, device="cpu", max_epochs=1_000)
    amount = float(len(data.train_rows) // 256 * 256)
    if kind == "naive":
        return amount, naive_epoch(data, NetworkSection(family="v7"), training)
    return amount, our_epoch(data, NetworkSection(family=kind), training, judged=True)


def _multiply(a: torch.Tensor, b: torch.Tensor, product: torch.Tensor) -> None:
    torch.mm(a, b, out=product)


def as_the_worker_trains() -> None:
    """Puts torch of this process into the state of the training subprocess."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False


def tell(results: list[dict[str, float]]) -> None:
    """Prints a few lines a measurement."""
    for result in results:
        print(
            f"epoch of {result['rows']:,.0f} rows, batch {result['batch']:,.0f}, one thread: naive loop "
            f"{result['naive_seconds']:.2f} s, ours {result['ours_seconds']:.2f} s: {result['ratio']:.1f}x\n"
            f"    plain fast loop {result['fast_seconds']:.2f} s: {result['fast_ratio']:.1f}x; matrix products alone "
            f"{result['floor_seconds']:.2f} s: ours takes {result['floor_ratio']:.2f}x; a step {result['step_ms']:.2f} ms, "
            f"{result['v8_to_v7']:.2f}x v7's"
        )


def tell_at_once(result: dict[str, float]) -> None:
    """Prints what three symbols take."""
    print(
        f"an epoch of three symbols of 1,051,200 rows, batch 256, with its gates, two processes: v7 "
        f"{result['v7_three_symbols_seconds']:.1f} s, v8 {result['v8_three_symbols_seconds']:.1f} s "
        f"({result['v8_to_v7']:.2f}x); naive loop {result['naive_three_symbols_seconds']:.0f} s "
        f"({result['naive_to_v7']:.1f}x)\n"
        f"    {result['sgemm_share']:.0%} of sgemm's {result['sgemm_gflops']:.0f} GFLOP/s; beside a program that burns a core "
        f"{result['beside_a_burner']:.2f}x as long"
    )


def main() -> int:
    """Prints a few lines a batch size, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--batches", type=int, nargs="*", default=[256, 1_024], help="of `measure`; none leaves it out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=float, metavar="SECONDS", help="also three symbols at once, so long a figure")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    as_the_worker_trains()
    results = [measure(rows=chosen.rows, batch=batch, rounds=chosen.rounds) for batch in chosen.batches]
    together = at_once(rows=chosen.rows, seconds=chosen.at_once) if chosen.at_once else None
    if chosen.json:
        print(json.dumps({"training": results, "at_once": together}, indent=2))
        return 0
    tell(results)
    if together:
        tell_at_once(together)
    return 0


if __name__ == "__main__":
    sys.exit(main())
