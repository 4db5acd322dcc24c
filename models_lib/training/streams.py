"""One stream of random numbers for each use of chance, so that no use disturbs another.

What does not belong here: the seed itself (seeds.py), which needs no torch.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class Streams:
    """CPU generators: first weights, the order of the rows, dropout."""

    weights: torch.Generator
    order: torch.Generator
    dropout: torch.Generator

    @classmethod
    def of(cls, seed: int) -> Self:
        """Independent streams from one seed."""
        children = np.random.SeedSequence(seed).generate_state(3, dtype=np.uint64)
        return cls(*(torch.Generator().manual_seed(int(child >> np.uint64(1))) for child in children))
