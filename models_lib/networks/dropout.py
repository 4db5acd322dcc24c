"""Dropout from a pool of masks: drawn once an epoch from a seeded generator, then sliced at random offsets.

Drawing a fresh mask for every unit takes a third of a step on one core, because the generator is serial. A slice at a
random offset costs nothing; within a step it is as independent as fresh draws, across steps of an epoch pieces of the
pool come again in front of other rows and units.

What does not belong here: the share that is dropped (NetworkSection.dropout).
"""

from typing import Protocol

import torch
from torch import Tensor

_POOL_ENTRIES = 1 << 22


class Masks(Protocol):
    """Where a network finds the masks of its hidden layers, first layer first."""

    def mask(self, rows: int, width: int) -> Tensor:
        """The mask [rows, width] of the next hidden layer."""


class MaskPool:
    """Masks of 0 and 1 / (1 - share), equal in expectation to 1, for every dropout of one network.

    Args:
        share: share of units set to zero, in [0, 1).
        generator: a CPU generator; the only source of randomness.
        device: where the masks live.
    """

    def __init__(self, share: float, *, generator: torch.Generator, device: torch.device) -> None:
        self._share = share
        self._generator = generator
        self._device = device
        self._pool = torch.empty(0)

    @property
    def kept(self) -> float:
        """What a unit that stays is multiplied by."""
        return 1.0 / (1.0 - self._share)

    def refill(self) -> None:
        """Draws the pool anew; called at the start of each epoch."""
        self._pool = self._drawn(_POOL_ENTRIES)

    def mask(self, rows: int, width: int) -> Tensor:
        """A mask [rows, width] float32: a view into the pool, or a fresh draw when it would take half of the pool."""
        entries = rows * width
        if 2 * entries > self._pool.numel():
            return self._drawn(entries).view(rows, width)
        last = self._pool.numel() - entries
        offset = int(torch.randint(last + 1, (), generator=self._generator))
        return self._pool[offset : offset + entries].view(rows, width)

    def _drawn(self, entries: int) -> Tensor:
        uniform = torch.rand(entries, generator=self._generator)
        kept = (uniform >= self._share).to(torch.float32).div_(1.0 - self._share)
        return kept.to(self._device)
