"""The loops of a training step on the CPU, compiled by numba: all that stands between the matrix products.

The arithmetic is that of norms.py, losses.py and torch's optimisers, which remain the definition. Rows of float32 in,
float32 out; a row stays in the cache while all is done to it.

    forward    column_moments, then mixed_activations (v7, v8) or plain_activations (v6)
    loss       loss_and_gradient
    backward   mixed_backward or plain_backward
    update     squared_norm, adam, lerp

What does not belong here: matrix products and tensors (models_lib.training.fused_stepper). This module alone of the
networks needs numba; a training on CUDA never loads it.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models_lib.networks.losses import SMALLEST_MISS
from models_lib.networks.norms import EPSILON, MOMENTUM

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
_EPSILON, _MOMENTUM = np.float32(EPSILON), np.float32(MOMENTUM)
# Rows are summed in blocks, and the blocks then: the error of a float32 sum grows with the number of its terms.
_BLOCK = 64

# Sums may use vectors: their order is fixed when the code is compiled. A division by 0 is infinity, as torch has it.
_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
# A loop over more than about five vectors stays scalar (the compiler would have to compare too many places), so the long ones
# below are cut in two: their row is in the cache.


@_compiled
def _relu(value: np.float32) -> np.float32:
    """The value, or 0 below it; NaN stays NaN, so that the loss tells."""
    return _ZERO if value < _ZERO else value  # noqa: FURB136 - max() takes the 0 beside a NaN


@_compiled
def _mean_of(x: Floats, mean: Floats) -> None:
    """Fills the mean of the rows."""
    rows, width = x.shape
    mean[:] = _ZERO
    for i in range(rows):
        row = x[i]
        for j in range(width):
            mean[j] += row[j]
    mean *= _ONE / np.float32(rows)


@_compiled
def _distances(x: Floats, origin: Floats, distances: Floats, squares: Floats) -> None:
    """Fills the sums over the rows of their distances from the origin, and of the squares of these."""
    rows, width = x.shape
    distances[:] = _ZERO
    squares[:] = _ZERO
    for i in range(rows):
        row = x[i]
        for j in range(width):
            distance = row[j] - origin[j]
            distances[j] += distance
            squares[j] += distance * distance


@_compiled
def column_moments(x: Floats, mean: Floats, scale: Floats, running_mean: Floats, running_variance: Floats) -> None:
    """Fills mean and 1 / deviation [W] of the columns, and moves the running statistics, by the unbiased variance.

    One pass: the sums are of distances from the mean of the first rows, so that far from zero they keep the digits that a
    sum of plain squares loses. Of several rows, because one alone may lie far from the others.
    """
    rows, width = x.shape
    mean[:] = _ZERO
    scale[:] = _ZERO
    part = np.empty((3, width), np.float32)
    origin = part[2]
    _mean_of(x[:_BLOCK], origin)
    for start in range(0, rows, _BLOCK):
        _distances(x[start : start + _BLOCK], origin, part[0], part[1])
        mean += part[0]
        scale += part[1]
    share, unbiased = _ONE / np.float32(rows), np.float32(rows / (rows - 1))
    for j in range(width):
        shift = mean[j] * share
        variance = scale[j] * share - shift * shift
        variance = _relu(variance)
        mean[j] = origin[j] + shift
        scale[j] = _ONE / np.sqrt(variance + _EPSILON)
        running_mean[j] += _MOMENTUM * (mean[j] - running_mean[j])
        running_variance[j] += _MOMENTUM * (variance * unbiased - running_variance[j])


@_compiled
def _batch_share(mix_logit: Floats) -> np.float32:
    """The share of the value normalised over the batch: 1 where there is no mix."""
    return _ONE if len(mix_logit) == 0 else _ONE / (_ONE + np.exp(-mix_logit[0]))


@_compiled
def mixed_activations(  # noqa: PLR0917  compiled calls take positions
    x: Floats,
    mean: Floats,
    scale: Floats,
    weight: Floats,
    bias: Floats,
    mix_logit: Floats,
    mask: Floats,
    of_rows: Floats,
    h: Floats,
) -> None:
    """Fills h [B, W] = relu(weight (m b + (1 - m) l) + bias) * mask; b and l are normalised over column and row.

    With a mix_logit [1] it also fills (mean, 1 / deviation) of each row [B, 2]; with [0], m is 1 and there is no l.
    """
    rows, width = x.shape
    share = _batch_share(mix_logit)
    slope, row_weight = weight * share * scale, weight * (_ONE - share)
    for i in range(rows):
        row, out, kept = x[i], h[i], mask[i]
        if len(mix_logit) > 0:
            total = _ZERO
            for j in range(width):
                total += row[j]
            row_mean = total / np.float32(width)
            squares = _ZERO
            for j in range(width):
                squares += (row[j] - row_mean) * (row[j] - row_mean)
            row_scale = _ONE / np.sqrt(squares / np.float32(width) + _EPSILON)
            of_rows[i, 0], of_rows[i, 1] = row_mean, row_scale
            for j in range(width):
                over_row = row_weight[j] * ((row[j] - row_mean) * row_scale)
                value = slope[j] * (row[j] - mean[j]) + over_row + bias[j]
                out[j] = _relu(value) * kept[j]
        else:
            for j in range(width):
                value = slope[j] * (row[j] - mean[j]) + bias[j]
                out[j] = _relu(value) * kept[j]


@_compiled
def _before_relu(  # noqa: PLR0917  as above
    gradient: Floats, x: Floats, h: Floats, factor: np.float32, mean: Floats, sums: Floats
) -> None:
    """Turns the gradient by h into that before the ReLU; fills its sum over the rows, and that of its product with x - mean."""
    rows, width = x.shape
    d_bias, d_slope = sums[0], sums[1]
    sums[:] = _ZERO
    for i in range(rows):
        row, grad, out = x[i], gradient[i], h[i]
        for j in range(width):
            grad[j] = grad[j] * factor if out[j] > _ZERO else _ZERO
        for j in range(width):
            d_bias[j] += grad[j]
            d_slope[j] += grad[j] * (row[j] - mean[j])


@_compiled
def _before_batch_norm(  # noqa: PLR0917  as above
    gradient: Floats, x: Floats, mean: Floats, slope: Floats, shift: Floats, tilt: Floats
) -> None:
    """Turns the gradient by a value normalised over the batch into that by the value before."""
    rows, width = x.shape
    for i in range(rows):
        row, grad = x[i], gradient[i]
        for j in range(width):
            grad[j] = slope[j] * (grad[j] - shift[j] - (row[j] - mean[j]) * tilt[j])


@_compiled
def _before_mixed_norm(  # noqa: PLR0917  as above
    gradient: Floats,
    x: Floats,
    mean: Floats,
    slope: Floats,
    shift: Floats,
    tilt: Floats,
    of_rows: Floats,
    row_weight: Floats,
    sums: Floats,
) -> None:
    """As above, with the part over the row; fills the sums over the rows of the gradient by its weight, and by x of it alone."""
    rows, width = x.shape
    d_row_weight, d_before = sums[0], sums[1]
    sums[:] = _ZERO
    for i in range(rows):
        row, grad = x[i], gradient[i]
        row_mean, row_scale = of_rows[i, 0], of_rows[i, 1]
        first = _ZERO
        second = _ZERO
        for j in range(width):
            over_row = grad[j] * ((row[j] - row_mean) * row_scale)
            d_row_weight[j] += over_row
            first += row_weight[j] * grad[j]
            second += row_weight[j] * over_row
        first /= np.float32(width)
        second = second / np.float32(width) * row_scale
        for j in range(width):
            d_before[j] += row_scale * (row_weight[j] * grad[j] - first - (row[j] - row_mean) * second)
        for j in range(width):
            over_row = row_scale * (row_weight[j] * grad[j] - first - (row[j] - row_mean) * second)
            grad[j] = slope[j] * (grad[j] - shift[j] - (row[j] - mean[j]) * tilt[j]) + over_row


@_compiled
def mixed_backward(  # noqa: PLR0917  as above
    gradient: Floats,
    x: Floats,
    h: Floats,
    kept: float,
    mean: Floats,
    scale: Floats,
    of_rows: Floats,
    weight: Floats,
    mix_logit: Floats,
    d_weight: Floats,
    d_bias: Floats,
    d_mix_logit: Floats,
    d_before: Floats,
) -> None:
    """Turns the gradient by h [B, W] into that by x; fills those by weight, bias and mix_logit, and its sum over the batch.

    With g the gradient before the ReLU (dh * kept where h is above 0: a dropped unit is 0), b and l the values normalised
    over column and row, s_b and s_l what they were divided by, v = m weight and u = (1 - m) weight:
    dx = v / s_b (g - mean_B(g) - b mean_B(g b)) + (u g - mean_W(u g) - l mean_W(u g l)) / s_l.
    Over the batch the first part sums to 0: it is left out of the sum, where autograd has its rounding instead.
    """
    rows, width = x.shape
    sums = np.zeros((4, width), np.float32)
    part = np.empty((2, width), np.float32)
    for start in range(0, rows, _BLOCK):
        end = start + _BLOCK
        _before_relu(gradient[start:end], x[start:end], h[start:end], np.float32(kept), mean, part)
        sums[:2] += part
    share = _batch_share(mix_logit)
    d_bias[:] = sums[0]
    by_batch = sums[1] * scale
    slope, row_weight = weight * share * scale, weight * (_ONE - share)
    shift, tilt = d_bias / np.float32(rows), by_batch * scale / np.float32(rows)
    if len(mix_logit) == 0:
        _before_batch_norm(gradient, x, mean, slope, shift, tilt)
    else:
        for start in range(0, rows, _BLOCK):
            end = start + _BLOCK
            _before_mixed_norm(
                gradient[start:end], x[start:end], mean, slope, shift, tilt, of_rows[start:end], row_weight, part
            )  # fmt: skip
            sums[2:] += part
        d_mix_logit[0] = (weight * (by_batch - sums[2])).sum() * share * (_ONE - share)
    d_weight[:] = share * by_batch + (_ONE - share) * sums[2]
    d_before[:] = sums[3]


@_compiled
def plain_activations(x: Floats, mask: Floats, h: Floats) -> None:
    """Fills h [B, W] = relu(x) * mask."""
    rows, width = x.shape
    for i in range(rows):
        row, out, kept = x[i], h[i], mask[i]
        for j in range(width):
            out[j] = _relu(row[j]) * kept[j]


@_compiled
def plain_backward(gradient: Floats, x: Floats, h: Floats, kept: float, d_before: Floats) -> None:
    """Turns the gradient by h [B, W] into that by x, which is kept where h is above 0; fills its sum over the batch."""
    rows, width = x.shape
    d_before[:] = _ZERO
    part = np.empty((2, width), np.float32)
    for start in range(0, rows, _BLOCK):
        end = start + _BLOCK
        _before_relu(gradient[start:end], x[start:end], h[start:end], np.float32(kept), d_before, part)
        d_before += part[0]


@_compiled
def loss_and_gradient(  # noqa: PLR0917, C901  as above; the loops are sums over three classes
    logits: Floats,
    log_temperature: Floats,
    classes: Integers,
    chosen: Integers,
    targets: Doubles,
    weights: Doubles,
    alpha: float,
    gamma: float,
    d_logits: Floats,
    d_bias: Floats,
    d_log_temperature: Floats,
) -> float:
    """The mean loss; fills its gradients by the raw logits [B, 3], by their bias [3] and by log_temperature.

    In double precision: a batch has few logits.

    Args:
        logits: raw, [B, 3].
        log_temperature: [1], or [0] where the network has none.
        classes: of all rows [N].
        chosen: the rows of the batch [B].
        targets: target table [3, 3], row c for class c.
        weights: of the classes [3].
        alpha: a row's loss is multiplied by alpha (1 - p)^gamma, p = exp(-loss); 1 and 0 for plain cross-entropy.
        gamma: as alpha.
        d_logits: filled.
        d_bias: filled.
        d_log_temperature: filled.
    """
    factor = 1.0 if len(log_temperature) == 0 else math.exp(-log_temperature[0])
    rows, num_classes = logits.shape
    total = 0.0
    slope_of_factor = 0.0
    sums = np.zeros(num_classes)
    tempered = np.empty(num_classes)
    chances = np.empty(num_classes)
    for i in range(rows):
        target = targets[classes[chosen[i]]]
        highest = -np.inf
        for c in range(num_classes):
            tempered[c] = logits[i, c] * factor
            highest = max(highest, tempered[c])
        mass = 0.0
        for c in range(num_classes):
            chances[c] = math.exp(tempered[c] - highest)
            mass += chances[c]
        log_mass = math.log(mass) + highest
        loss = 0.0
        target_mass = 0.0
        for c in range(num_classes):
            loss -= target[c] * (tempered[c] - log_mass)
            target_mass += target[c]
        slope = 1.0
        if gamma > 0.0:
            missed = max(-math.expm1(-loss), SMALLEST_MISS)
            slope = missed**gamma + gamma * missed ** (gamma - 1.0) * math.exp(-loss) * loss
            loss *= missed**gamma
        weight = alpha * weights[classes[chosen[i]]] / rows
        total += weight * loss
        slope *= weight
        for c in range(num_classes):
            by_tempered = slope * (chances[c] / mass * target_mass - target[c])
            slope_of_factor -= by_tempered * tempered[c]
            sums[c] += by_tempered * factor
            d_logits[i, c] = by_tempered * factor
    for c in range(num_classes):
        d_bias[c] = sums[c]
    if len(log_temperature) > 0:
        d_log_temperature[0] = slope_of_factor
    return total


@_compiled
def squared_norm(gradient: Floats) -> float:
    """The sum of squares of a vector."""
    total = _ZERO
    for j in range(len(gradient)):
        total += gradient[j] * gradient[j]
    return float(total)


@_compiled
def adam(  # noqa: PLR0917  as above
    weights: Floats,
    gradient: Floats,
    first: Floats,
    second: Floats,
    shrink: float,
    keep: float,
    step_size: float,
    beta_1: float,
    beta_2: float,
    root_of_correction: float,
    epsilon: float,
) -> None:
    """One step of Adam or AdamW in place (Kingma and Ba 2015, Loshchilov and Hutter 2019).

    Args:
        weights: float32 [P].
        gradient: before it is clipped; read only.
        first: moment.
        second: moment.
        shrink: what the gradient is multiplied by to clip it.
        keep: what the weights are multiplied by first: 1 - learning rate * weight decay.
        step_size: learning rate / (1 - beta_1^t).
        beta_1: decay of the first moment.
        beta_2: decay of the second moment.
        root_of_correction: sqrt(1 - beta_2^t).
        epsilon: added to the root of the second moment.
    """
    factor, kept, size = np.float32(shrink), np.float32(keep), np.float32(step_size)
    new_1, old_2, new_2 = np.float32(1.0 - beta_1), np.float32(beta_2), np.float32(1.0 - beta_2)
    root, small = np.float32(1.0 / root_of_correction), np.float32(epsilon)
    for j in range(len(weights)):
        slope = gradient[j] * factor
        moment = first[j] + (slope - first[j]) * new_1
        square = second[j] * old_2 + slope * slope * new_2
        first[j], second[j] = moment, square
        weights[j] = weights[j] * kept - size * moment / (np.sqrt(square) * root + small)


@_compiled
def lerp(shadow: Floats, live: Floats, share: float) -> None:
    """Moves the shadow by that share of the way to the live vector."""
    way = np.float32(share)
    for j in range(len(shadow)):
        shadow[j] += (live[j] - shadow[j]) * way
