"""Repaired networks and ensembles: what they answer, and that both engines answer the same in double precision."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models_lib.architecture import Architecture, EnsembleArchitecture, Member, RepairedArchitecture, tensors_of_members
from models_lib.bundle import OnnxPredictor, TorchPredictor, with_temperature
from models_lib.config import NetworkSection
from models_lib.errors import BundleError
from models_lib.networks import build_network, network_from_tensors, state_tensors
from models_lib.networks.onnx_graph import onnx_model
from models_lib.scaling import Scaler

F, SMALL = 72, 5
RAW_CLOSE = 79_568.0
RAW_WEIGHT = 0.16
"""The largest weight that V6 files have; with raw prices behind it, layer 1 answers with 12,730."""
Tensors = dict[str, np.ndarray]


def old_tensors(
    family: str = "v6", *, num_features: int = F, identity: bool = True, temperature: float = 10.0, seed: int = 3
) -> Tensors:
    """An old network whose first layer uses the full range of V6's weights, with the scaler of its repair."""
    random = np.random.default_rng(seed)
    scaler = Scaler(mean=random.normal(size=num_features), scale=random.uniform(0.2, 3.0, num_features))
    network = build_network(
        NetworkSection(family=family),
        num_features=num_features,
        scaler=None if family == "v6" else scaler,
        generator=torch.Generator().manual_seed(seed),
    )
    tensors = with_temperature(state_tensors(network), temperature)
    shape = tensors["linears.0.weight"].shape
    tensors["linears.0.weight"] = random.uniform(-RAW_WEIGHT, RAW_WEIGHT, shape).astype(np.float32)
    for name in [name for name in tensors if name.startswith("norms.")]:
        tensors[name] = tensors[name] + random.uniform(0.05, 0.5, tensors[name].shape).astype(np.float32)
    mean = np.zeros(num_features) if identity else scaler.mean
    scale = np.ones(num_features) if identity else scaler.scale
    return tensors | {"scaler_mean": mean.astype(np.float32), "scaler_scale": scale.astype(np.float32)}


def raw_rows(rows: int = 500, *, num_features: int = F, seed: int = 1) -> np.ndarray:
    """Rows as V6 saw them: prices of 79,568, volumes of thousands, and indicators of order 1."""
    random = np.random.default_rng(seed)
    size = np.where(np.arange(num_features) % 3 == 0, RAW_CLOSE, np.where(np.arange(num_features) % 3 == 1, 3e3, 1.0))
    return (size * random.normal(1.0, 0.02, (rows, num_features))).astype(np.float32)


def engines(architecture: Architecture, tensors: Tensors) -> tuple[TorchPredictor, OnnxPredictor]:
    return TorchPredictor(architecture, tensors), OnnxPredictor(onnx_model(architecture, tensors), tensors)


