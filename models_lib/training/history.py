"""What a training says about itself while it runs and after.

What does not belong here: drawing it (models_lib.reports) and sending it anywhere.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Stop = Literal["max_epochs", "patience", "gates"]


@dataclass(frozen=True)
class StepProgress:
    """How far an epoch of `epochs` at most has come; told about twenty times an epoch."""

    epoch: int
    epochs: int
    steps_done: int
    steps: int


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, judged on the validation rows with the temperature fitted there.

    Attributes:
        epoch: from 1.
        train_loss: mean of the configured loss over the epoch's batches.
        validation_nll: nats, after `temperature`; None when the logits are not finite.
        validation_accuracy: share in 0..1; None as above.
        temperature: absolute, of raw logits; 1 for a v6, which has none; None as above.
        temperature_at_bound: the fit hit its bound: the logits say nothing, or too much.
        learned_temperature: what the network itself has learned; None for v6.
        largest_logit: of the validation rows after `temperature`; None when not finite.
        learning_rate: at the epoch's last step.
        gradient_norm: mean over the steps, before clipping.
        failed_gates: names of the blocking gates that failed.
        gates: every gate of the epoch as JSON values.
        seconds: wall time; it says nothing about the result.
    """

    epoch: int
    train_loss: float
    validation_nll: float | None
    validation_accuracy: float | None
    temperature: float | None
    temperature_at_bound: bool
    learned_temperature: float | None
    largest_logit: float | None
    learning_rate: float
    gradient_norm: float
    failed_gates: tuple[str, ...]
    gates: tuple[dict[str, Any], ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingHistory:
    """Every epoch, which one is kept, and why it ended.

    Attributes:
        epochs: in order.
        best_epoch: number of the epoch with the lowest validation NLL after temperature; its weights are kept.
        stop: `max_epochs`, `patience` (no better epoch for that long) or `gates`.
        stopped_by: when `stop` is `gates`, every blocking gate that failed in the last epochs; one or another of them
            failed in each.
        device: `cpu` or the name of the CUDA device.
    """

    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    stop: Stop
    stopped_by: tuple[str, ...]
    device: str

    @property
    def best(self) -> EpochRecord:
        """The record of the epoch that is kept."""
        return self.epochs[self.best_epoch - 1]

    def to_json(self) -> dict[str, Any]:
        """The history as JSON values; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "TrainingHistory":
        """The history that `to_json` wrote."""
        return cls(
            epochs=tuple(epoch_from_json(epoch) for epoch in value["epochs"]),
            best_epoch=value["best_epoch"],
            stop=value["stop"],
            stopped_by=tuple(value["stopped_by"]),
            device=value["device"],
        )


def epoch_from_json(value: dict[str, Any]) -> EpochRecord:
    """The record that `EpochRecord.to_json` wrote."""
    return EpochRecord(
        **{**value, "failed_gates": tuple(value["failed_gates"]), "gates": tuple(value["gates"])},
    )
