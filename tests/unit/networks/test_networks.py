"""The three generations: shapes, scaler inside, rows that do not depend on their batch, tensors in and out."""

import numpy as np
import pytest
import torch

from models_lib.config import NetworkSection
from models_lib.errors import BundleError
from models_lib.networks import AdaptiveNorm, BatchNorm, build_network, network_from_tensors, state_tensors
from models_lib.networks.dropout import MaskPool
from models_lib.scaling import Scaler

F = 72
FAMILIES = ("v6", "v7", "v8")


def network_of(family, *, seed=1, mean=5.0, scale=2.0, **settings):
    scaler = None if family == "v6" else Scaler(np.full(F, mean), np.full(F, scale))
    generator = torch.Generator().manual_seed(seed)
    return build_network(NetworkSection(family=family, **settings), num_features=F, scaler=scaler, generator=generator)


def rows(count, *, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(5.0, 2.0, (count, F)).astype(np.float32))


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_72_256_128_64_3(family):
    shapes = [tuple(linear.weight.shape) for linear in network_of(family).linears]
    assert shapes == [(256, 72), (128, 256), (64, 128), (3, 64)]


@pytest.mark.parametrize("family", FAMILIES)
def test_last_step_of_a_sequence_is_what_is_classified(family):
    network = network_of(family).eval()
    x_BTF = torch.stack([rows(4, seed=1), rows(4, seed=2)], dim=1)
    assert torch.equal(network(x_BTF), network(x_BTF[:, 1]))
    assert network(x_BTF).shape == (4, 3)


@pytest.mark.parametrize("shape", [(72,), (4, 71), (4, 2, 71), (4, 0, 72), (2, 2, 2, 72)])
def test_any_other_shape_is_refused_with_both_shapes(shape):
    with pytest.raises(ValueError, match=r"must be \[B, 72\] or \[B, T, 72\].*was \[") as raised:
        network_of("v8")(torch.zeros(shape))
    assert str(list(shape)) in str(raised.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_of_a_row_does_not_depend_on_its_batch(family):
    network = network_of(family)
    network.logits_of_inputs(network.inputs(rows(64)))  # moves the running statistics
    network.eval()
    first, other = rows(1, seed=3), rows(31, seed=4)
    with torch.no_grad():
        alone = network(first)
        beside = network(torch.cat([first, other]))[:1]
        beside_extremes = network(torch.cat([first, other * 1_000]))[:1]
    assert torch.equal(beside, beside_extremes)
    torch.testing.assert_close(alone, beside, rtol=0, atol=1e-5)  # another matrix shape may round otherwise


@pytest.mark.parametrize("family", ["v7", "v8"])
def test_scaler_is_part_of_the_network(family):
    network = network_of(family, mean=100.0, scale=4.0, input_clip_std=5.0)
    x_BF = torch.full((1, F), 106.0)
    assert torch.equal(network.inputs(x_BF), torch.full((1, F), 1.5))  # (106 - 100) / 4
    assert torch.equal(network.inputs(x_BF * 100), torch.full((1, F), 5.0))
    assert torch.equal(x_BF, torch.full((1, F), 106.0)), "the caller's rows are left alone"


def test_v6_takes_its_rows_as_they_come():
    x_BF = rows(2)
    assert network_of("v6").inputs(x_BF) is x_BF


@pytest.mark.parametrize("family", ["v7", "v8"])
def test_learned_temperature_starts_where_it_is_told_and_divides(family):
    network = network_of(family, initial_temperature=2.5).eval()
    x_BF = rows(3)
    torch.testing.assert_close(network(x_BF) * 2.5, network.raw_logits(x_BF))


def test_v7_norm_is_torchs_batch_norm():
    ours, theirs = BatchNorm(8), torch.nn.BatchNorm1d(8)
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(2)) * 3 + 1
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_adaptive_norm_mixes_batch_and_layer_by_hand():
    norm = AdaptiveNorm(2, mix_start=0.75)
    x = torch.tensor([[1.0, 3.0], [5.0, 3.0]])
    # over the batch: unit 0 is (-1, 1), unit 1 has no spread; over the row: row 0 is (-1, 1), row 1 is (1, -1)
    expected = torch.tensor([[0.75 * -1 + 0.25 * -1, 0.25], [0.75 + 0.25, 0.25 * -1]])
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=1e-4)
    assert torch.sigmoid(norm.mix_logit).item() == pytest.approx(0.75)


