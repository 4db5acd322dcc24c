"""Drift of the features: the newest week against the training rows, each feature against its own past weeks.

The population stability index is an effect size, so it does not alarm merely because there are many rows. Volatility
features change from week to week by nature; a fixed limit of 0.25 would alarm every week, so each feature's limit is
the larger of that floor and the 99th percentile of its own past weekly values.

What does not belong here: the gate that judges the result (gates.py).
"""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models_lib.evaluation.gates import FeatureDrift

Floats = NDArray[np.float64]

_BINS = 10
_SMALLEST_SHARE = 1e-4
"""Share that an empty bin counts as, so that its logarithm is finite."""
_QUANTILE_ROWS = 200_000
"""The bins' edges come from at most about this many evenly spaced training rows; the shares come from all of them."""
_PIECE_ROWS = 65_536
_WEEK_MS = 7 * 24 * 3_600_000
_FEWEST_WEEKS = 2
_FEWEST_ROWS = 1_440
"""A week with fewer rows, a day's worth, is left out."""
_PERCENTILE = 99.0


def feature_drift(
    features: NDArray[np.float32],
    timestamps_ms: NDArray[np.int64],
    train_rows: NDArray[np.int64],
    *,
    names: Sequence[str],
    floor: float,
) -> FeatureDrift | None:
    """The newest seven days of every feature against the training rows, with limits from the weeks before.

    Weeks are counted backwards from the newest row with features. Bins are the deciles of the training rows.

    Args:
        features: float32 [N, F]; rows with NaN (warm-up) are left out.
        timestamps_ms: int64 [N], open times.
        train_rows: int64 [n].
        names: F feature names.
        floor: smallest limit of a feature.

    Returns:
        The indices and limits, or None (not measured) when the newest week or fewer than two past weeks have at least
        a day of rows.
    """
    known = np.flatnonzero(_all_finite(features))
    if known.size == 0 or train_rows.size == 0:
        return None
    weeks_ago = (timestamps_ms[known[-1]] - timestamps_ms[known]) // _WEEK_MS
    sizes = np.bincount(weeks_ago)
    whole = int((timestamps_ms[known[-1]] - timestamps_ms[known[0]] + 60_000) // _WEEK_MS)
    past = [week for week in range(1, min(whole, sizes.size)) if sizes[week] >= _FEWEST_ROWS]
    if sizes[0] < _FEWEST_ROWS or len(past) < _FEWEST_WEEKS:
        return None
    sample = features[train_rows[:: max(1, train_rows.size // _QUANTILE_ROWS)]]
    levels = np.arange(1, _BINS) / _BINS
    edges = np.stack([np.quantile(column.astype(np.float64), levels) for column in sample.T])
    train = _bin_shares(_bin_counts(features, train_rows, np.zeros(train_rows.size, np.int64), 1, edges))[0]
    weekly = _bin_shares(_bin_counts(features, known, weeks_ago, sizes.size, edges))
    psi = ((weekly - train) * np.log(weekly / train)).sum(axis=2)
    limit = np.maximum(floor, np.percentile(psi[past], _PERCENTILE, axis=0))
    return FeatureDrift(tuple(names), psi[0], limit, len(past))


def _all_finite(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether every feature of a row is a number, bool [N]; in pieces, so that no second matrix is made."""
    finite = np.empty(len(features), dtype=bool)
    for first in range(0, len(features), _PIECE_ROWS):
        rows = slice(first, first + _PIECE_ROWS)
        finite[rows] = np.isfinite(features[rows]).all(axis=1)
    return finite


@njit(cache=True, nogil=True)
def _bin_counts(
    features: NDArray[np.float32], rows: NDArray[np.int64], groups: NDArray[np.int64], num_groups: int, edges: Floats
) -> NDArray[np.int64]:
    """Rows of each group in each bin of each feature, int64 [groups, F, bins]; a value on an edge is in the lower bin."""
    num_features, num_edges = edges.shape
    counts = np.zeros((num_groups, num_features, num_edges + 1), dtype=np.int64)
    for i in range(rows.size):
        for f in range(num_features):
            value = features[rows[i], f]
            place = 0
            for e in range(num_edges):
                place += edges[f, e] < value
            counts[groups[i], f, place] += 1
    return counts


def _bin_shares(counts: NDArray[np.int64]) -> Floats:
    """Shares of the bins, floored; a group without rows has the floor everywhere and is never looked at."""
    shares: Floats = np.maximum(counts / np.maximum(counts.sum(axis=2, keepdims=True), 1), _SMALLEST_SHARE)
    return shares
