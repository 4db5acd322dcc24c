"""The log-linear pool: its optimum against another optimiser and by hand, its bounds, and what it refuses."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from models_lib.calibration import fit_temperature, negative_log_likelihood
from models_lib.evaluation.pool import fit_pool
from tests.pooled import pooled_logits


def members(rows: int = 4_000, *, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two models that each know half of what decides the class, the second one too sure by 1.7; and the classes."""
    random = np.random.default_rng(seed)
    one, two = random.normal(size=(2, rows, 3))
    probabilities = np.exp(1.2 * one + 0.6 * two)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    classes = (random.random((rows, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    return one, 1.7 * two, classes


def by_scipy(first: np.ndarray, second: np.ndarray, classes: np.ndarray) -> tuple[float, float, float]:
    """Coefficients and NLL by a bounded quasi-Newton method of scipy, without our derivatives."""

    def nll(coefficients: np.ndarray) -> float:
        z = coefficients[0] * first + coefficients[1] * second
        z = z - z.max(axis=1, keepdims=True)
        return float(-(z[np.arange(len(classes)), classes] - np.log(np.exp(z).sum(axis=1))).mean())

    found = minimize(nll, [0.5, 0.5], bounds=[(0, None)] * 2, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10})
    return float(found.x[0]), float(found.x[1]), float(found.fun)


def test_weights_and_temperature_agree_with_scipy() -> None:
    first, second, classes = members()
    fit = fit_pool(first, second, classes)
    a, b, nll = by_scipy(first, second, classes)
    assert fit.nll <= nll + 1e-12
    assert fit.weights == pytest.approx((a / (a + b), b / (a + b)), abs=1e-5)
    assert fit.temperature == pytest.approx(1 / (a + b), abs=1e-5)
    # The classes were drawn with 1.2 of the first and 0.6 of the second, which is 0.6 / 1.7 of what it emits.
    assert fit.weights[0] == pytest.approx(1.2 / (1.2 + 0.6 / 1.7), abs=0.03)
    assert (fit.sole, fit.at_bound) == (None, False)


def test_no_step_in_any_direction_lowers_the_nll() -> None:
    """Exact to 1e-6: each neighbour at that distance is worse, in both coefficients."""
    first, second, classes = members()
    fit = fit_pool(first, second, classes)
    best = np.array(fit.weights) / fit.temperature
    for angle in np.linspace(0, 2 * math.pi, 16, endpoint=False):
        a, b = best + 1e-6 * np.array([math.cos(angle), math.sin(angle)])
        assert negative_log_likelihood(a * first + b * second, classes) > fit.nll


def test_a_pool_by_hand() -> None:
    """Five rows of two classes (the third is out of reach), margin +1 or -1 for class 0 from each member.

    Both say class 0 on three rows, and it comes in two of them; they differ on two rows, one each way. Swapping the
    members changes nothing, so a = b: the rows of difference cost log 2 each, and on the others the margin a + b has
    sigmoid(a + b) = 2 / 3, so a + b = log 2.
    """
    margins = np.array([[1, 1, 1, 1, -1], [1, 1, 1, -1, 1]], dtype=np.float64)
    first, second = (np.stack([margin, np.zeros(5), np.full(5, -1e3)], axis=1) for margin in margins)
    fit = fit_pool(first, second, np.array([0, 0, 1, 0, 0]))
    assert fit.weights == pytest.approx((0.5, 0.5), abs=1e-9)
    assert fit.temperature == pytest.approx(1 / math.log(2), abs=1e-9)
    assert fit.nll == pytest.approx((-2 * math.log(2 / 3) - math.log(1 / 3) + 2 * math.log(2)) / 5, abs=1e-12)


def test_member_that_adds_nothing_gets_no_weight() -> None:
    first, _, classes = members()
    noise = np.random.default_rng(9).normal(size=first.shape)
    against = noise - 0.3 * first  # says the opposite of what is known: only a negative weight could use it
    for pair, sole in (((first, against), 0), ((against, first), 1)):
        fit = fit_pool(*pair, classes)
        alone = fit_temperature(first, classes)
        assert (fit.sole, fit.weights[sole], fit.weights[1 - sole]) == (sole, 1.0, 0.0)
        assert (fit.temperature, fit.nll) == (alone.temperature, alone.nll)
        a, b, nll = by_scipy(*pair, classes)
        assert (a, b)[1 - sole] == pytest.approx(0.0, abs=1e-6)
        assert fit.nll == pytest.approx(nll, abs=1e-9)


def test_twins_share_nothing_and_a_silent_member_gets_nothing() -> None:
    first, _, classes = members()
    assert fit_pool(first, first, classes).sole == 0
    assert fit_pool(np.zeros_like(first), first, classes).sole == 1


def test_two_silent_members_are_at_the_bound() -> None:
    _, _, classes = members()
    fit = fit_pool(np.zeros((classes.size, 3)), np.zeros((classes.size, 3)), classes)
    assert (fit.at_bound, fit.nll) == (True, pytest.approx(math.log(3)))


@pytest.mark.parametrize("seed", range(6))
def test_pool_is_never_worse_than_a_member_and_its_logits_reproduce_its_nll(seed: int) -> None:
    first, second, classes = members(600, seed=seed)
    fit = fit_pool(first, second, classes)
    assert fit.nll <= min(fit.members_nll) + 1e-12
    assert fit.members_nll == (negative_log_likelihood(first, classes), negative_log_likelihood(second, classes))
    assert negative_log_likelihood(pooled_logits(first, second, fit), classes) == pytest.approx(fit.nll, abs=1e-12)


@pytest.mark.parametrize("broken", ["nan", "rows", "class"])
def test_what_cannot_be_fitted_is_refused(broken: str) -> None:
    first, second, classes = (part.copy() for part in members(50))
    if broken == "nan":
        second[3, 1] = np.nan
    elif broken == "rows":
        second = second[:-1]
    else:
        classes[0] = 3
    with pytest.raises(ValueError, match=r"finite|one class a row|must lie in"):
        fit_pool(first, second, classes)