def test_adaptive_norm_learns_its_mix():
    norm = AdaptiveNorm(4, mix_start=0.5)
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(3))
    weights = torch.randn(16, 4, generator=torch.Generator().manual_seed(4))
    (norm(x) * weights).sum().backward()
    assert norm.mix_logit.grad.abs().item() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_round_trip_gives_the_same_logits(family):
    network = network_of(family, seed=9)
    network.logits_of_inputs(network.inputs(rows(64)))
    tensors = state_tensors(network)
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float32)}
    back = network_from_tensors(NetworkSection(family=family), tensors)
    assert not back.training
    assert torch.equal(back(rows(8)), network.eval()(rows(8)))


def test_fitted_temperature_may_stand_in_place_of_the_learned_one():
    tensors = state_tensors(network_of("v8"))
    del tensors["log_temperature"]
    network = network_from_tensors(NetworkSection(), tensors | {"temperature": np.array([1.25], np.float32)})
    torch.testing.assert_close(network(rows(4)) * 1.25, network.raw_logits(rows(4)))


@pytest.mark.parametrize("family", ["v7", "v8"])
def test_network_without_scaler_cannot_be_loaded(family):
    tensors = state_tensors(network_of(family))
    del tensors["scaler_scale"]
    with pytest.raises(BundleError, match="no scaler"):
        network_from_tensors(NetworkSection(family=family), tensors)


@pytest.mark.parametrize("family", ["v7", "v8"])
def test_network_without_scaler_cannot_be_built(family):
    with pytest.raises(ValueError, match="must be given its scaler"):
        build_network(NetworkSection(family=family), num_features=F, scaler=None, generator=torch.Generator())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("linears.1.bias"), "missing"),
        (lambda t: t.update(extra=np.zeros(1, np.float32)), "unknown"),
        (lambda t: t.update({"linears.1.bias": np.zeros(3, np.float32)}), "must be float32"),
        (lambda t: t.update({"linears.1.bias": t["linears.1.bias"].astype(np.float64)}), "float64"),
        (lambda t: t.pop("linears.0.weight"), "no first layer"),
    ],
)
def test_damaged_tensors_are_refused(damage, message):
    tensors = state_tensors(network_of("v8"))
    damage(tensors)
    with pytest.raises(BundleError, match=message):
        network_from_tensors(NetworkSection(), tensors)


def test_first_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    first = state_tensors(network_of("v8", seed=4))
    torch.manual_seed(2)
    second = state_tensors(network_of("v8", seed=4))
    other = state_tensors(network_of("v8", seed=5))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["linears.0.weight"], other["linears.0.weight"])
    torch.manual_seed(1)
    network_of("v8")
    assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(1).get_state()), "global state is untouched"


def test_mask_pool_keeps_the_mean_and_the_share():
    pool = MaskPool(0.3, generator=torch.Generator().manual_seed(1), device=torch.device("cpu"))
    pool.refill()
    mask = pool.mask(2_000, 256)
    # 512,000 independent draws: the standard error of the share is 0.0006
    assert (mask == 0).float().mean().item() == pytest.approx(0.3, abs=0.004)
    assert mask.max().item() == pytest.approx(1 / 0.7)
    assert not torch.equal(pool.mask(2_000, 256), mask)


def test_mask_larger_than_half_the_pool_is_drawn_afresh():
    pool = MaskPool(0.5, generator=torch.Generator().manual_seed(1), device=torch.device("cpu"))
    assert pool.mask(16, 8).shape == (16, 8)  # the pool is empty before the first refill


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_cuda_gives_the_logits_of_the_cpu(family):
    network = network_of(family).eval()
    on_cpu = network(rows(32))
    on_cuda = network.to("cuda")(rows(32).to("cuda")).cpu()
    torch.testing.assert_close(on_cuda, on_cpu, rtol=1e-3, atol=1e-3)
