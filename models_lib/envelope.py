"""Where the training rows lay, feature by feature: a row far outside is one that the model has never learned from.

One feature beyond its range is no news: of 72 features of an ordinary row, some are. So the number of features outside is
counted, and the envelope remembers how many of them all but one in a thousand training rows had at most.

What does not belong here: what is done about a row outside (models_lib.runtime).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RANGE_SHARE = 0.0005
"""Share of the training rows below `low`, and above `high`, of a feature."""
ROW_SHARE = 0.001
"""Share of the training rows with more than `max_outside` features outside."""
_MOST_ROWS = 100_000
"""Rows that are looked at; of more, every k-th: a quantile of a hundred thousand is known well enough."""


@dataclass(frozen=True, eq=False)
class Envelope:
    """Ranges of the features, and how many may lie outside.

    Attributes:
        low: float32 [F].
        high: float32 [F].
        max_outside: features outside their range that a row may have.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    max_outside: int

    def outside(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which features lie outside their range, bool [..., F], of features [..., F]; NaN does."""
        return ~((features >= self.low) & (features <= self.high))


def fit_envelope(features: NDArray[np.float32], rows: NDArray[np.int64]) -> Envelope:
    """The envelope of the given rows; they must be training rows, and only they are looked at.

    Args:
        features: float32 [N, F], finite on `rows`.
        rows: int64 [n], n at least 1.
    """
    sample = features[rows[:: max(1, -(-rows.size // _MOST_ROWS))]]
    beyond = int(RANGE_SHARE * len(sample))
    ordered = np.partition(sample, (beyond, len(sample) - 1 - beyond), axis=0)
    low, high = ordered[beyond], ordered[len(sample) - 1 - beyond]
    outside = Envelope(low, high, 0).outside(sample).sum(axis=1)
    rare = int(ROW_SHARE * len(sample))
    return Envelope(low, high, int(np.partition(outside, len(sample) - 1 - rare)[len(sample) - 1 - rare]))
