"""The two fitted rules as they were first written: every figure of all rows at once. The product takes rows in blocks.

Not here: the product's own halves that did not change (`_minimise`, `_design`, `_with_neutral`, `_probit`).
"""

import math

import numpy as np

from models_lib.evaluation.baselines import (
    CalibratedRule,
    DriftlessRule,
    _design,
    _minimise,
    _probit,
    _with_constant,
    _with_neutral,
)
from models_lib.labels import DOWN, UP


def log_softmax_of_rows(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """By numpy's own reductions over the last axis."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))


def calibrated_rule(known_part: np.ndarray, classes: np.ndarray) -> CalibratedRule:
    both = np.stack((known_part, np.abs(known_part)), axis=1)
    mean, scale = both.mean(axis=0), np.maximum(both.std(axis=0), 1e-300)
    x_NK = _design(known_part, mean, scale)
    target = np.eye(3)[classes]

    def loss_gradient_hessian(free: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        log_p = log_softmax_of_rows(x_NK @ _with_neutral(free))
        p_NC = np.exp(log_p)
        gradient = (x_NK.T @ (p_NC - target))[:, [DOWN, UP]].T.ravel() / classes.size
        hessian = np.empty((6, 6))
        for i, a in enumerate((DOWN, UP)):
            for j, b in enumerate((DOWN, UP)):
                weight = p_NC[:, a] * ((a == b) - p_NC[:, b])
                hessian[3 * i : 3 * i + 3, 3 * j : 3 * j + 3] = x_NK.T @ (x_NK * weight[:, None]) / classes.size
        return float(-(log_p * target).sum() / classes.size), gradient, hessian

    return CalibratedRule(mean, scale, _with_neutral(_minimise(loss_gradient_hessian, np.zeros(6))))


def driftless_rule(location: np.ndarray, theta: np.ndarray, inputs: np.ndarray, classes: np.ndarray) -> DriftlessRule:
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    x_NK = _with_constant((inputs - mean) / scale)
    rows = np.arange(classes.size)

    def loss_gradient_information(weights: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        log_p, slopes = (by_class.T for by_class in _probit(location, theta, x_NK @ weights))
        gradient = -(x_NK.T @ slopes[rows, classes]) / classes.size
        information = (np.exp(log_p) * slopes**2).sum(axis=1)
        return (
            float(-log_p[rows, classes].mean()),
            gradient,
            x_NK.T @ (x_NK * information[:, None]) / classes.size,
        )

    start = np.zeros(x_NK.shape[1])
    start[0] = math.log(max(float(np.mean(theta)), 1e-12))
    return DriftlessRule(mean, scale, _minimise(loss_gradient_information, start))
