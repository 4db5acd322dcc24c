"""Steps on a GPU: one captured graph a step, and nothing that the host would have to wait for until the epoch ends.

A step of these networks is some hundred kernels of a microsecond each, so that starting them one by one takes longer than
their work. They are captured once and started together. What changes from step to step lies in tensors of the device at
fixed addresses: `step` fills them and starts the graph, in the order of one stream. Loss and norm are added up there, and
a number that is not finite makes the optimiser and the average stand still from that step on; `end_epoch` reads what came of
it and tells it. Only the norms' running statistics go on following the rows, as they do in the definition's broken step.

The first steps run without a graph, on the stream of the capture: they are the warm-up that a capture needs, and count as
any other. With `capture=False` every step does, on any device; that is how the tests know this code on a machine without a GPU.

What does not belong here: what a step is (stepping.py, whose `TorchStepper` is the definition).
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models_lib.config import TrainingSection
from models_lib.errors import TrainingError
from models_lib.networks import DirectionNetwork
from models_lib.networks.direction import HIDDEN_WIDTHS
from models_lib.networks.dropout import MaskPool
from models_lib.networks.losses import Loss
from models_lib.training.average import WeightAverage
from models_lib.training.stepping import Rows, StepMeans, not_finite

_WARM_UP_STEPS = 3
"""Steps before the capture: libraries load their kernels and workspaces, and the optimiser makes its moments."""


class CudaStepper:
    """A `Stepper` that the host does not wait for within an epoch.

    Args:
        network: in training mode, on the device.
        average: of that network's weights.
        optimizer: of its parameters; one of torch's that is `fused`.
        loss: of logits after the learned temperature.
        masks: for dropout; None drops nothing. From batches of more than 8,192 rows on the pool draws on the host, step by
            step, and the host waits for the copy.
        training: the recipe; of it the clip of the gradient is read.
        capture: whether steps are captured, which needs CUDA.
    """

    def __init__(
        self,
        network: DirectionNetwork,
        *,
        average: WeightAverage,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        masks: MaskPool | None,
        training: TrainingSection,
        capture: bool = True,
    ) -> None:
        self._network = network
        self._average = average
        self._optimizer = optimizer
        self._loss = loss
        self._masks = masks
        self._largest = training.gradient_clip_norm or math.inf
        self._device = next(network.parameters()).device
        self._told = _Told.on(self._device)
        # Its own: graphs that were captured on one stream share the workspace of its matrix products, and lose it together.
        self._stream = torch.cuda.Stream(self._device) if capture else None
        self._captured: _Captured | None = None
        self._batch: _Batch | None = None
        self._epoch = self._steps = self._steps_of_batch = 0

    def begin_epoch(self, epoch: int) -> None:
        """As the protocol says: a fresh pool of masks, and sums of nothing."""
        self._epoch, self._steps = epoch, 0
        self._told.forget()
        self._network.train()
        if self._masks is not None:
            self._masks.refill()
        if self._captured is not None and self._captured.moments != self._moments():
            self._captured = None

    def step(self, rows: Rows, chosen_B: Tensor, *, learning_rate: float, average_decay: float) -> None:
        """As the protocol says; it is under way when this returns, and a number that is not finite is told in `end_epoch`."""
        batch = self._batch_of(rows, len(chosen_B))
        batch.fill(chosen_B, self._masks, learning_rate=learning_rate, average_share=1.0 - average_decay)
        if self._stream is None:
            self._move(batch)
        elif self._steps_of_batch < _WARM_UP_STEPS:
            with _beside(self._stream):
                self._move(batch)
        else:
            self._replay(batch, self._stream)
        self._steps_of_batch += 1
        self._steps += 1

    def end_epoch(self) -> StepMeans:
        """As the protocol says; here the host waits for the steps."""
        told = self._told.read()
        if told.broken:
            what, value = ("gradient norm", told.norm) if math.isfinite(told.loss) else ("loss", told.loss)
            raise not_finite(what, value, epoch=self._epoch, step=told.step)
        return StepMeans(told.loss_sum / self._steps, told.norm_sum / self._steps)

    def _batch_of(self, rows: Rows, num_rows: int) -> "_Batch":
        """The place of what changes; a new one, and a new graph, for other rows or another size."""
        if self._batch is None or not self._batch.takes(rows, num_rows):
            self._captured = None
            self._batch = _Batch.of(rows, num_rows, drops=self._masks is not None)
            self._steps_of_batch = 0
        return self._batch

    def _replay(self, batch: "_Batch", stream: "torch.cuda.Stream") -> None:
        """Starts the captured step; captures it first where there is none."""
        if self._captured is None:
            self._captured = _Captured(self._capture(batch, stream), self._moments())
        self._captured.graph.replay()

    def _capture(self, batch: "_Batch", stream: "torch.cuda.Stream") -> "torch.cuda.CUDAGraph":
        """The graph of a step."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=stream):
                self._move(batch, capturing=True)
        except torch.OutOfMemoryError:
            raise  # a smaller batch is the remedy, and whoever tells of it says so
        except RuntimeError as error:  # what torch raises for anything that CUDA refuses
            raise TrainingError(
                f"a training step could not be captured as a CUDA graph in epoch {self._epoch} ({error}). "
                "Set training.cuda_graph=false: slower, and every kernel is started by itself."
            ) from error
        return graph

    def _moments(self) -> tuple[int, ...]:
        """Where the optimiser's moments lie, and its counts of steps: loading a state into it puts others in their place."""
        return tuple(tensor.data_ptr() for moments in self._optimizer.state.values() for tensor in moments.values())

    def _move(self, batch: "_Batch", *, capturing: bool = False) -> None:
        """The step itself, from the batch's tensors alone: what is captured, so nothing in it may ask for a number."""
        inputs_BF = batch.rows.inputs.index_select(0, batch.chosen)
        classes_B = batch.rows.classes.index_select(0, batch.chosen)
        raw_BC = self._network.logits_of_inputs(inputs_BF, batch.static_masks())
        loss = self._loss(self._network.tempered(raw_BC), classes_B)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._largest)
        self._told.add(loss.detach(), norm)
        with _steered(self._optimizer, batch.learning_rate, self._told.broken, capturing=capturing):
            self._optimizer.step()
        self._average.follow_by(self._told.unless_broken(batch.average_share))


