"""Trainings that must find nothing: what they are given instead of the truth, and when their finding something is an alarm.

A model that is good for the wrong reason (test rows or their labels in the training, a feature that knows the future)
passes every gate. A control takes out what an honest model could learn and leaves the wrong reasons in:

- `shuffled`: the labels of the training and of the validation rows are permuted. Whoever still knows the test labels
  has seen them.
- `signflip`: the candles are rebuilt with random signs (models_lib.candles.sign_flipped), and everything is done on them
  as on the real ones. Whoever still knows the direction reads it from the future.

What does not belong here: the trainings (models_lib.steps.controls) and how the table looks (models_lib.reports).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_lib.config import ControlName
from models_lib.training.seeds import symbol_seed

Classes = NDArray[np.int8]
Rows = NDArray[np.int64]


def control_seed(seed: int, symbol: str, control: ControlName) -> int:
    """The seed of what a control makes random: the training's, with the symbol and the control mixed in."""
    return symbol_seed(seed, f"{symbol}:control:{control}")


def permuted_classes(classes: Classes, parts: tuple[Rows, ...], *, seed: int) -> Classes:
    """The classes, int8 [N], with those of each part's rows in random order; all others stay true.

    Args:
        classes: int8 [N].
        parts: row numbers; each part keeps its own counts of the classes.
        seed: of the order.
    """
    random, permuted = np.random.default_rng(seed), classes.copy()
    for rows in parts:
        permuted[rows] = random.permutation(classes[rows])
    return permuted
