"""The newest row of the feature matrix alone: the same definitions, over no more bars than the row depends on.

A runtime needs one row a minute. `compute_features` over the bars that a host keeps computes thousands of rows to throw
them away; the measures of the newest DEPENDENCY_BARS + 1 bars give the last of them with the same bits (kernels.py says
why, and the laws of the tests prove it).

What does not belong here: what a feature is (definitions.py), and anything about training.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models_lib.features.definitions import DEPENDENCY_BARS, WARM_UP_BARS
from models_lib.features.kernels import BLOCK
from models_lib.features.measures import Measures
from models_lib.features.sets import CURRENT, FeatureSet

NEWEST_ROW_BARS: Final = DEPENDENCY_BARS + BLOCK
"""Bars to keep for the newest row, itself included: what it depends on, from the beginning of a block."""

NEAR_BARS: Final = 3 * BLOCK
"""Bars before the newest one's block that most features do with: two blocks for their windows, one in which a window of windows begins."""


def newest_features(
    minute: int, columns: Sequence[NDArray[np.float64]], *, features: FeatureSet = CURRENT
) -> NDArray[np.float32]:
    """The features of the newest bar, float32 [F], the same bits as the last row of `compute_features`.

    Args:
        minute: epoch minute of the newest bar.
        columns: open, high, low, close, volume of the segment's bars up to it, contiguous float64 [n] each, with
            n = NEWEST_ROW_BARS, or all bars of the segment when it is shorter. More bars change nothing.
        features: which columns.

    Raises:
        ValueError: the newest bar lies in the warm-up of its segment, where there are no features.
    """
    num_bars = len(columns[0])
    if num_bars <= WARM_UP_BARS:
        raise ValueError(f"the newest row needs more than {WARM_UP_BARS} bars, got {num_bars}")
    near, far = _measures(minute, columns, NEAR_BARS), _measures(minute, columns, DEPENDENCY_BARS)
    row = np.empty(len(features.features), dtype=np.float32)
    for place, feature in enumerate(features.features):
        measures = near if feature.warm_up_bars <= NEAR_BARS - BLOCK else far
        row[place] = measures.newest(feature.compute(measures))
    return row


def _measures(minute: int, columns: Sequence[NDArray[np.float64]], earlier_bars: int) -> Measures:
    """Over the block of the newest bar and this many bars before it, or the whole segment when it is shorter."""
    num_used = earlier_bars + minute % BLOCK + 1
    cut = len(columns[0]) >= num_used
    open_, high, low, close, volume = (column[-num_used:] for column in columns)
    return Measures(minute - len(close) + 1, open_=open_, high=high, low=low, close=close, volume=volume, cut=cut)
