"""A step of training on the CPU: matrix products by torch, compiled loops between them, and nothing allocated.

Autograd spends most of a small step on administration, and walks through memory once an operation. Here the order of the
operations is written out: forward, loss, backward, clip, optimiser, weight average. Weights, gradients, moments and the
average are one vector each, of which the tensors of the network and of the optimiser are views: the update is a few passes
over 60,000 numbers, and a checkpoint is the one that `TorchStepper` would leave, which is the definition of all that is
computed here.

What does not belong here: the loops (models_lib.networks.compiled), and the choice of the stepper (choice.py).
"""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models_lib.config import TrainingSection
from models_lib.networks import DirectionNetwork, compiled
from models_lib.networks.direction import NUM_CLASSES
from models_lib.networks.dropout import MaskPool
from models_lib.networks.losses import ConfiguredLoss
from models_lib.training.average import WeightAverage
from models_lib.training.fused_forward import Floats, Hidden, Layer, Parameter, activate
from models_lib.training.stepping import Rows, StepMeans, not_finite

_ALIGNED = 16
"""Floats in a line of the cache, at whose start each tensor begins."""
_NOTHING = torch.zeros(())


class FusedStepper:
    """A `Stepper` of the CPU; its numbers are those of `TorchStepper` to rounding, the same bits on every run.

    Args:
        network: in training mode; its tensors become views of one vector.
        average: of that network's weights; as above.
        optimizer: Adam or AdamW of all its parameters; its state is what moves.
        loss: of logits after the learned temperature.
        masks: for dropout; None drops nothing.
        training: the recipe; of it the clip of the gradient is read.
    """

    def __init__(
        self,
        network: DirectionNetwork,
        *,
        average: WeightAverage,
        optimizer: torch.optim.Optimizer,
        loss: ConfiguredLoss,
        masks: MaskPool | None,
        training: TrainingSection,
    ) -> None:
        self._network = network
        self._masks = masks
        self._kept = 1.0 if masks is None else masks.kept
        self._loss = _Loss(loss)
        self._largest = training.gradient_clip_norm or math.inf
        self._update = _Update(network, average=average, optimizer=optimizer)
        self._layers = [Layer(network, index) for index in range(len(network.linears))]
        self._log_temperature = Parameter(getattr(network, "log_temperature", None))
        self._batch = _Batch(0, self._layers)
        self._epoch = self._steps = 0
        self._loss_sum = self._norm_sum = 0.0

    def begin_epoch(self, epoch: int) -> None:
        """As the protocol says: a fresh pool of masks, and sums of nothing."""
        self._epoch, self._steps = epoch, 0
        self._loss_sum = self._norm_sum = 0.0
        self._network.train()
        self._update.adopt_state()
        if self._masks is not None:
            self._masks.refill()

    def step(self, rows: Rows, chosen_B: Tensor, *, learning_rate: float, average_decay: float) -> None:
        """As the protocol says; a number that is not finite is told at once."""
        loss = self.gradient(rows, chosen_B)
        self._require_finite(loss, "loss")
        norm = self._update.gradient_norm()
        self._require_finite(norm, "gradient norm")
        self._update.move(
            shrink=min(1.0, self._largest / (norm + 1e-6)), learning_rate=learning_rate, average_decay=average_decay
        )
        self._loss_sum, self._norm_sum = self._loss_sum + loss, self._norm_sum + norm
        self._steps += 1

    def end_epoch(self) -> StepMeans:
        """As the protocol says."""
        return StepMeans(self._loss_sum / self._steps, self._norm_sum / self._steps)

    def gradient(self, rows: Rows, chosen_B: Tensor) -> float:
        """The loss of the rows; leaves its gradient in the parameters' `grad`, and moves the running statistics."""
        if len(self._batch.inputs) != len(chosen_B):
            self._batch = _Batch(len(chosen_B), self._layers)
        batch, last = self._batch, self._layers[-1]
        torch.index_select(rows.inputs, 0, chosen_B, out=batch.inputs)
        above = batch.inputs
        for layer, hidden in zip(self._layers, batch.hidden, strict=False):
            torch.addmm(layer.bias.tensor, above, layer.weight_t, out=hidden.products)
            self._activate(layer, hidden)
            above = hidden.outputs
        torch.addmm(last.bias.tensor, above, last.weight_t, out=batch.logits)
        loss = self._loss_and_slope(rows.classes.numpy(), chosen_B.numpy())
        slope = batch.logits_slope
        for index in reversed(range(len(batch.hidden))):
            layer, hidden = self._layers[index], batch.hidden[index]
            torch.mm(slope.t(), hidden.outputs, out=self._layers[index + 1].weight.slope)
            torch.mm(slope, self._layers[index + 1].weight.tensor, out=hidden.slope)
            self._back(layer, hidden)
            slope = hidden.slope
        torch.mm(slope.t(), batch.inputs, out=self._layers[0].weight.slope)
        return loss

    def _activate(self, layer: Layer, hidden: Hidden) -> None:
        """What the layer hands on, by the statistics of the batch."""
        mask = hidden.ones if self._masks is None else self._masks.mask(*hidden.x.shape).numpy()
        norm = layer.norm
        if norm is not None:
            compiled.column_moments(hidden.x, hidden.mean, hidden.scale, norm.running_mean, norm.running_var)
        activate(layer, hidden, mask)

    def _back(self, layer: Layer, hidden: Hidden) -> None:
        """Takes the gradient from what the layer hands on back to the products."""
        norm = layer.norm
        if norm is None:
            compiled.plain_backward(hidden.dh, hidden.x, hidden.h, self._kept, layer.bias.slope_array)
            return
        compiled.mixed_backward(
            hidden.dh, hidden.x, hidden.h, self._kept, hidden.mean, hidden.scale, hidden.of_rows, norm.weight.array,
            norm.mix_logit.array, norm.weight.slope_array, norm.bias.slope_array, norm.mix_logit.slope_array,
            layer.bias.slope_array,
        )  # fmt: skip

    def _loss_and_slope(self, classes: NDArray[np.int64], chosen: NDArray[np.int64]) -> float:
        """The loss, and its gradient by the logits."""
        batch, table = self._batch, self._loss
        return float(
            compiled.loss_and_gradient(
                batch.logits_array, self._log_temperature.array, classes, chosen, table.targets, table.weights,
                table.alpha, table.gamma, batch.logits_slope_array, self._layers[-1].bias.slope_array,
                self._log_temperature.slope_array,
            )
        )  # fmt: skip

    def _require_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise not_finite(what, value, epoch=self._epoch, step=self._steps + 1)


