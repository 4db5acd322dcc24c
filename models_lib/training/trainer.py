"""The training loop: prepare, step, judge, keep the best, stop.

On whole arrays: the scaled training rows are made once and stay in memory (or on the CUDA device), an epoch is one
permutation cut into batches; no loader, no worker threads. With the same seed, data and machine the weights are the same
bit for bit.

What does not belong here: a step (stepping.py), processes and time limits (worker.py, models_lib.backends), and the files
that outlive the call (checkpoints.py).
"""

import functools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models_lib.config import GatesSection, NetworkSection, TrainingSection
from models_lib.errors import ConfigError, DataError, TrainingError
from models_lib.evaluation.gates import epoch_gates
from models_lib.networks import DirectionNetwork, build_network, loss_function, network_from_tensors, state_tensors
from models_lib.networks.dropout import MaskPool
from models_lib.training.average import WeightAverage
from models_lib.training.checkpoint import read_weights, write_weights
from models_lib.training.checkpoints import Checkpoint, Checkpoints, Moving
from models_lib.training.choice import StepperKind, forward_of, stepper_kind
from models_lib.training.data import TrainingData
from models_lib.training.history import EpochRecord, StepProgress, Stop, TrainingHistory, epoch_from_json
from models_lib.training.schedules import average_decay_at, learning_rate_at
from models_lib.training.spec import TrainingSpec
from models_lib.training.stepping import Rows, Stepper
from models_lib.training.streams import Streams
from models_lib.training.validation import validate_arrays, validate_tensors

Listener = Callable[[EpochRecord | StepProgress], None]

_PREPARED_ROWS = 65_536
_VALIDATION_BATCH = {"cpu": 1_024, "cuda": 65_536}
"""Rows at a time: what fits the cache of a CPU; on a GPU few kernels, each with enough to do."""
_TOLD_PER_EPOCH = 20


@dataclass(frozen=True, eq=False)
class TrainingOutcome:
    """The kept weights and how they came about.

    Attributes:
        tensors: float32 arrays by name of the best epoch, scaler and learned temperature included.
        history: every epoch.
        validation_logits: float32 [m, 3], raw, of the best epoch on `validation_rows`.
    """

    tensors: dict[str, NDArray[np.float32]]
    history: TrainingHistory
    validation_logits: NDArray[np.float32]


def train_spec(
    spec: TrainingSpec, *, listener: Listener = lambda _: None, checkpoints: Checkpoints | None = None
) -> TrainingOutcome:
    """What the order asks for, from the files that it names; as `train_network`."""
    return train_network(
        spec.load_data(),
        network=spec.network,
        training=spec.training,
        gates=spec.gates,
        seed=spec.seed,
        listener=listener,
        checkpoints=checkpoints,
    )


def train_network(
    data: TrainingData,
    *,
    network: NetworkSection,
    training: TrainingSection,
    gates: GatesSection,
    seed: int,
    listener: Listener = lambda _: None,
    checkpoints: Checkpoints | None = None,
    stepper: StepperKind | None = None,
) -> TrainingOutcome:
    """Fits a network and returns the epoch with the lowest validation NLL after temperature.

    Only training rows move weights; validation rows choose the epoch, its temperature and the end. Gates that fail
    long enough end the training early: the outcome then says so, and the candidate will be held.

    Args:
        data: the arrays of one symbol.
        network: the network.
        training: the recipe.
        gates: limits of the gates that are looked at after each epoch.
        seed: of weights, row order and dropout.
        listener: told of progress, in this thread.
        checkpoints: of this very training, data, recipe, seed and device: it goes on from the newest one, if there is
            one, to the same bits, and leaves one after an epoch. None: nothing is written.
        stepper: who takes the steps; None: the fastest of the device.

    Raises:
        TrainingError: the loss or a gradient is not finite (before the optimiser's step), or no epoch gave finite
            logits.
        DataError: a training or validation row has a feature that is not finite.
        ConfigError: CUDA is asked for and absent.
    """
    device = choose_device(training.device)
    kind = stepper or stepper_kind(device, training)
    fit = _Fit.start(data, network=network, training=training, seed=seed, device=device, kind=kind)
    train = _rows_on_device(data, data.train_rows, fit.network, part="training", device=device)
    validation = _rows_on_device(data, data.validation_rows, fit.network, part="validation", device=device)
    judge = _Judge(network=network, gates=gates, rows=validation)
    newest = None if checkpoints is None else checkpoints.newest()
    epochs, best = ([], None) if newest is None else fit.resume(newest)
    stop = None if best is None else _stop(epochs, best.record.epoch, training)
    while stop is None:
        started = time.perf_counter()
        steps = fit.one_epoch(train, epoch=len(epochs) + 1, listener=listener)
        judged = judge.epoch(fit.average.network, steps=steps, started=started)
        epochs.append(judged.record)
        if best is None or _better(judged.record, best.record):
            best = judged
        stop = _stop(epochs, best.record.epoch, training)
        listener(judged.record)
        if checkpoints is not None:
            checkpoints.offer(functools.partial(fit.checkpoint, epochs, best))
    if best is None or best.record.validation_nll is None:
        raise TrainingError(
            f"none of {len(epochs)} epochs gave finite validation logits. "
            "Lower training.learning_rate, or check the features of the training rows."
        )
    history = TrainingHistory(
        epochs=tuple(epochs),
        best_epoch=best.record.epoch,
        stop=stop,
        stopped_by=_failed_in_a_row(epochs, training) if stop == "gates" else (),
        device=device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
    )
    return TrainingOutcome(best.tensors, history, best.logits)


