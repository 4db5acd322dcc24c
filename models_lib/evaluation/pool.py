"""The weighted ensemble of two models: a log-linear pool, fitted on validation rows (Genest and Zidek 1986).

raw_logits = w_1 * logits_1 + w_2 * logits_2, then / T, with w >= 0 and w_1 + w_2 = 1, of the logits that each member
emits after its own temperature. With (a, b) = (w_1, w_2) / T this is a multinomial logistic regression with two
coefficients, whose NLL is convex in (a, b) >= 0: one optimum, found exactly.

Knowable when: the pool is fitted on validation rows only; the test rows never choose a weight.

What does not belong here: the bundle that carries the weights (models_lib.bundle), and which rows are validation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_lib.calibration import fit_temperature, negative_log_likelihood, softmax

Floats = NDArray[np.float64]
Pair = tuple[float, float]

_STEPS = 200
_HALVINGS = 60
_RELATIVE_STEP = 1e-12
_NO_GAIN = 1e-9
"""A slope of the NLL, in nats a row per unit of coefficient, that is 0 but for rounding: the other member adds nothing."""
_ROUNDING = 1e-15


@dataclass(frozen=True)
class PoolFit:
    """The pool of lowest NLL on the rows of the fit.

    Attributes:
        weights: of the two members, >= 0, their sum is 1.
        temperature: > 0, of the pooled logits.
        nll: mean negative log-likelihood of the pool, in nats.
        members_nll: of each member as it emits its logits.
        sole: the member that gets all the weight, 0 or 1, because the other one adds nothing; None when both count.
        at_bound: the one member's temperature ended at the end of its range: its logits say nothing, or everything.
    """

    weights: Pair
    temperature: float
    nll: float
    members_nll: Pair
    sole: int | None
    at_bound: bool


def fit_pool(first: NDArray[np.floating], second: NDArray[np.floating], classes: NDArray[np.integer]) -> PoolFit:
    """Weights and temperature that minimise the NLL, exact to 1e-6.

    First the better member alone (at its best temperature): where the NLL does not fall towards the other one, that is
    the optimum, because the NLL is convex. Otherwise the optimum lies inside, and Newton's method finds it from there.

    Args:
        first: float [n, 3], logits that the first member emits.
        second: float [n, 3], of the second, on the same rows.
        classes: int [n], 0..2, every one known.

    Raises:
        ValueError: no rows, unknown classes, or logits that are not finite.
    """
    alone = [fit_temperature(logits, classes) for logits in (first, second)]
    sole = int(alone[1].nll < alone[0].nll)
    start = np.zeros(2)
    start[sole] = 1.0 / alone[sole].temperature
    z_2NC = np.stack([_centred(first), _centred(second)])
    slopes, _ = _slopes(z_2NC, classes, start)
    members_nll = (negative_log_likelihood(first, classes), negative_log_likelihood(second, classes))
    if alone[sole].at_bound or slopes[1 - sole] >= -_NO_GAIN:
        weights = (1.0, 0.0) if sole == 0 else (0.0, 1.0)
        best = alone[sole]
        return PoolFit(weights, best.temperature, best.nll, members_nll, sole, at_bound=best.at_bound)
    coefficients = _inside(z_2NC, classes, start)
    total = float(coefficients.sum())
    weight = float(coefficients[0]) / total
    nll = _nll(z_2NC, classes, coefficients)
    return PoolFit((weight, 1.0 - weight), 1.0 / total, nll, members_nll, None, at_bound=False)


def _centred(logits: NDArray[np.floating]) -> Floats:
    """The logits minus their mean over the classes: the same probabilities, smaller numbers."""
    z_NC = logits.astype(np.float64)
    centred: Floats = z_NC - z_NC.mean(axis=1, keepdims=True)
    return centred


def _inside(z_2NC: Floats, classes: NDArray[np.integer], start: Floats) -> Floats:
    """The coefficients of lowest NLL, both above 0: Newton steps, halved while they leave the quadrant or do not help."""
    coefficients, nll = start, _nll(z_2NC, classes, start)
    for _ in range(_STEPS):
        slopes, curvature = _slopes(z_2NC, classes, coefficients)
        step = np.linalg.solve(curvature + 1e-12 * np.trace(curvature) * np.eye(2), slopes)
        for halvings in range(_HALVINGS):
            proposal = coefficients - step * 0.5**halvings
            if not (proposal > 0.0).all():
                continue
            new = _nll(z_2NC, classes, proposal)
            if new <= nll + _ROUNDING:
                break
        else:
            return coefficients
        moved = float(np.abs(proposal - coefficients).max())
        coefficients, nll = proposal, new
        if moved <= _RELATIVE_STEP * float(coefficients.max()):
            return coefficients
    return coefficients


def _nll(z_2NC: Floats, classes: NDArray[np.integer], coefficients: Floats) -> float:
    return negative_log_likelihood(np.tensordot(coefficients, z_2NC, axes=1), classes)


def _slopes(z_2NC: Floats, classes: NDArray[np.integer], coefficients: Floats) -> tuple[Floats, Floats]:
    """Slope [2] and curvature [2, 2] of the NLL: E_p[z] - z_class, and the covariance of z under p, means over rows."""
    p_NC = softmax(np.tensordot(coefficients, z_2NC, axes=1))
    expected_2N = (z_2NC * p_NC).sum(axis=2)
    slopes: Floats = (expected_2N - z_2NC[:, np.arange(len(classes)), classes]).mean(axis=1)
    moments = np.einsum("inc,jnc,nc->ij", z_2NC, z_2NC, p_NC, optimize=True)
    curvature: Floats = (moments - expected_2N @ expected_2N.T) / len(classes)
    return slopes, curvature
