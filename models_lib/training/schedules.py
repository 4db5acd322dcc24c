"""Tiny pure functions of the step number.

What does not belong here: state.
"""

import math
from typing import Literal


def learning_rate_at(step: int, *, steps: int, start: float, schedule: Literal["constant", "cosine"]) -> float:
    """The step size of step 0..steps-1; cosine falls from `start` towards 0 (Loshchilov and Hutter 2017, no restarts)."""
    if schedule == "constant":
        return start
    return 0.5 * start * (1.0 + math.cos(math.pi * step / steps))


def average_decay_at(step: int, *, decay: float) -> float:
    """The decay of the weight average after step 0, 1, ...: short at first, so that the first weights are forgotten."""
    return min(decay, (1.0 + step) / (10.0 + step))