@dataclass(frozen=True, eq=False)
class _Captured:
    """A step's graph, and where the moments lay that it moves."""

    graph: "torch.cuda.CUDAGraph"
    moments: tuple[int, ...]


class _StaticMasks:
    """One mask a hidden layer, at a fixed address, handed out in the order of the layers."""

    def __init__(self, masks_BW: tuple[Tensor, ...]) -> None:
        self._next = iter(masks_BW)

    def mask(self, rows: int, width: int) -> Tensor:
        """The mask of the next layer."""
        mask_BW = next(self._next)
        assert mask_BW.shape == (rows, width)
        return mask_BW


@dataclass(frozen=True, eq=False)
class _Batch:
    """What changes from step to step, at fixed addresses, beside the rows that it is taken from.

    Attributes:
        rows: all of them.
        chosen: numbers [B] of this step's rows.
        masks: float32 [B, W], one a hidden layer; empty where nothing is dropped.
        learning_rate: float32 [].
        average_share: float32 [], 1 - decay.
    """

    rows: Rows
    chosen: Tensor
    masks: tuple[Tensor, ...]
    learning_rate: Tensor
    average_share: Tensor

    @classmethod
    def of(cls, rows: Rows, num_rows: int, *, drops: bool) -> "_Batch":
        """Places for a step of that many rows."""
        device = rows.inputs.device
        return cls(
            rows,
            chosen=torch.zeros(num_rows, dtype=torch.int64, device=device),
            masks=tuple(torch.zeros((num_rows, width), device=device) for width in HIDDEN_WIDTHS if drops),
            learning_rate=torch.zeros((), device=device),
            average_share=torch.zeros((), device=device),
        )

    def takes(self, rows: Rows, num_rows: int) -> bool:
        """Whether it is for steps of these rows, so many at a time."""
        return self.rows is rows and len(self.chosen) == num_rows

    def fill(self, chosen_B: Tensor, masks: MaskPool | None, *, learning_rate: float, average_share: float) -> None:
        """Enqueues what this step is of; numbers travel as arguments of a kernel, so that no copy is waited for."""
        self.chosen.copy_(chosen_B)
        self.learning_rate.fill_(learning_rate)
        self.average_share.fill_(average_share)
        for mask_BW in self.masks:
            assert masks is not None, "places for masks are made where there are some"
            mask_BW.copy_(masks.mask(*mask_BW.shape))

    def static_masks(self) -> _StaticMasks | None:
        """The masks as a network takes them."""
        return _StaticMasks(self.masks) if self.masks else None


