"""The input scaler itself: what is subtracted from, and what divides, each feature.

What does not belong here: fitting and judging one (scaling.py), which takes more than numpy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Scaler:
    """What is subtracted from, and what divides, each feature.

    Attributes:
        mean: float64 [F].
        scale: float64 [F], the population standard deviation, > 0.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