def by_hand(tensors: Tensors, rows: np.ndarray, *, clip_std: float | None = None) -> np.ndarray:
    """Unclamped logits in float64, from the formula."""
    h = (rows.astype(np.float64) - tensors["scaler_mean"]) / tensors["scaler_scale"].astype(np.float64)
    h = h if clip_std is None else np.clip(h, -clip_std, clip_std)
    for layer in range(4):
        h = h @ tensors[f"linears.{layer}.weight"].T.astype(np.float64) + tensors[f"linears.{layer}.bias"]
        if layer == 3:
            return h
        if f"norms.{layer}.weight" in tensors:
            weight, bias, mean, variance = (
                tensors[f"norms.{layer}.{part}"].astype(np.float64)
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            h = (h - mean) / np.sqrt(variance + 1e-5) * weight + bias
        h = np.maximum(h, 0.0)
    raise AssertionError


def ensemble_of_two(
    weights: tuple[float, float] = (0.3, 0.7), temperature: float = 1.3
) -> tuple[Architecture, Tensors]:
    """A repaired V6 of raw inputs beside a v8 of 5 columns."""
    first = old_tensors(temperature=2.0)
    random = np.random.default_rng(11)
    network = build_network(
        NetworkSection(),
        num_features=SMALL,
        scaler=Scaler(mean=random.normal(size=SMALL), scale=random.uniform(0.5, 2.0, SMALL)),
        generator=torch.Generator().manual_seed(11),
    )
    second = with_temperature(state_tensors(network), 0.8)
    members = (Member(RepairedArchitecture.of("v6"), F, weights[0]), Member(NetworkSection(), SMALL, weights[1]))
    return EnsembleArchitecture(members), tensors_of_members((first, second), temperature)


def ensemble_rows(rows: int = 500) -> np.ndarray:
    small = np.random.default_rng(4).normal(size=(rows, SMALL)).astype(np.float32)
    return np.concatenate([raw_rows(rows), small], axis=1)


@pytest.mark.parametrize(("family", "clip_std"), [("v6", None), ("v7", None), ("v7", 5.0)])
def test_repaired_network_is_the_formula_in_double_precision(family: str, clip_std: float | None) -> None:
    tensors, rows = old_tensors(family, identity=clip_std is None), raw_rows()
    unclamped = by_hand(tensors, rows, clip_std=clip_std)
    clamp = float(np.quantile(np.abs(unclamped), 0.5))
    answers = TorchPredictor(RepairedArchitecture.of(family, clamp=clamp, input_clip_std=clip_std), tensors)
    np.testing.assert_allclose(answers.raw_logits(rows), np.clip(unclamped, -clamp, clamp), rtol=1e-6)
    np.testing.assert_allclose(answers.logits(rows), np.clip(unclamped, -clamp, clamp) / 10.0, rtol=1e-6)


@pytest.mark.parametrize(("family", "clamp"), [("v6", 15.0), ("v6", 1e6), ("v7", 15.0), ("v7", 1e6)])
def test_both_engines_agree_on_raw_prices(family: str, clamp: float) -> None:
    tensors, rows = old_tensors(family, temperature=1.0), raw_rows()
    by_torch, by_onnx = engines(RepairedArchitecture.of(family, clamp=clamp), tensors)
    largest = np.abs(by_torch.raw_logits(rows)).max()
    assert largest == 15.0 if clamp == 15.0 else largest > 1_000.0, "the rows reach what they shall reach"
    np.testing.assert_allclose(by_onnx.probabilities(rows), by_torch.probabilities(rows), atol=1e-5, rtol=0)
    np.testing.assert_allclose(by_onnx.logits(rows), by_torch.logits(rows), rtol=3e-7)


def test_float32_inside_would_not_have_been_enough() -> None:
    tensors, rows = old_tensors(temperature=1.0), raw_rows()
    single = torch.nn.Sequential()
    for layer in range(4):
        linear = torch.nn.Linear(*tensors[f"linears.{layer}.weight"].shape[::-1])
        linear.load_state_dict(
            {part: torch.from_numpy(tensors[f"linears.{layer}.{part}"]) for part in ("weight", "bias")}
        )
        single.extend([linear] if layer == 3 else [linear, torch.nn.ReLU()])
    with torch.inference_mode():
        logits = single(torch.from_numpy(rows)).numpy()
    assert np.abs(logits - by_hand(tensors, rows)).max() > 1e-4


@pytest.mark.parametrize("clamp", [15.0, 0.1])
def test_clamp_bounds_every_raw_logit_and_the_temperature_changes_no_class(clamp: float) -> None:
    rows, architecture = raw_rows(), RepairedArchitecture.of("v6", clamp=clamp)
    classes = []
    for temperature in (0.3, 1.0, 10.0):
        for answers in engines(architecture, old_tensors(temperature=temperature)):
            assert np.abs(answers.raw_logits(rows)).max() <= np.float32(clamp)
            assert np.abs(answers.logits(rows)).max() <= np.float32(clamp / temperature) * (1 + 1e-6)
            classes.append(answers.probabilities(rows).argmax(axis=1))
    assert all(np.array_equal(classes[0], others) for others in classes)


def test_identity_scaler_leaves_the_old_networks_answers() -> None:
    tensors = old_tensors(temperature=1.0)
    rows = raw_rows() / np.float32(RAW_CLOSE)
    old = network_from_tensors(
        NetworkSection(family="v6"), {name: tensors[name] for name in tensors if name.startswith("linears.")}
    )
    repaired = network_from_tensors(RepairedArchitecture.of("v6", clamp=1e9), tensors)
    with torch.inference_mode():
        torch.testing.assert_close(repaired(torch.from_numpy(rows)), old(torch.from_numpy(rows)), atol=1e-6, rtol=1e-5)


def test_repaired_row_has_the_same_answer_alone_and_among_others() -> None:
    rows = raw_rows(20)
    for answers in engines(RepairedArchitecture.of("v6"), old_tensors()):
        alone = np.concatenate([answers.logits(rows[k : k + 1]) for k in range(len(rows))])
        np.testing.assert_allclose(alone, answers.logits(rows), atol=1e-6, rtol=0)


def test_ensemble_is_the_weighted_sum_of_its_members_emitted_logits() -> None:
    architecture, tensors = ensemble_of_two()
    rows = ensemble_rows()
    first = TorchPredictor(RepairedArchitecture.of("v6"), old_tensors(temperature=2.0)).logits(rows[:, :F])
    own = {name.removeprefix("members.1."): array for name, array in tensors.items() if name.startswith("members.1.")}
    own |= {name: tensors[name][F:] for name in ("scaler_mean", "scaler_scale")}
    second = TorchPredictor(NetworkSection(), own).logits(rows[:, F:])
    for answers in engines(architecture, tensors):
        np.testing.assert_allclose(answers.raw_logits(rows), 0.3 * first + 0.7 * second, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(answers.logits(rows), (0.3 * first + 0.7 * second) / 1.3, atol=1e-5, rtol=1e-5)


def test_engines_of_an_ensemble_agree() -> None:
    by_torch, by_onnx = engines(*ensemble_of_two())
    rows = ensemble_rows()
    assert by_torch.temperature == by_onnx.temperature == pytest.approx(1.3)
    np.testing.assert_allclose(by_onnx.probabilities(rows), by_torch.probabilities(rows), atol=1e-5, rtol=0)


@pytest.mark.parametrize("place", [0, 1])
def test_ensemble_of_one_weight_answers_as_that_member(place: int) -> None:
    weights = (1.0, 0.0) if place == 0 else (0.0, 1.0)
    architecture, tensors = ensemble_of_two(weights, temperature=1.0)
    rows = ensemble_rows()
    own = {n.removeprefix(f"members.{place}."): a for n, a in tensors.items() if n.startswith(f"members.{place}.")}
    columns = (slice(None, F), slice(F, None))[place]
    own |= {name: tensors[name][columns] for name in ("scaler_mean", "scaler_scale")}
    alone = TorchPredictor((RepairedArchitecture.of("v6"), NetworkSection())[place], own)
    for answers in engines(architecture, tensors):
        np.testing.assert_allclose(answers.logits(rows), alone.logits(rows[:, columns]), atol=1e-6, rtol=1e-6)


def test_networks_shape_errors_and_last_step() -> None:
    for architecture, tensors, width in (
        (RepairedArchitecture.of("v6"), old_tensors(), F),
        (*ensemble_of_two(), F + SMALL),
    ):
        network = network_from_tensors(architecture, tensors)
        rows = torch.rand((4, width), generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(network(torch.stack([rows * 2, rows], dim=1)), network(rows))
        assert network(rows).dtype == torch.float32
        with pytest.raises(ValueError, match="input must"):
            network(torch.rand((4, width + 1)))


def test_same_tensors_give_the_same_bytes_in_any_order() -> None:
    for architecture, tensors in ((RepairedArchitecture.of("v6"), old_tensors()), ensemble_of_two()):
        assert onnx_model(architecture, tensors) == onnx_model(architecture, dict(reversed(tensors.items())))


def test_member_that_cannot_be_served_makes_no_graph() -> None:
    _, tensors = ensemble_of_two()
    members = (Member(NetworkSection(family="v6"), F, 0.5), Member(NetworkSection(), SMALL, 0.5))
    with pytest.raises(BundleError, match="v6 network has no scaler"):
        onnx_model(EnsembleArchitecture(members), tensors)


DAMAGES: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "weight missing": (
        lambda tensors: tensors.pop("members.0.linears.1.bias"),
        r"members\.0\.\*: the v6-repaired model",
    ),
    "weight extra": (lambda tensors: tensors.update({"members.1.x": np.ones(1, np.float32)}), r"unknown \['x'\]"),
    "tensor of no member": (
        lambda tensors: tensors.update({"members.2.x": np.ones(1)}),
        r"unknown \['members\.2\.x'\]",
    ),
    "tensor on top": (
        lambda tensors: tensors.update({"linears.0.weight": np.ones(1)}),
        r"unknown \['linears\.0\.weight",
    ),
    "learned temperature of a member": (
        lambda tensors: tensors.update({"members.0.log_temperature": np.ones(1, np.float32)}),
        r"members\.0\.\*: .*unknown \['log_temperature'\]",
    ),
    "member's temperature": (lambda tensors: tensors.pop("members.1.temperature"), r"members\.1\.\*: "),
    "temperature": (lambda tensors: tensors.pop("temperature"), "no fitted temperature"),
    "scaler short": (
        lambda tensors: tensors.update(scaler_mean=tensors["scaler_mean"][:-1]),
        "needs scaler_mean of all its members' 77 columns",
    ),
    "member's width": (
        lambda tensors: tensors.update({"members.0.linears.0.weight": np.ones((256, 71), np.float32)}),
        r"scaler_mean must be float32 \[71\]",
    ),
    "float64": (
        lambda tensors: tensors.update({"members.0.linears.1.bias": np.ones(128)}),
        r"members\.0\.\*: tensor linears\.1\.bias must be float32",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_ensemble_is_refused(name: str) -> None:
    damage, message = DAMAGES[name]
    architecture, tensors = ensemble_of_two()
    damage(tensors)
    with pytest.raises(BundleError, match=message):
        TorchPredictor(architecture, tensors) if name != "temperature" else network_from_tensors(architecture, tensors)


def test_repaired_network_without_scaler_or_temperature_is_refused() -> None:
    for missing, message in (("scaler_mean", "has no scaler"), ("temperature", r"missing \['temperature'\]")):
        tensors = old_tensors()
        del tensors[missing]
        with pytest.raises(BundleError, match=message):
            network_from_tensors(RepairedArchitecture.of("v6"), tensors)
