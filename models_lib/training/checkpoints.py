"""Checkpoints: the whole state of a fit at the end of an epoch, from which the training goes on bit for bit.

For machines that are taken away while they work. A checkpoint is one safetensors file that appears whole; its name holds
the epoch and the hash of its content, so a half, damaged or renamed one is known by itself, also after it went through a
store that copies file by file in any order. Nothing is pickled. The two newest of the training stay.

What does not belong here: which training a checkpoint is of (the caller names it), weights as a result (checkpoint.py).
"""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models_lib.files import sha256_bytes, write_bytes
from models_lib.networks import DirectionNetwork
from models_lib.training.streams import Streams

_log = logging.getLogger(__name__)

Tensors = Mapping[str, NDArray[Any]]

_FORMAT = 1
_KEPT = 2
_NAME = re.compile(r"^epoch-(?P<epoch>[0-9]{6})\.(?P<sha256>[0-9a-f]{64})\.safetensors$")
_VALUES = "values.json"
"""The tensor that holds the values, as bytes of JSON."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state at the end of an epoch.

    Attributes:
        epoch: from 1.
        tensors: arrays by name.
        values: what else there is, as JSON values.
    """

    epoch: int
    tensors: Tensors
    values: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one training in a folder.

    Args:
        folder: may be absent; may hold checkpoints of this training, and of others, which are never taken.
        identity: of the training; whatever changes a bit of it must change this.
        seconds: shortest time between two checkpoints, and from the start to the first.
        clock: seconds that only go forward.
    """

    def __init__(
        self, folder: Path, *, identity: str, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._identity = identity
        self._seconds = seconds
        self._clock = clock
        self._last = clock()
        self._own: tuple[str, ...] = ()
        self.resumed_after: int | None = None
        """The epoch after which this training went on; None when it began at the beginning."""

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint of this training; each newer one that is passed over is logged with the reason."""
        for path in reversed(self._paths()):
            try:
                checkpoint = self._read(path)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                _log.warning("the checkpoint %s is not used: %s", path.name, error)
                continue
            self.resumed_after = checkpoint.epoch
            self._own = (path.name,)
            _log.info("the training goes on after epoch %d, from the checkpoint %s", checkpoint.epoch, path.name)
            return checkpoint
        return None

    def offer(self, state: Callable[[], Checkpoint]) -> None:
        """Writes the state when enough time has passed since the last one.

        The two newest that this training wrote, or went on from, stay; whatever else is named as a checkpoint goes: it is
        older, or was passed over.
        """
        if self._clock() - self._last < self._seconds:
            return
        self._own = (*self._own, self._write(state()))[-_KEPT:]
        self._last = self._clock()
        for path in self._paths():
            if path.name not in self._own:
                path.unlink(missing_ok=True)

    def _write(self, checkpoint: Checkpoint) -> str:
        """The name of the file."""
        values = {"format": _FORMAT, "identity": self._identity, "values": checkpoint.values}
        encoded = np.frombuffer(json.dumps(values, sort_keys=True).encode(), dtype=np.uint8)
        tensors = {name: np.asarray(array, order="C") for name, array in checkpoint.tensors.items()}
        content = save({**tensors, _VALUES: encoded})
        name = f"epoch-{checkpoint.epoch:06d}.{sha256_bytes(content)}.safetensors"
        write_bytes(self._folder / name, content)
        return name

    def _read(self, path: Path) -> Checkpoint:
        named = _NAME.match(path.name)
        assert named is not None, "other names are no checkpoints"
        content = path.read_bytes()
        if sha256_bytes(content) != named["sha256"]:
            raise ValueError(f"its {len(content):,} bytes are not the ones that its name promises: half, or damaged")
        tensors = {name: array.copy() for name, array in sorted(load(content).items())}
        written = json.loads(tensors.pop(_VALUES).tobytes())
        if (written["format"], written["identity"]) != (_FORMAT, self._identity):
            raise ValueError("it is of another training")
        return Checkpoint(int(named["epoch"]), tensors, written["values"])

    def _paths(self) -> list[Path]:
        """What is named as a checkpoint, by epoch."""
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if _NAME.match(path.name))


@dataclass(frozen=True, eq=False)
class Moving:
    """What changes from step to step and must be the same when a training goes on.

    Attributes:
        live: the network whose weights the steps move.
        average: its average, or the live network itself.
        optimizer: with its moments.
        streams: of random numbers.
    """

    live: DirectionNetwork
    average: DirectionNetwork
    optimizer: torch.optim.Optimizer
    streams: Streams

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The state by name, as copies."""
        state = {f"live/{name}": tensor for name, tensor in self.live.state_dict().items()}
        if self.average is not self.live:
            state |= {f"average/{name}": tensor for name, tensor in self.average.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{index}/{name}": tensor for name, tensor in moments.items()}
        state |= {"order": self.streams.order.get_state(), "dropout": self.streams.dropout.get_state()}
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in state.items()}

    def restore(self, tensors: Tensors) -> None:
        """Puts the state back that `tensors` gave, in place."""
        self.live.load_state_dict(_under("live/", tensors))
        if self.average is not self.live:
            self.average.load_state_dict(_under("average/", tensors))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _under("optimizer/", tensors).items():
            index, _, part = name.partition("/")
            moments.setdefault(int(index), {})[part] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.streams.order.set_state(torch.from_numpy(tensors["order"]))
        self.streams.dropout.set_state(torch.from_numpy(tensors["dropout"]))


def _under(prefix: str, tensors: Tensors) -> dict[str, torch.Tensor]:
    """The tensors whose names begin so, without the prefix."""
    return {
        name.removeprefix(prefix): torch.from_numpy(array) for name, array in tensors.items() if name.startswith(prefix)
    }
