"""The fused training step of a hidden layer against torch's own kernels, which define it."""

import pytest
import torch
from torch.nn import functional

from models_lib.networks import AdaptiveNorm, BatchNorm
from models_lib.networks.fused import norm_relu_dropout

NORMS = {"batch": BatchNorm, "adaptive": lambda width: AdaptiveNorm(width, mix_start=0.6)}


def case(kind, rows, width, *, offset=1.0):
    """A norm with uneven weights, rows, a mask and the gradient from above; all by one seed."""
    generator = torch.Generator().manual_seed(rows + width)
    norm = NORMS[kind](width)
    with torch.no_grad():
        norm.weight.uniform_(-1.5, 1.5, generator=generator)
        norm.bias.uniform_(-0.5, 0.5, generator=generator)
    x = torch.randn(rows, width, generator=generator) * 2 + offset
    mask = (torch.rand(rows, width, generator=generator) > 0.3) / 0.7
    upstream = torch.randn(rows, width, generator=generator)
    return norm, x.requires_grad_(), mask, upstream


def gradients(h, x, norm, upstream):
    names, tensors = zip(*norm.named_parameters(), strict=True)
    return dict(zip(("x", *names), torch.autograd.grad(h, (x, *tensors), upstream), strict=True))


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize(("rows", "width"), [(2, 3), (33, 64), (256, 17), (1_024, 256)])
def test_fused_step_is_torchs_forward_backward_and_statistics(kind, rows, width):
    norm, x, mask, upstream = case(kind, rows, width)
    before_relu = norm(x)
    # within rounding of 0 the two may disagree on the sign: such an entry takes no part in either
    mask = mask * (before_relu.abs() > 1e-4)
    expected = gradients(functional.relu(before_relu) * mask, x, norm, upstream)
    running = norm.running_mean.clone(), norm.running_var.clone()
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)
    h = norm_relu_dropout(norm, x, mask)
    torch.testing.assert_close(h, functional.relu(before_relu) * mask, rtol=1e-4, atol=1e-5)
    for name, gradient in gradients(h, x, norm, upstream).items():
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=2e-5 * max(scale, 1.0), msg=name)
    torch.testing.assert_close((norm.running_mean, norm.running_var), running, rtol=1e-5, atol=1e-6)


def test_variance_of_rows_far_from_zero_keeps_its_digits():
    norm, x, mask, _ = case("adaptive", 512, 32, offset=1_000.0)
    in_double = AdaptiveNorm(32, mix_start=0.6).double()
    in_double.load_state_dict(norm.state_dict())
    exact = functional.relu(in_double(x.double())) * mask
    # a float32 at 1,000 is 6e-5 apart; a one-pass variance would be off by whole units
    torch.testing.assert_close(norm_relu_dropout(norm, x, mask).double(), exact, rtol=0, atol=5e-3)


@pytest.mark.parametrize("kind", NORMS)
def test_without_dropout_every_unit_stays(kind):
    norm, x, _, _ = case(kind, 64, 16)
    torch.testing.assert_close(norm_relu_dropout(norm, x, None), functional.relu(norm(x)), rtol=1e-4, atol=1e-5)


def test_evaluation_uses_running_statistics_and_moves_none():
    norm, x, _, _ = case("adaptive", 64, 16)
    norm.eval()
    assert torch.equal(norm_relu_dropout(norm, x, None), functional.relu(norm(x)))
    assert norm.running_mean.abs().sum() == 0
