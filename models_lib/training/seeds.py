"""The seed of a training: one number a symbol.

What does not belong here: streams of random numbers (streams.py), and seeds of the market and of the bootstrap, which
have their own settings.
"""

import hashlib


def symbol_seed(seed: int, symbol: str) -> int:
    """The seed of one symbol's training, in 0..2^63-1: the configured seed with the symbol's name mixed in."""
    digest = hashlib.sha256(f"{seed}:{symbol}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
