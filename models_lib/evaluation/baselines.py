"""The rules that a model has to beat, from the plainest to the strictest, all fitted on training rows only.

1. `MechanicalRule`: the best of a threshold on g, on -g, and always the majority class. It answers "is the accuracy more
   than the label's known part gives away?".
2. `CalibratedRule`: multinomial logistic regression on (g, |g|): the same knowledge, with probabilities.
3. `DriftlessRule`: an ordered probit whose location is g exactly and whose log-scale is linear in log volatilities and
   the clock: all that volatility alone can say. What is not above it is calibrated volatility, not direction.

What does not belong here: intervals and verdicts (evaluation.py) and the network's features.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from models_lib.calibration import log_softmax
from models_lib.labels import DOWN, NEUTRAL, UP

Floats = NDArray[np.float64]
Classes = NDArray[np.int8]

_SMALLEST_LOG_PROBABILITY = math.log(1e-12)
"""No rule is ever punished by more than this for one row."""
_NEWTON_STEPS = 60
_CONVERGED = 1e-10
"""A Newton step that promises less than this many nats a row ends the fit."""
_BLOCK_ROWS = 1_024
"""Rows whose likelihood is taken at once, so that all that is formed of them stays in the processor's cache. All 500,000 rows
at once take the calibrated rule 1.3 times as long, blocks of 65,536 rows 1.6 times, blocks of 4,096 and 16,384 less: 0.6 to
0.7 times. The sums depend on the size in their last bits."""


@dataclass(frozen=True)
class MechanicalRule:
    """A one-line rule without a model.

    Attributes:
        kind: `g`: UP where g > cut, DOWN where g < -cut, else NEUTRAL; `minus_g`: the same of -g; `majority`: always
            `majority_class`.
        cut: size of g (in the label's units) up to which the rule says NEUTRAL; negative: it never does.
        majority_class: the most frequent class of the training rows.
        train_accuracy: of the chosen kind, on the training rows.
    """

    kind: Literal["g", "minus_g", "majority"]
    cut: float
    majority_class: int
    train_accuracy: float

    def predict(self, known_part: Floats) -> Classes:
        """The class of each row, int8 [n]."""
        predicted = np.full(known_part.shape, NEUTRAL, dtype=np.int8)
        if self.kind == "majority":
            predicted[:] = self.majority_class
            return predicted
        signed = known_part if self.kind == "g" else -known_part
        outside = np.abs(signed) > self.cut
        predicted[outside & (signed >= 0.0)] = UP
        predicted[outside & (signed < 0.0)] = DOWN
        return predicted


def fit_mechanical_rule(known_part: Floats, classes: Classes) -> MechanicalRule:
    """The rule with the highest accuracy on these rows; every possible cut is tried.

    Args:
        known_part: float64 [n], g of the training rows, finite.
        classes: int8 [n], 0..2.
    """
    counts = np.bincount(classes, minlength=3)
    majority = int(counts.argmax())
    rules = [MechanicalRule("majority", 0.0, majority, float(counts[majority] / classes.size))]
    for kind, sign in (("g", 1.0), ("minus_g", -1.0)):
        cut, train_accuracy = _best_cut(sign * known_part, classes)
        rules.append(MechanicalRule("g" if kind == "g" else "minus_g", cut, majority, train_accuracy))
    return max(rules, key=lambda rule: rule.train_accuracy)


def _best_cut(signed: Floats, classes: Classes) -> tuple[float, float]:
    """The cut with the most right answers and its accuracy: one sort, two running counts, no grid."""
    size = np.abs(signed)
    order = np.argsort(size, kind="stable")
    size = size[order]
    ordered = classes[order]
    called = np.where(signed[order] >= 0.0, UP, DOWN)
    neutral_right = np.concatenate(([0], np.cumsum(ordered == NEUTRAL)))
    call_right = np.cumsum((called == ordered)[::-1])[::-1]
    right = neutral_right + np.concatenate((call_right, [0]))  # right[k]: the k smallest are called NEUTRAL
    splits_a_tie = np.zeros(right.size, dtype=bool)
    splits_a_tie[1:-1] = size[1:] == size[:-1]
    best = int(np.where(splits_a_tie, -1, right).argmax())
    return (-1.0 if best == 0 else float(size[best - 1])), float(right[best] / classes.size)


@dataclass(frozen=True, eq=False)
class CalibratedRule:
    """Multinomial logistic regression on (g, |g|).

    Attributes:
        mean: float64 [2], of (g, |g|) on the training rows.
        scale: float64 [2].
        weights: float64 [3, 3]: rows constant, g, |g|; columns DOWN, NEUTRAL, UP; NEUTRAL is 0.
    """

    mean: Floats
    scale: Floats
    weights: Floats

    def log_probabilities(self, known_part: Floats) -> Floats:
        """Log probabilities float64 [n, 3]."""
        log_p = log_softmax(_design(known_part, self.mean, self.scale) @ self.weights)
        floored: Floats = np.maximum(log_p, _SMALLEST_LOG_PROBABILITY)
        return floored


def fit_calibrated_rule(known_part: Floats, classes: Classes) -> CalibratedRule:
    """The maximum-likelihood rule, by Newton's method with halved steps.

    Args:
        known_part: float64 [n], g of the training rows, finite.
        classes: int8 [n], 0..2.
    """
    both = np.stack((known_part, np.abs(known_part)), axis=1)
    mean, scale = both.mean(axis=0), np.maximum(both.std(axis=0), 1e-300)
    x_KN = np.ascontiguousarray(_design(known_part, mean, scale).T)

    def loss_gradient_hessian(free: Floats) -> tuple[float, Floats, Floats]:
        weights = _with_neutral(free)
        loss, gradient, hessian = 0.0, np.zeros(6), np.zeros((6, 6))
        for first in range(0, classes.size, _BLOCK_ROWS):
            x_KB, seen = x_KN[:, first : first + _BLOCK_ROWS], classes[first : first + _BLOCK_ROWS]
            log_p_CB = log_softmax((weights.T @ x_KB).T).T
            each = np.arange(seen.size)
            loss -= float(log_p_CB[seen, each].sum())
            p_CB = np.exp(log_p_CB)
            hessian += _curvature(x_KB, p_CB)
            p_CB[seen, each] -= 1.0
            gradient += (p_CB[[DOWN, UP]] @ x_KB.T).ravel()
        return loss / classes.size, gradient / classes.size, hessian / classes.size

    return CalibratedRule(mean, scale, _with_neutral(_minimise(loss_gradient_hessian, np.zeros(6))))


def _curvature(x_KB: Floats, p_CB: Floats) -> Floats:
    """What these rows add to the second derivatives [6, 6] of the loss in the weights of DOWN and UP."""
    down, up = p_CB[DOWN], p_CB[UP]
    own_down, own_up = (x_KB * (p * (1.0 - p)) @ x_KB.T for p in (down, up))
    across = x_KB * (-down * up) @ x_KB.T
    return np.block([[own_down, across], [across, own_up]])


def _design(known_part: Floats, mean: Floats, scale: Floats) -> Floats:
    """[1, g, |g|], the last two standardised, float64 [n, 3]."""
    both = (np.stack((known_part, np.abs(known_part)), axis=1) - mean) / scale
    return np.concatenate((np.ones((known_part.size, 1)), both), axis=1)


def _with_neutral(free: Floats) -> Floats:
    """The weights [3, 3] of the six free ones: NEUTRAL is the reference."""
    weights = np.zeros((3, 3))
    weights[:, DOWN], weights[:, UP] = free[:3], free[3:]
    return weights


@dataclass(frozen=True, eq=False)
class DriftlessRule:
    """P(UP) = Phi((g - theta) / s), P(DOWN) = Phi((-g - theta) / s), log s = weights . (1, volatilities, clock).

    The label is taken as g plus noise of mean zero: the future has no drift, only size. Where the label does not contain
    the known past, the location is 0 and UP is as likely as DOWN.

    Attributes:
        mean: float64 [K], of the inputs on the training rows.
        scale: float64 [K].
        weights: float64 [K + 1], constant first.
    """

    mean: Floats
    scale: Floats
    weights: Floats

    def log_probabilities(self, location: Floats, theta: Floats, inputs: Floats) -> Floats:
        """Log probabilities float64 [n, 3] of DOWN, NEUTRAL, UP.

        Args:
            location: float64 [n], g, or zeros where the label does not contain it.
            theta: float64 [n], the NEUTRAL threshold of each row, > 0.
            inputs: float64 [n, K], log volatilities and clock.
        """
        log_scale = _with_constant((inputs - self.mean) / self.scale) @ self.weights
        floored: Floats = np.maximum(_probit(location, theta, log_scale)[0].T, _SMALLEST_LOG_PROBABILITY)
        return floored


def fit_driftless_rule(location: Floats, theta: Floats, inputs: Floats, classes: Classes) -> DriftlessRule:
    """The maximum-likelihood rule on these rows, by Fisher scoring with halved steps; all rows are used.

    Args:
        location: float64 [n], g of the training rows, or zeros.
        theta: float64 [n], > 0.
        inputs: float64 [n, K].
        classes: int8 [n], 0..2.
    """
    mean = inputs.mean(axis=0)
    spread = inputs.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)  # a constant input (iid market, no clock) drops out
    x_NK = _with_constant((inputs - mean) / scale)
    num_inputs = x_NK.shape[1]

    def loss_gradient_information(weights: Floats) -> tuple[float, Floats, Floats]:
        loss, gradient, information = 0.0, np.zeros(num_inputs), np.zeros((num_inputs, num_inputs))
        for first in range(0, classes.size, _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            x_BK, seen = x_NK[rows], classes[rows]
            log_p_CB, slopes_CB = _probit(location[rows], theta[rows], x_BK @ weights)
            each = np.arange(seen.size)
            loss -= float(log_p_CB[seen, each].sum())
            gradient -= slopes_CB[seen, each] @ x_BK
            expected_square = np.einsum("cb,cb,cb->b", np.exp(log_p_CB), slopes_CB, slopes_CB)
            information += x_BK.T @ (x_BK * expected_square[:, None])
        return loss / classes.size, gradient / classes.size, information / classes.size

    start = np.zeros(num_inputs)
    start[0] = math.log(max(float(np.mean(theta)), 1e-12))
    return DriftlessRule(mean, scale, _minimise(loss_gradient_information, start))


def _with_constant(inputs: Floats) -> Floats:
    return np.concatenate((np.ones((len(inputs), 1)), inputs), axis=1)


def _probit(location: Floats, theta: Floats, log_scale: Floats) -> tuple[Floats, Floats]:
    """Log probabilities [3, n] and their slopes in log s [3, n], exact in both tails.

    By symmetry the location is taken positive: `far` is the class on its side, `against` the other one. Everything
    small is then a left tail, where log Phi is accurate.
    """
    size = np.abs(location)
    inverse = np.exp(-np.clip(log_scale, -50.0, 50.0))
    a, b = (size - theta) * inverse, (-size - theta) * inverse
    log_far, log_against, log_not_far = log_ndtr(a), log_ndtr(b), log_ndtr(-a)
    ratio = np.minimum(np.exp(log_against - log_not_far), 1.0 - 1e-15)  # P(against) / P(not far) < 1
    log_neutral = log_not_far + np.log1p(-ratio)
    half_log_2pi = 0.5 * math.log(2.0 * math.pi)
    log_density_a, log_density_b = -0.5 * a * a - half_log_2pi, -0.5 * b * b - half_log_2pi
    slope_far = -a * np.exp(log_density_a - log_far)
    slope_against = -b * np.exp(log_density_b - log_against)
    slope_neutral = a * np.exp(log_density_a - log_neutral) + b * np.exp(log_density_b - log_neutral)
    upwards = location >= 0.0
    log_p = np.stack((np.where(upwards, log_against, log_far), log_neutral, np.where(upwards, log_far, log_against)))
    slopes = np.stack(
        (np.where(upwards, slope_against, slope_far), slope_neutral, np.where(upwards, slope_far, slope_against))
    )
    return log_p, slopes


def _minimise(objective: Callable[[Floats], tuple[float, Floats, Floats]], start: Floats) -> Floats:
    """The weights of lowest loss: Newton steps with a small ridge, halved until the loss falls.

    Args:
        objective: weights -> loss, gradient, curvature (positive semi-definite).
        start: float64 [K].
    """
    weights = start
    loss, gradient, curvature = objective(weights)
    for _ in range(_NEWTON_STEPS):
        ridge = 1e-9 * max(float(np.trace(curvature)) / len(start), 1e-12) * np.eye(len(start))
        step = np.linalg.solve(curvature + ridge, gradient)
        if float(gradient @ step) < _CONVERGED:
            return weights
        for halvings in range(30):
            proposal = weights - step * 0.5**halvings
            new = objective(proposal)
            if new[0] < loss:
                break
        else:
            return weights
        weights, (loss, gradient, curvature) = proposal, new
    return weights
