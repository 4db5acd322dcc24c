"""An epoch's validation figures by torch beside those by numpy, which are the definition."""

import numpy as np
import pytest
import torch

from models_lib.config import GatesSection
from models_lib.evaluation.gates import epoch_gates
from models_lib.training.validation import validate_arrays, validate_tensors


def drawn(*, scale=3.0, rows=4_000, seed=0, signal=1.0):
    """Raw logits float32, and classes drawn from softmax(signal * logits / 2)."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(rows, 3)) * scale).astype(np.float32)
    noise = rng.gumbel(size=logits.shape)
    return logits, (signal * logits / 2 + noise).argmax(axis=1)


CASES = {
    "usual": drawn(),
    "few rows": drawn(rows=7, scale=1.0),
    "against the classes": drawn(signal=-1.0),
    "separable": (np.eye(3, dtype=np.float32)[np.arange(300) % 3] * 30, np.arange(300) % 3),
    "raw prices": (np.float32([[33_503, 0, -9_475]] * 500), np.arange(500) % 3),
    "no information": (np.full((10, 3), 7.0, dtype=np.float32), np.arange(10) % 3),
    "far from zero": (drawn()[0] + np.float32(40), drawn()[1]),
}


def both(logits, classes, *, fits):
    arrays = validate_arrays(logits, classes, fits=fits)
    return arrays, validate_tensors(torch.from_numpy(logits), torch.from_numpy(classes), fits=fits)


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_figures_by_torch_are_those_by_numpy(name, fits):
    wanted, found = both(*CASES[name], fits=fits)
    assert found.fitted.temperature == pytest.approx(wanted.fitted.temperature, rel=1e-9)
    assert found.fitted.nll == pytest.approx(wanted.fitted.nll, rel=1e-11)
    assert found.fitted.at_bound == wanted.fitted.at_bound
    assert found.accuracy == wanted.accuracy
    assert found.tempered.num_non_finite == wanted.tempered.num_non_finite == 0
    # dividing float32 logits by the temperature rounds, so that a row at a limit may fall to the other side: none does here
    assert found.tempered.largest == pytest.approx(wanted.tempered.largest, rel=1e-6)
    assert found.tempered.over_99 == pytest.approx(wanted.tempered.over_99, rel=1e-12)
    assert found.tempered.over_90 == pytest.approx(wanted.tempered.over_90, rel=1e-12)
    assert found.tempered.class_shares == pytest.approx(wanted.tempered.class_shares, rel=1e-12)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_counted_and_nothing_else_is_said(poison):
    logits, classes = drawn(rows=50)
    logits[7, 1] = logits[9, 0] = poison
    wanted, found = both(logits, classes, fits=True)
    assert found == wanted
    assert (found.fitted, found.tempered.num_non_finite, found.tempered.largest) == (None, 2, None)


def test_gates_say_the_same_of_both():
    for name, (logits, classes) in CASES.items():
        judged = [
            [
                (gate.name, gate.passed, gate.note)
                for gate in epoch_gates(
                    scaler_mean=np.zeros(2),
                    scaler_scale=np.ones(2),
                    logits=said.tempered,
                    num_non_finite_weights=0,
                    gates=GatesSection(),
                )
            ]
            for said in both(logits, classes, fits=True)
        ]
        assert judged[0] == judged[1], name