@dataclass(frozen=True)
class _Tale:
    """What the steps of an epoch told: sums over them, and loss and norm of the last one, or of the first broken one."""

    broken: bool
    step: int
    loss: float
    norm: float
    loss_sum: float
    norm_sum: float


@dataclass(frozen=True, eq=False)
class _Told:
    """What the steps tell, kept on the device until the epoch ends.

    Attributes:
        broken: float32 [], 1 from the first number on that is not finite, else 0; the form that torch's optimisers heed.
        steps: float64 [], their number up to the first broken one.
        latest_2: float64, loss and norm of the last of these.
        sums_2: float64, of loss and norm over all steps.
        one: float32 [], 1.
    """

    broken: Tensor
    steps: Tensor
    latest_2: Tensor
    sums_2: Tensor
    one: Tensor

    @classmethod
    def on(cls, device: torch.device) -> "_Told":
        """Nothing told yet."""
        return cls(
            broken=torch.zeros((), device=device),
            steps=torch.zeros((), dtype=torch.float64, device=device),
            latest_2=torch.zeros(2, dtype=torch.float64, device=device),
            sums_2=torch.zeros(2, dtype=torch.float64, device=device),
            one=torch.ones((), device=device),
        )

    def forget(self) -> None:
        """Starts anew."""
        for tensor in (self.broken, self.steps, self.latest_2, self.sums_2):
            tensor.zero_()

    def add(self, loss: Tensor, norm: Tensor) -> None:
        """Takes a step's loss [] and gradient norm []."""
        figures_2 = torch.stack((loss, norm))
        whole = self.broken == 0.0
        self.steps.add_(whole)
        self.latest_2.copy_(torch.where(whole, figures_2, self.latest_2))
        self.sums_2.add_(figures_2)
        torch._amp_foreach_non_finite_check_and_unscale_([figures_2], self.broken, self.one)

    def unless_broken(self, share: Tensor) -> Tensor:
        """The share [], or 0."""
        return torch.addcmul(share, share, self.broken, value=-1.0)

    def read(self) -> _Tale:
        """All of it in one copy to the host."""
        told = torch.cat((self.broken.double().view(1), self.steps.view(1), self.latest_2, self.sums_2)).tolist()
        broken, steps, loss, norm, loss_sum, norm_sum = told
        return _Tale(bool(broken), int(steps), loss, norm, loss_sum, norm_sum)


@contextlib.contextmanager
def _steered(
    optimizer: torch.optim.Optimizer, learning_rate: Tensor, broken: Tensor, *, capturing: bool
) -> Iterator[None]:
    """The optimiser takes its rate, and whether it moves at all, from the device; afterwards it is as it was.

    `found_inf` is how torch's gradient scaler tells a fused optimiser to stand still. `capturable` asks for nothing more of
    a fused one; set outside a capture, it would only warn.
    """
    groups = optimizer.param_groups
    as_it_was = [(group["lr"], group["capturable"]) for group in groups]
    for group in groups:
        group["lr"], group["capturable"] = learning_rate, capturing
    optimizer.found_inf = broken  # type: ignore[attr-defined]  # read by step() where it is there
    try:
        yield
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]
        for group, (rate, capturable) in zip(groups, as_it_was, strict=True):
            group["lr"], group["capturable"] = rate, capturable


@contextlib.contextmanager
def _beside(stream: "torch.cuda.Stream") -> Iterator[None]:
    """Work within goes to that stream, after what was enqueued before and before what follows."""
    ours = torch.cuda.current_stream(stream.device)
    stream.wait_stream(ours)
    with torch.cuda.stream(stream):
        yield
    ours.wait_stream(stream)
