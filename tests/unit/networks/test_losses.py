"""The losses by hand and against autograd's own arithmetic."""

import math

import numpy as np
import pytest
import torch

from models_lib.config import TrainingSection
from models_lib.errors import DataError
from models_lib.networks import class_weights, loss_function

CPU = torch.device("cpu")
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.1, 0.3]])
CLASSES = torch.tensor([0, 2])


def loss_of(classes=(0, 1, 2), **settings):
    return loss_function(TrainingSection(**settings), classes=np.array(classes, np.int8), device=CPU)


def row_cross_entropy(logits, target):
    total = math.log(sum(math.exp(z) for z in logits))
    return -sum(t * (z - total) for t, z in zip(target, logits, strict=True))


def test_cross_entropy_is_torchs():
    for smoothing in (0.0, 0.1):
        ours = loss_of(loss="cross_entropy", label_smoothing=smoothing)(LOGITS, CLASSES)
        theirs = torch.nn.functional.cross_entropy(LOGITS, CLASSES, label_smoothing=smoothing)
        torch.testing.assert_close(ours, theirs)


def test_focal_loss_by_hand():
    expected = 0.0
    for logits, target in zip(
        LOGITS.tolist(), [[0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3], [0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3]], strict=True
    ):
        ce = row_cross_entropy(logits, target)
        expected += 0.25 * (1 - math.exp(-ce)) ** 2 * ce / 2
    ours = loss_of(loss="focal", focal_alpha=0.25, focal_gamma=2.0, label_smoothing=0.1)(LOGITS, CLASSES)
    assert ours.item() == pytest.approx(expected, rel=1e-6)


def test_focal_loss_without_focus_is_cross_entropy():
    focal = loss_of(loss="focal", focal_alpha=1.0, focal_gamma=0.0)(LOGITS, CLASSES)
    torch.testing.assert_close(focal, torch.nn.functional.cross_entropy(LOGITS, CLASSES))


def test_gradient_of_cross_entropy_is_probability_minus_target():
    logits = LOGITS.clone().requires_grad_()
    loss_of(loss="cross_entropy", label_smoothing=0.3)(logits, CLASSES).backward()
    target = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    torch.testing.assert_close(logits.grad, (torch.softmax(LOGITS, 1) - target) / 2)


def test_gradient_of_focal_loss_agrees_with_differences():
    loss = loss_of(loss="focal", label_smoothing=0.05)
    logits = LOGITS.double().requires_grad_()
    loss(logits, CLASSES).backward()
    step = 1e-6
    for row in range(2):
        for column in range(3):
            up, down = LOGITS.double(), LOGITS.double()
            up[row, column] += step
            down[row, column] -= step
            slope = (loss(up, CLASSES) - loss(down, CLASSES)).item() / (2 * step)
            assert logits.grad[row, column].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_focal_gradient_of_a_certain_row_is_finite():
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    loss_of(loss="focal")(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_balanced_weights_are_inverse_shares_with_mean_one():
    classes = np.array([0, 1, 1, 1, 1, 2, 2, 2], np.int8)
    weights = class_weights(classes)
    np.testing.assert_allclose(weights, [8 / 3, 8 / 12, 8 / 9])
    assert weights[classes].mean() == pytest.approx(1.0)


def test_balanced_loss_weighs_each_row_by_its_class():
    classes = (0, 1, 1, 1, 1, 2, 2, 2)
    plain = [row_cross_entropy(LOGITS[0].tolist(), [1, 0, 0]), row_cross_entropy(LOGITS[1].tolist(), [0, 0, 1])]
    expected = (8 / 3 * plain[0] + 8 / 9 * plain[1]) / 2
    ours = loss_of(classes, loss="cross_entropy", class_weights="balanced")(LOGITS, CLASSES)
    assert ours.item() == pytest.approx(expected, rel=1e-6)


def test_balanced_weights_need_every_class():
    with pytest.raises(DataError, match=r"occur \[2, 0, 1\] times"):
        class_weights(np.array([0, 0, 2], np.int8))
