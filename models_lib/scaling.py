"""Fitting the input scaler: mean and scale of each feature over the training rows, and the proof that it does its work.

Belongs here: fitting the scaler, and measuring the moments that it leaves. Knowable when: only rows that the caller
names are looked at; they must be training rows.

What does not belong here: where the scaler is kept (it is two tensors of the network) and the gate that judges it
(`evaluation.gates`).
"""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models_lib.errors import DataError
from models_lib.scaler import Scaler

__all__ = ["Scaler", "fit_scaler", "scaled_moments"]

_SMALLEST_RELATIVE_SCALE = 1e-6
"""float32 resolves 6e-8 of a value: a feature that varies by less than 1e-6 of its mean is constant for the network."""


@njit(cache=True, nogil=True)
def _moments(features: NDArray[np.float32], rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population standard deviation in one pass: float64 sums of differences from the first row.

    The shift keeps the subtraction of squares harmless where |mean| is far larger than the deviation.
    """
    num_features = features.shape[1]
    shift = features[rows[0]].astype(np.float64)
    total = np.zeros(num_features)
    squares = np.zeros(num_features)
    for row in rows:
        for f in range(num_features):
            difference = np.float64(features[row, f]) - shift[f]
            total[f] += difference
            squares[f] += difference * difference
    mean = total / rows.size
    return shift + mean, np.sqrt(np.maximum(squares / rows.size - mean * mean, 0.0))


@njit(cache=True, nogil=True)
def _scaled_moments(
    features: NDArray[np.float32], rows: NDArray[np.int64], mean: NDArray[np.float32], scale: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Moments of (x - mean) / scale, formed in float32 as the network forms it, summed in float64."""
    num_features = features.shape[1]
    total = np.zeros(num_features)
    squares = np.zeros(num_features)
    for row in rows:
        for f in range(num_features):
            scaled = np.float64((features[row, f] - mean[f]) / scale[f])
            total[f] += scaled
            squares[f] += scaled * scaled
    average = total / rows.size
    return average, np.sqrt(np.maximum(squares / rows.size - average * average, 0.0))


def fit_scaler(features: NDArray[np.float32], rows: NDArray[np.int64], *, names: Sequence[str] = ()) -> Scaler:
    """The scaler of the given rows: mean and population standard deviation of every feature.

    Args:
        features: float32 [N, F].
        rows: int64 [n], the training rows and no others.
        names: F feature names for messages; numbers are used without them.

    Raises:
        DataError: a feature is not finite, or does not vary, on these rows; the message names it.
        ValueError: no rows.
    """
    if rows.size == 0:
        raise ValueError("rows must not be empty: a scaler needs training rows")
    mean, scale = _moments(features, rows)
    labels = list(names) or [f"feature {number}" for number in range(features.shape[1])]
    broken = [labels[f] for f in np.flatnonzero(~(np.isfinite(mean) & np.isfinite(scale)))]
    if broken:
        raise DataError(
            f"{', '.join(broken)}: NaN or infinity on the {rows.size:,} training rows (none allowed). "
            f"Leave rows without features out of the split."
        )
    constant = [labels[f] for f in np.flatnonzero(scale <= _SMALLEST_RELATIVE_SCALE * np.abs(mean))]
    if constant:
        raise DataError(
            f"{', '.join(constant)}: constant on the {rows.size:,} training rows (a scale above 0 is needed). "
            f"Check the candles for stretches of constant price or zero volume, or train on a longer window."
        )
    return Scaler(mean=mean, scale=scale)


def scaled_moments(
    features: NDArray[np.float32], rows: NDArray[np.int64], scaler: Scaler
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of every scaled feature on the given rows, before any clip.

    The scaler is rounded to float32 and applied in float32 first, because that is what the saved network does: pass
    the mean and scale that were read back from the file.

    Returns:
        mean float64 [F] and std float64 [F]; near 0 and 1 on the rows of the fit.

    Raises:
        ValueError: no rows.
    """
    if rows.size == 0:
        raise ValueError("rows must not be empty: moments need rows")
    mean, std = _scaled_moments(features, rows, scaler.mean.astype(np.float32), scaler.scale.astype(np.float32))
    return mean, std
