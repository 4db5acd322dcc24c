"""The loops of the fused step, compiled by numba: forward statistics, activations, and the way back.

What does not belong here: tensors and gradients as torch has them (fused.py). This module alone of the networks needs
numba; a training on CUDA never loads it.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models_lib.networks.norms import EPSILON

Floats = NDArray[np.float32]
_EPSILON = np.float32(EPSILON)
_REORDER_SUMS = {"reassoc", "contract", "nsz"}  # lets sums use vectors; the order is fixed when the code is compiled


@njit(cache=True, nogil=True, fastmath=_REORDER_SUMS)
def moments(x: Floats, of_columns: Floats, of_rows: Floats, statistics: Floats) -> None:
    """Fills (mean, 1 / deviation) of columns [2, W] and rows [B, 2], and mean and biased variance of columns [2, W]."""
    rows, width = x.shape
    mean, variance = statistics[0], statistics[1]
    mean[:] = 0.0
    variance[:] = 0.0
    for i in range(rows):
        row = x[i]
        total = np.float32(0.0)
        for j in range(width):
            mean[j] += row[j]
            total += row[j]
        of_rows[i, 0] = total / np.float32(width)
    for j in range(width):
        mean[j] /= np.float32(rows)
    for i in range(rows):
        row = x[i]
        row_mean = of_rows[i, 0]
        squares = np.float32(0.0)
        for j in range(width):
            variance[j] += (row[j] - mean[j]) * (row[j] - mean[j])
            squares += (row[j] - row_mean) * (row[j] - row_mean)
        of_rows[i, 1] = np.float32(1.0) / np.sqrt(squares / np.float32(width) + _EPSILON)
    column_mean, column_scale = of_columns[0], of_columns[1]
    for j in range(width):
        variance[j] /= np.float32(rows)
        column_mean[j] = mean[j]
        column_scale[j] = np.float32(1.0) / np.sqrt(variance[j] + _EPSILON)


@njit(cache=True, nogil=True, fastmath=_REORDER_SUMS)
def activations(  # noqa: PLR0917  compiled calls take positions
    x: Floats,
    batch_weight: Floats,
    layer_weight: Floats,
    bias: Floats,
    mask: Floats,
    of_columns: Floats,
    of_rows: Floats,
    h: Floats,
) -> None:
    """Fills h [B, W] = relu(batch_weight b + layer_weight l + bias) * mask; b and l are normalised over column and row."""
    rows, width = x.shape
    column_mean = of_columns[0]
    slope = batch_weight * of_columns[1]
    for i in range(rows):
        row, out, kept = x[i], h[i], mask[i]
        row_mean, row_scale = of_rows[i, 0], of_rows[i, 1]
        for j in range(width):
            value = slope[j] * (row[j] - column_mean[j]) + layer_weight[j] * ((row[j] - row_mean) * row_scale) + bias[j]
            out[j] = max(value, np.float32(0.0)) * kept[j]


@njit(cache=True, nogil=True, fastmath=_REORDER_SUMS)
def backward(  # noqa: PLR0917  as above
    dh: Floats,
    x: Floats,
    h: Floats,
    mask: Floats,
    batch_weight: Floats,
    layer_weight: Floats,
    of_columns: Floats,
    of_rows: Floats,
    dx: Floats,
    sums: Floats,
) -> None:
    """Fills dx [B, W] and the sums over the batch [3, W] that are the gradients of the two weights and the bias.

    With g the gradient before the ReLU, b and l the normalised values over column and row:
    dx = batch_weight / s_b (g - mean_B(g) - b mean_B(g b)) + (u - mean_W(u) - l mean_W(u l)) / s_l, u = layer_weight g.
    """
    rows, width = x.shape
    column_mean, column_scale = of_columns[0], of_columns[1]
    d_batch, d_layer, d_bias = sums[0], sums[1], sums[2]
    sums[:] = 0.0
    row_sums = np.empty((rows, 2), np.float32)
    for i in range(rows):
        row, grad, out, kept, upstream = x[i], dx[i], h[i], mask[i], dh[i]
        row_mean, row_scale = of_rows[i, 0], of_rows[i, 1]
        for j in range(width):
            grad[j] = upstream[j] * kept[j] if out[j] > 0.0 else np.float32(0.0)
        first = np.float32(0.0)
        second = np.float32(0.0)
        for j in range(width):
            d_bias[j] += grad[j]
            d_batch[j] += grad[j] * (row[j] - column_mean[j])
        for j in range(width):
            over_row = grad[j] * ((row[j] - row_mean) * row_scale)
            d_layer[j] += over_row
            first += layer_weight[j] * grad[j]
            second += layer_weight[j] * over_row
        row_sums[i, 0] = first / np.float32(width)
        row_sums[i, 1] = second / np.float32(width)
    for j in range(width):
        d_batch[j] *= column_scale[j]
    slope = batch_weight * column_scale
    shift = d_bias / np.float32(rows)
    tilt = d_batch * column_scale / np.float32(rows)
    for i in range(rows):
        row, grad = x[i], dx[i]
        row_mean, row_scale = of_rows[i, 0], of_rows[i, 1]
        first, second = row_sums[i, 0], row_sums[i, 1]
        for j in range(width):
            over_batch = slope[j] * (grad[j] - shift[j] - (row[j] - column_mean[j]) * tilt[j])
            over_row = row_scale * (layer_weight[j] * grad[j] - first - (row[j] - row_mean) * row_scale * second)
            grad[j] = over_batch + over_row