class _Batch:
    """Room for what a batch computes."""

    def __init__(self, rows: int, layers: Sequence[Layer]) -> None:
        self.inputs = torch.empty(rows, layers[0].weight.tensor.shape[1])
        self.hidden = [Hidden(rows, len(layer.bias.array)) for layer in layers[:-1]]
        self.logits, self.logits_slope = torch.empty(2, rows, NUM_CLASSES)
        self.logits_array, self.logits_slope_array = self.logits.numpy(), self.logits_slope.numpy()


class _Loss:
    """The numbers of a loss as the loop takes them; alpha 1 and gamma 0 are plain cross-entropy."""

    def __init__(self, loss: ConfiguredLoss) -> None:
        self.targets = loss.targets.double().numpy()
        self.weights = np.ones(NUM_CLASSES) if loss.weights is None else loss.weights.double().numpy()
        self.alpha, self.gamma = (loss.alpha, loss.gamma) if loss.is_focal else (1.0, 0.0)


class _Update:
    """Clip, optimiser and weight average over vectors, of which the tensors of all three become views.

    The live vector holds the weights, group by group of the optimiser, and behind them the running statistics, which have
    no gradient and are averaged too.
    """

    def __init__(self, network: DirectionNetwork, *, average: WeightAverage, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        names = {parameter: name for name, parameter in network.named_parameters()}
        groups: list[list[nn.Parameter]] = [group["params"] for group in optimizer.param_groups]
        self._parameters = [parameter for group in groups for parameter in group]
        weights = [names[parameter] for parameter in self._parameters]
        statistics = [name for name, _ in network.named_buffers() if name.startswith("norms.")]
        live = _Vector(network, [*weights, *statistics])
        self._live = live.array
        self._average: Floats | None = None
        if average.network is not network:
            self._average = _Vector(average.network, [*weights, *statistics]).array
            average.bind()
        ends = list(accumulate(len(group) for group in groups))
        edges = [live.starts[end] for end in (0, *ends)]
        self._slices = [slice(*pair) for pair in pairwise(edges)]
        gradient, self._first, self._second = (torch.zeros(edges[-1]) for _ in range(3))
        self._gradient: Floats = gradient.numpy()
        self._steps = torch.zeros(len(weights))
        self._places = live.starts[: len(weights)]
        for parameter, start in zip(self._parameters, self._places, strict=True):
            parameter.grad = _view(gradient, start, parameter)

    def adopt_state(self) -> None:
        """Makes the optimiser's moments views of the vectors, with the numbers that it has; 0 where it has none."""
        for index, (parameter, start) in enumerate(zip(self._parameters, self._places, strict=True)):
            state = self._optimizer.state[parameter]
            own = {
                "step": self._steps[index],
                "exp_avg": _view(self._first, start, parameter),
                "exp_avg_sq": _view(self._second, start, parameter),
            }
            for name, view in own.items():
                view.copy_(state.get(name, _NOTHING))
            state.update(own)

    def gradient_norm(self) -> float:
        """Over all parameters, before it is clipped."""
        return math.sqrt(compiled.squared_norm(self._gradient))

    def move(self, *, shrink: float, learning_rate: float, average_decay: float) -> None:
        """One step of the optimiser with the gradient times `shrink`, and of the average."""
        self._steps += 1.0
        steps = self._steps[0].item()
        first, second = self._first.numpy(), self._second.numpy()
        for group, part in zip(self._optimizer.param_groups, self._slices, strict=True):
            group["lr"] = learning_rate
            beta_1, beta_2 = group["betas"]
            compiled.adam(
                self._live[part], self._gradient[part], first[part], second[part], shrink,
                1.0 - learning_rate * group["weight_decay"], learning_rate / (1.0 - beta_1**steps), beta_1, beta_2,
                math.sqrt(1.0 - beta_2**steps), group["eps"],
            )  # fmt: skip
        if self._average is not None:
            compiled.lerp(self._average, self._live, 1.0 - average_decay)


class _Vector:
    """Tensors of a network as views of one vector; `starts` are theirs, and the end."""

    def __init__(self, network: DirectionNetwork, names: Sequence[str]) -> None:
        tensors = dict(network.named_parameters()) | dict(network.named_buffers())
        chosen = [tensors[name] for name in names]
        lines = (-(-tensor.numel() // _ALIGNED) for tensor in chosen)
        self.starts = [_ALIGNED * line for line in accumulate(lines, initial=0)]
        vector = torch.zeros(self.starts[-1])
        for tensor, start in zip(chosen, self.starts, strict=False):
            view = _view(vector, start, tensor)
            view.copy_(tensor.detach())
            tensor.data = view
        self.array: Floats = vector.numpy()


def _view(vector: Tensor, start: int, like: Tensor) -> Tensor:
    """The part of the vector that begins there, in the shape of the tensor."""
    return vector[start : start + like.numel()].view(like.shape)