def choose_device(device: str) -> torch.device:
    """The device that `training.device` names; `auto` takes CUDA when it is there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device is cuda, and this machine has none. Set training.device to auto or cpu.")
    return torch.device(device)


@dataclass(frozen=True)
class _Steps:
    """What the steps of one epoch say."""

    epoch: int
    loss: float
    gradient_norm: float
    learning_rate: float


@dataclass(eq=False)
class _Fit:
    """Everything that changes from step to step."""

    network: DirectionNetwork
    average: WeightAverage
    optimizer: torch.optim.Optimizer
    stepper: Stepper
    streams: Streams
    training: TrainingSection
    steps_done: int = 0

    @classmethod
    def start(
        cls,
        data: TrainingData,
        *,
        network: NetworkSection,
        training: TrainingSection,
        seed: int,
        device: torch.device,
        kind: StepperKind,
    ) -> "_Fit":
        """A fresh network with its optimiser; nothing of the data but the scaler and the class counts is used."""
        streams = Streams.of(seed)
        num_features = data.features.shape[1]
        live = build_network(network, num_features=num_features, scaler=data.scaler, generator=streams.weights)
        live = live.to(device).train()
        average = WeightAverage(live, decay=training.weight_average_decay)
        optimizer = _optimizer(live, training)
        drops = network.family != "v6" and network.dropout > 0.0
        stepper = kind(
            live,
            average=average,
            optimizer=optimizer,
            loss=loss_function(training, classes=data.classes[data.train_rows], device=device),
            masks=MaskPool(network.dropout, generator=streams.dropout, device=device) if drops else None,
            training=training,
        )
        return cls(live, average, optimizer, stepper, streams, training)

    @property
    def _moving(self) -> Moving:
        return Moving(self.network, self.average.network, self.optimizer, self.streams)

    def checkpoint(self, epochs: list[EpochRecord], best: "_Judged") -> Checkpoint:
        """The state after the last of the epochs, with the best of them."""
        tensors = self._moving.tensors() | {f"best/{name}": array for name, array in best.tensors.items()}
        values = {
            "steps_done": self.steps_done,
            "epochs": [record.to_json() for record in epochs],
            "best_epoch": best.record.epoch,
        }
        return Checkpoint(len(epochs), {**tensors, "best_logits": best.logits}, values)

    def resume(self, newest: Checkpoint) -> tuple[list[EpochRecord], "_Judged"]:
        """Takes over the state of a checkpoint; its epochs, and the best of them."""
        self._moving.restore(newest.tensors)
        self.steps_done = newest.values["steps_done"]
        epochs = [epoch_from_json(record) for record in newest.values["epochs"]]
        kept = {name.removeprefix("best/"): array for name, array in newest.tensors.items() if name.startswith("best/")}
        best = _Judged(epochs[newest.values["best_epoch"] - 1], kept, newest.tensors["best_logits"])
        return epochs, best

    def one_epoch(self, rows: Rows, *, epoch: int, listener: Listener) -> _Steps:
        """One pass over the rows in a fresh order; rows that do not fill the last batch wait for the next order."""
        num_rows = len(rows.classes)
        batch = min(self.training.batch_size, num_rows)
        steps = num_rows // batch
        told_every = max(1, steps // _TOLD_PER_EPOCH)
        order_N = torch.randperm(num_rows, generator=self.streams.order).to(rows.inputs.device)
        self.stepper.begin_epoch(epoch)
        learning_rate = self.training.learning_rate
        for step in range(steps):
            learning_rate = self._learning_rate(steps)
            self.stepper.step(
                rows,
                order_N[step * batch : (step + 1) * batch],
                learning_rate=learning_rate,
                average_decay=average_decay_at(self.steps_done, decay=self.training.weight_average_decay),
            )
            self.steps_done += 1
            if (step + 1) % told_every == 0:
                listener(StepProgress(epoch, self.training.max_epochs, steps_done=step + 1, steps=steps))
        means = self.stepper.end_epoch()
        return _Steps(epoch, means.loss, means.gradient_norm, learning_rate)

    def _learning_rate(self, steps_per_epoch: int) -> float:
        return learning_rate_at(
            self.steps_done,
            steps=steps_per_epoch * self.training.max_epochs,
            start=self.training.learning_rate,
            schedule=self.training.schedule,
        )


def _optimizer(network: DirectionNetwork, training: TrainingSection) -> torch.optim.Optimizer:
    """Adam or AdamW in one fused kernel; weight decay pulls on the matrices alone, not on biases and scales."""
    if training.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=training.learning_rate, fused=True)
    matrices = [parameter for parameter in network.parameters() if parameter.ndim == 2]
    vectors = [parameter for parameter in network.parameters() if parameter.ndim != 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": training.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=training.learning_rate,
        fused=True,
    )


@torch.no_grad()
def _rows_on_device(
    data: TrainingData, rows: NDArray[np.int64], network: DirectionNetwork, *, part: str, device: torch.device
) -> Rows:
    """The rows, gathered once and already scaled and clipped; piece by piece, so that memory holds them once."""
    inputs_NF = torch.empty((len(rows), data.features.shape[1]), device=device)
    for start in range(0, len(rows), _PREPARED_ROWS):
        piece = torch.from_numpy(np.ascontiguousarray(data.features[rows[start : start + _PREPARED_ROWS]]))
        inputs_NF[start : start + len(piece)] = network.inputs(piece.to(device))
    if not bool(torch.isfinite(inputs_NF).all()):
        broken = int((~torch.isfinite(inputs_NF)).any(dim=1).sum())
        raise DataError(
            f"{broken:,} of {len(rows):,} {part} rows hold NaN or infinity in their features (none allowed). "
            "Leave rows without features out of the split."
        )
    classes_N = torch.from_numpy(data.classes[rows].astype(np.int64)).to(device)
    return Rows(inputs_NF, classes_N)


@dataclass(frozen=True, eq=False)
class _Judged:
    """An epoch's weights as read back from disk, with what validation says of them."""

    record: EpochRecord
    tensors: dict[str, NDArray[np.float32]]
    logits: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Judge:
    """Judges an epoch's weights after writing them to a file and reading them back."""

    network: NetworkSection
    gates: GatesSection
    rows: Rows

    def epoch(self, network: DirectionNetwork, *, steps: _Steps, started: float) -> _Judged:
        """Logits of the validation rows, their temperature, the NLL after it and the gates."""
        tensors = _read_back(state_tensors(network))
        read = network_from_tensors(self.network, tensors).to(self.rows.inputs.device)
        logits_NC = _logits(read, self.rows.inputs)
        logits: NDArray[np.float32] = logits_NC.cpu().numpy()
        fits = self.network.family != "v6"  # which has no temperature and emits its raw logits
        if logits_NC.is_cuda:
            said = validate_tensors(logits_NC, self.rows.classes, fits=fits)
        else:
            said = validate_arrays(logits, self.rows.classes.numpy(), fits=fits)
        fitted = said.fitted
        results = epoch_gates(
            scaler_mean=tensors.get("scaler_mean"),
            scaler_scale=tensors.get("scaler_scale"),
            logits=said.tempered,
            num_non_finite_weights=sum(int((~np.isfinite(array)).sum()) for array in tensors.values()),
            gates=self.gates,
        )
        learned = tensors.get("log_temperature")
        record = EpochRecord(
            epoch=steps.epoch,
            train_loss=steps.loss,
            validation_nll=fitted.nll if fitted else None,
            validation_accuracy=said.accuracy,
            temperature=fitted.temperature if fitted else None,
            temperature_at_bound=fitted.at_bound if fitted else True,
            learned_temperature=None if learned is None else float(np.exp(learned[0])),
            largest_logit=said.tempered.largest,
            learning_rate=steps.learning_rate,
            gradient_norm=steps.gradient_norm,
            failed_gates=tuple(gate.name for gate in results if gate.blocks),
            gates=tuple(gate.to_json() for gate in results),
            seconds=time.perf_counter() - started,
        )
        return _Judged(record, tensors, logits)


