"""What went out broken once: a model without its scaler, and raw prices in a V6. And what knows nothing stays at chance."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models_lib.backends import LocalBackend
from models_lib.bundle import TorchPredictor, with_temperature
from models_lib.calibration import softmax
from models_lib.candles.simulated import simulate_candles
from models_lib.config import GatesSection, LabelSection, NetworkSection, TrainingSection
from models_lib.errors import BundleError
from models_lib.evaluation.gates import GateResult, class_balance, logit_range, overconfidence, scaler_present
from models_lib.labels import fit_threshold, label_classes, label_values
from models_lib.steps.candidate import build_candidate
from models_lib.steps.features import map_features
from models_lib.steps.labels import read_labels
from models_lib.steps.refs import FileRef
from models_lib.steps.temperature import tune_temperature
from models_lib.steps.train import train_model
from models_lib.training import TrainingData
from models_lib.training.checkpoint import read_weights
from tests.unit.steps.conftest import Judged, PreparedSymbol

V6_RECIPE = TrainingSection(
    loss="cross_entropy",
    optimizer="adam",
    learning_rate=1e-3,
    schedule="constant",
    batch_size=32,
    max_epochs=2,
    patience=15,
    weight_average_decay=0.0,
    gradient_clip_norm=None,
    device="cpu",
)
"""The table's V6, cut to two epochs."""


def test_model_without_scaler_becomes_no_bundle_and_the_reason_says_so(btc: PreparedSymbol, tmp_path: Path) -> None:
    """V6 through the pipeline."""
    config = btc.config.model_copy(update={"network": NetworkSection(family="v6")})
    trained = train_model(config, btc.prepared, tmp_path / "training", backend=LocalBackend())
    with pytest.raises(BundleError, match=r"BTC-USD: the trained v6 model has no scaler, so it cannot become a bundle"):
        tune_temperature(config, btc.prepared, trained, tmp_path)


def test_model_whose_scaler_was_forgotten_becomes_no_bundle(
    btc: PreparedSymbol, judged: Judged, tmp_path: Path
) -> None:
    """The fault of V7: normalisation and a temperature, but the scaler was not saved."""
    trained = judged.fitted.trained
    bare = tmp_path / "bare.safetensors"
    tensors = load_file(trained.weights.path)
    save_file({name: tensor for name, tensor in tensors.items() if not name.startswith("scaler_")}, bare)
    forgetful = trained.model_copy(update={"weights": FileRef.of(bare)})
    with pytest.raises(BundleError, match="has no scaler"):
        tune_temperature(btc.config, btc.prepared, forgetful, tmp_path)
    fitted = judged.fitted.model_copy(update={"trained": forgetful})
    with pytest.raises(BundleError, match="has no scaler"):
        build_candidate(btc.config, btc.prepared, fitted, tmp_path)
    assert not (tmp_path / "candidate").exists()


def legacy_features(candles: pd.DataFrame) -> NDArray[np.float32]:
    """72 unscaled columns as the old bot had them: prices, volume, and simple averages of the close; float32 [N, 72]."""
    columns = [candles[name] for name in ("open", "high", "low", "close", "volume")]
    columns += [candles["close"].rolling(window).mean() for window in range(7, 7 + 67)]
    return pd.concat(columns, axis=1).to_numpy(np.float32)


def test_raw_prices_in_a_v6_fail_the_gates_that_name_the_fault() -> None:
    """Logits far out, next to every prediction above 0.99, one class: as V6 had it on BTC-USD."""
    from models_lib.training.trainer import train_network

    candles = simulate_candles("BTC-USD", market="default", seed=7, days=7)
    features, values = legacy_features(candles), label_values(candles, LabelSection())
    train, test = np.arange(100, 6_000), np.arange(8_000, 10_000)
    classes = label_classes(values, LabelSection(), fit_threshold(values, LabelSection(), train))
    network = NetworkSection(family="v6")
    outcome = train_network(
        TrainingData(features, classes, train, np.arange(6_100, 7_900), None),
        network=network,
        training=V6_RECIPE,
        gates=GatesSection(),
        seed=1,
        listener=lambda _: None,
    )
    logits = _logits_of_v6(outcome.tensors, features[test])
    confidence, shares = softmax(logits).max(axis=1), np.bincount(logits.argmax(axis=1), minlength=3) / test.size
    gates = GatesSection()
    results = (
        scaler_present(outcome.tensors.get("scaler_mean"), outcome.tensors.get("scaler_scale"), gates.scaler_present),
        logit_range(float(np.abs(logits).max()), gates.logit_range),
        overconfidence(float((confidence > 0.99).mean()), gates.overconfidence),
        class_balance((float(shares[0]), float(shares[1]), float(shares[2])), gates.class_balance),
    )
    told = f"BTC-USD at {candles['close'].iloc[-1]:,.0f}: " + "; ".join(map(_sentence, results))
    assert not any(result.passed for result in results), told
    assert all(result.blocks for result in results), told
    assert np.abs(logits).max() > 30, told
    print(told)


def _logits_of_v6(tensors: dict[str, NDArray[np.float32]], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Raw logits as V6 emitted them: no scaler, no temperature."""
    import torch

    from models_lib.networks import build_network

    network = build_network(
        NetworkSection(family="v6"), num_features=72, scaler=None, generator=torch.Generator().manual_seed(0)
    )
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, strict=True)
    with torch.no_grad():
        logits: NDArray[np.float64] = network.eval().raw_logits(torch.from_numpy(rows)).double().numpy()
    return logits


def _sentence(result: GateResult) -> str:
    return f"{result.name} {result.value} against {result.limit}: {'passed' if result.passed else 'failed'}"


def test_shuffled_labels_fall_to_chance(btc: PreparedSymbol, tmp_path: Path) -> None:
    """Features and labels that are no pair: on the test rows the accuracy is what independence gives, within 4 deviations."""
    rows = read_labels(btc.prepared.labels)
    classes = rows.classes.copy()
    rng = np.random.default_rng(0)
    for part in (rows.train, rows.validation, rows.test):
        classes[part] = rng.permutation(classes[part])
    shuffled = tmp_path / "shuffled.safetensors"
    save_file({**load_file(btc.prepared.labels.arrays.path), "classes": classes}, shuffled)
    labels = btc.prepared.labels.model_copy(update={"arrays": FileRef.of(shuffled)})
    prepared = btc.prepared.model_copy(update={"labels": labels})

    trained = train_model(btc.config, prepared, tmp_path / "training", backend=LocalBackend())
    weights = with_temperature(read_weights(trained.weights.path), 1.0)
    logits = TorchPredictor(btc.config.network, weights).raw_logits(map_features(prepared.features)[rows.test])
    called, truth = logits.argmax(axis=1), classes[rows.test]
    shares = [np.bincount(which, minlength=3) / truth.size for which in (called, truth)]
    chance = float(shares[0] @ shares[1])
    accuracy = float((called == truth).mean())
    assert abs(accuracy - chance) < 4 * math.sqrt(chance * (1 - chance) / truth.size), (accuracy, chance)
    majority = float(shares[1].max())
    assert accuracy < majority + 4 * math.sqrt(majority * (1 - majority) / truth.size)
    history = json.loads(trained.history.path.read_text())
    assert min(epoch["validation_nll"] for epoch in history["epochs"]) > math.log(3) - 0.02, "nothing to be known"
