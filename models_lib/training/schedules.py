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
    """The decay of the weight average after step 0, 1, ...: short at first, so that the first weights are forgotten.

    The average spans about the last fifth of the steps until `decay` caps it. On validation NLL of real candles 3, 5 and
    10 in place of 5 are equal within noise, 30 is worse (README, "The recipe").
    """
    return min(decay, (1.0 + step) / (5.0 + step))
