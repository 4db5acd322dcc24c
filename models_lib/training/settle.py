"""How torch is set so that a training gives the same bits every time.

What does not belong here: seeds (seeds.py, streams.py).
"""

import os

import torch


def settle_torch() -> None:
    """One thread, and the same bits every time; memory is not filled beforehand, because nothing reads it unwritten."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is repeatable only with a fixed workspace
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch hides it there
