"""What a repair fits, on networks whose truth is known: classes are drawn from the network's own answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models_lib.bundle import TorchPredictor
from models_lib.calibration import softmax
from models_lib.config import NetworkSection
from models_lib.errors import BundleError
from models_lib.legacy import LegacyModel
from models_lib.legacy.repair import (
    CLAMP,
    LARGEST_TEMPERATURE,
    SMALLEST_TEMPERATURE,
    Variant,
    fit_variants,
)
from models_lib.networks import build_network, state_tensors
from models_lib.scaling import Scaler, fit_scaler

ROWS = 8_000
NUM_FEATURES = 72


def old_model(*, family: str = "v6", scaler: Scaler | None = None, gain: float = 20.0) -> LegacyModel:
    """A network with random weights whose last layer is stretched, so that its answers say something."""
    generator = torch.Generator().manual_seed(3)
    unit = Scaler(np.zeros(NUM_FEATURES), np.ones(NUM_FEATURES))
    network = build_network(
        NetworkSection(family=family),
        num_features=NUM_FEATURES,
        scaler=None if family == "v6" else unit,
        generator=generator,
    )
    tensors = {
        name: array
        for name, array in state_tensors(network).items()
        if name not in ("scaler_mean", "scaler_scale", "log_temperature")
    }
    tensors["linears.3.weight"] = tensors["linears.3.weight"] * np.float32(gain)
    return LegacyModel(
        path=Path("old.pt"),
        sha256="0" * 64,
        family=family,
        tensors=tensors,
        scaler=scaler,
        scaler_from="" if scaler is None else "scaler_mean and scaler_scale",
        temperature=None,
        feature_names=None,
        input_clip_std=None,
        symbol=None,
        notes=(),
    )


def raw_features(seed: int = 1) -> np.ndarray:
    """Inputs as raw72 has them: prices near 79,568 beside numbers near 0."""
    generator = np.random.default_rng(seed)
    scale = np.geomspace(0.01, 800.0, NUM_FEATURES)
    mean = np.linspace(-1.0, 1.0, NUM_FEATURES)
    mean[60:] = 79_568.0
    return (mean + scale * generator.normal(size=(ROWS, NUM_FEATURES))).astype(np.float32)


def drawn(logits: np.ndarray, temperature: float, seed: int = 2) -> np.ndarray:
    """Classes drawn from softmax(logits / temperature): what a calibrated model with this T would see."""
    p_NC = softmax(logits, temperature)
    places = np.random.default_rng(seed).random((len(logits), 1))
    return (p_NC.cumsum(axis=1) < places).sum(axis=1).clip(max=2).astype(np.int8)


def variant_of(variants: tuple[Variant, ...], scaler: str) -> Variant:
    return next(variant for variant in variants if variant.scaler == scaler)


def test_network_that_lost_its_scaler_gets_it_back_and_the_planted_temperature() -> None:
    features, model = raw_features(), old_model()
    fitted = fit_scaler(features, np.arange(ROWS))
    truth = variant_of(fit_variants(model, features, np.arange(ROWS) % 3, fitted=fitted), "fitted")
    classes = drawn(truth.predictor(1.0).raw_logits(features), 2.0)
    best, other = fit_variants(model, features, classes, fitted=fitted)
    assert (best.scaler, other.scaler) == ("fitted", "identity")
    # The standard error of T from 8,000 draws is about 2 %.
    assert best.fit.temperature == pytest.approx(2.0, rel=0.08)
    assert best.fit.nll < other.fit.nll


def test_network_that_learned_on_raw_inputs_keeps_them() -> None:
    features, model = raw_features(), old_model(gain=0.004)
    fitted = fit_scaler(features, np.arange(ROWS))
    truth = variant_of(fit_variants(model, features, np.arange(ROWS) % 3, fitted=fitted), "identity")
    raw_logits = truth.predictor(1.0).raw_logits(features)
    assert np.ptp(raw_logits - raw_logits.mean(axis=1, keepdims=True)) > 0.5, "the planted network must say something"
    best, *_ = fit_variants(model, features, drawn(raw_logits, 1.5), fitted=fitted)
    assert best.scaler == "identity"
    assert best.predictor(1.0).raw_logits(features[:5]) == pytest.approx(raw_logits[:5])


def test_scaler_of_the_file_is_tried_too_and_wins_where_it_is_right() -> None:
    features = raw_features()
    right = fit_scaler(features, np.arange(ROWS))
    model = old_model(scaler=right)
    other_market = Scaler(right.mean + 3.0 * right.scale, right.scale * 2.0)
    truth = variant_of(fit_variants(model, features, np.arange(ROWS) % 3, fitted=other_market), "own")
    classes = drawn(truth.predictor(1.0).raw_logits(features), 1.5)
    variants = fit_variants(model, features, classes, fitted=other_market)
    assert variants[0].scaler == "own"
    assert {variant.scaler for variant in variants} == {"own", "fitted", "identity"}


@pytest.mark.parametrize("family", ["v6", "v7"])
def test_no_row_whatever_it_holds_gets_a_logit_of_the_gate_or_more(family: str) -> None:
    features, model = raw_features(), old_model(family=family, gain=1_000.0)
    variants = fit_variants(model, features, np.arange(ROWS) % 3, fitted=fit_scaler(features, np.arange(ROWS)))
    absurd = np.concatenate((features[:50], features[:50] * np.float32(1e6), -features[:50] * np.float32(1e9)))
    for variant in variants:
        logits = variant.predictor().logits(absurd)
        assert np.abs(logits).max() < CLAMP
        assert np.abs(variant.predictor().raw_logits(absurd)).max() == CLAMP, "the clamp must have had to act"
        assert np.abs(variant.unclamped().raw_logits(absurd)).max() > CLAMP


def test_temperature_changes_no_predicted_class() -> None:
    features, model = raw_features(), old_model()
    fitted = fit_scaler(features, np.arange(ROWS))
    for variant in fit_variants(model, features, np.arange(ROWS) % 3, fitted=fitted):
        predicted = [
            variant.predictor(temperature).logits(features[:2_000]).argmax(axis=1)
            for temperature in (0.3, 1.001, 10.0, LARGEST_TEMPERATURE)
        ]
        assert all((classes == predicted[0]).all() for classes in predicted)


def test_too_timid_network_is_not_sharpened_past_the_clamp_and_it_is_said_what_the_nll_asks_for() -> None:
    features, model = raw_features(), old_model()
    fitted = fit_scaler(features, np.arange(ROWS))
    truth = variant_of(fit_variants(model, features, np.arange(ROWS) % 3, fitted=fitted), "fitted")
    best, *_ = fit_variants(model, features, drawn(truth.predictor(1.0).raw_logits(features), 0.5), fitted=fitted)
    assert best.fit.temperature == SMALLEST_TEMPERATURE
    assert best.wanted.temperature == pytest.approx(0.5, rel=0.08)
    assert best.fit.nll > best.wanted.nll


def test_network_that_says_nothing_with_large_logits_is_flattened_beyond_any_trained_temperature() -> None:
    features, model = raw_features(), old_model(gain=1_000.0)
    classes = np.random.default_rng(5).integers(0, 3, ROWS).astype(np.int8)
    best, *_ = fit_variants(model, features, classes, fitted=fit_scaler(features, np.arange(ROWS)))
    confidence = softmax(best.predictor().logits(features)).max(axis=1)
    assert best.fit.temperature > 100.0
    assert confidence.mean() < 0.36, "a third for each class, nearly"


def test_clamp_that_cuts_a_whole_row_leaves_ties_and_unclamped_tells_what_it_changed() -> None:
    features, model = raw_features(), old_model(gain=1_000.0)
    fitted = fit_scaler(features, np.arange(ROWS))
    variant = variant_of(fit_variants(model, features, np.arange(ROWS) % 3, fitted=fitted), "identity")
    cut, free = variant.predictor().raw_logits(features), variant.unclamped().raw_logits(features)
    np.testing.assert_allclose(cut, np.clip(free, -CLAMP, CLAMP), rtol=1e-6)
    tied = (cut == cut.max(axis=1, keepdims=True)).sum(axis=1) > 1
    assert tied.all(), "two of the three lie beyond the clamp in every row"


def test_v8_file_is_refused() -> None:
    model = old_model(family="v8")
    with pytest.raises(BundleError, match="a v8 network carries its scaler and temperature"):
        fit_variants(model, raw_features(), np.arange(ROWS) % 3, fitted=Scaler(np.zeros(72), np.ones(72)))


def test_scaler_that_divides_by_zero_is_no_variant_and_nothing_left_is_a_refusal() -> None:
    features, model = raw_features(), old_model(scaler=Scaler(np.zeros(72), np.zeros(72)))
    fitted = fit_scaler(features, np.arange(ROWS))
    tried = {variant.scaler for variant in fit_variants(model, features, np.arange(ROWS) % 3, fitted=fitted)}
    assert tried == {"fitted", "identity"}
    broken = features.copy()
    broken[7, 3] = np.inf
    with pytest.raises(BundleError, match="its logits are not finite on the 8,000 validation rows"):
        fit_variants(model, broken, np.arange(ROWS) % 3, fitted=fitted)


def test_mended_network_is_the_old_one_behind_its_scaler() -> None:
    features, model = raw_features(), old_model()
    fitted = fit_scaler(features, np.arange(ROWS))
    variant = variant_of(fit_variants(model, features, np.arange(ROWS) % 3, fitted=fitted), "fitted")
    hidden = (features[:100].astype(np.float64) - variant.tensors["scaler_mean"]) / variant.tensors["scaler_scale"]
    for layer in range(4):
        hidden = hidden @ model.tensors[f"linears.{layer}.weight"].T + model.tensors[f"linears.{layer}.bias"]
        hidden = np.maximum(hidden, 0.0) if layer < 3 else hidden
    assert np.abs(hidden).max() < CLAMP
    hidden = hidden - hidden.mean(axis=1, keepdims=True)
    assert isinstance(variant.predictor(), TorchPredictor)
    np.testing.assert_allclose(variant.predictor().raw_logits(features[:100]), hidden, atol=1e-5)


def test_what_a_network_adds_to_all_three_logits_is_not_cut_with_what_it_says() -> None:
    """On real raw prices a V6 of 61.8 % adds 24 to every class; cut with it, its answers were ties and 37.2 %."""
    features, model = raw_features(), old_model()
    fitted = fit_scaler(features, np.arange(ROWS))
    shifted = replace(
        model, tensors={**model.tensors, "linears.3.bias": model.tensors["linears.3.bias"] + np.float32(40.0)}
    )
    plain, moved = (
        variant_of(fit_variants(each, features, np.arange(ROWS) % 3, fitted=fitted), "fitted").predictor(1.0)
        for each in (model, shifted)
    )
    np.testing.assert_allclose(moved.raw_logits(features), plain.raw_logits(features), atol=1e-4)
    assert (np.abs(moved.raw_logits(features)) < CLAMP).all()
