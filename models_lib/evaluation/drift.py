"""Drift of the features: the newest week against the training rows, each feature against its own past weeks.

The population stability index is an effect size, so it does not alarm merely because there are many rows. Volatility
features change from week to week by nature; a fixed limit of 0.25 would alarm every week, so each feature's limit is
the larger of that floor and the 99th percentile of its own past weekly values.

What does not belong here: the gate that judges the result (gates.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FeatureDrift:
    """Population stability index of the newest week, feature by feature.

    Attributes:
        names: F feature names.
        psi: float64 [F], newest week against the training rows; 0 is no change.
        limit: float64 [F], the larger of the floor and the 99th percentile of the past weeks' values.
        num_past_weeks: whole weeks that the limits were taken from.
    """

    names: tuple[str, ...]
    psi: Floats
    limit: Floats
    num_past_weeks: int
