"""Seeds: one number a symbol, and one stream for each use of chance, so that no use disturbs another.

What does not belong here: seeds of the market and of the bootstrap; they have their own settings.
"""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch


def symbol_seed(seed: int, symbol: str) -> int:
    """The seed of one symbol's training, in 0..2^63-1: the configured seed with the symbol's name mixed in."""
    digest = hashlib.sha256(f"{seed}:{symbol}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


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