def _read_back(tensors: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The tensors after a round trip through a file: what is judged is what would be saved."""
    with tempfile.TemporaryDirectory(prefix="crpbot-epoch-") as folder:
        path = Path(folder) / "weights.safetensors"
        write_weights(path, tensors)
        return read_weights(path)


@torch.no_grad()
def _logits(network: DirectionNetwork, inputs_NF: Tensor) -> Tensor:
    """Raw logits float32 [N, 3], where the inputs are."""
    forward = forward_of(network, inputs_NF.device)
    return torch.cat([forward(piece) for piece in inputs_NF.split(_VALIDATION_BATCH[inputs_NF.device.type])])


def _better(record: EpochRecord, best: EpochRecord) -> bool:
    if record.validation_nll is None:
        return False
    return best.validation_nll is None or record.validation_nll < best.validation_nll


def _stop(epochs: list[EpochRecord], best_epoch: int, training: TrainingSection) -> Stop | None:
    """Why the training ends after these epochs, or None."""
    if _failed_in_a_row(epochs, training):
        return "gates"
    if len(epochs) >= training.max_epochs:
        return "max_epochs"
    return "patience" if len(epochs) - best_epoch >= training.patience else None


def _failed_in_a_row(epochs: list[EpochRecord], training: TrainingSection) -> tuple[str, ...]:
    """The blocking gates of a row of `gate_stop_epochs` failing epochs after the warm-up; empty while it is shorter."""
    counted = epochs[training.gate_warm_up_epochs :][-training.gate_stop_epochs :]
    if len(counted) < training.gate_stop_epochs or not all(record.failed_gates for record in counted):
        return ()
    return tuple(dict.fromkeys(name for record in counted for name in record.failed_gates))
