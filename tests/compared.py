"""Pairs of models for the tests of comparisons: a repaired V6 and another model, both trained in seconds on one market.

The V6 is one that was trained on standardised inputs and whose file kept no scaler: with the scaler of its training rows
it is what it was.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from models_lib.architecture import RepairedArchitecture
from models_lib.bundle import (
    FeatureFacts,
    Manifest,
    TorchPredictor,
    record_golden,
    repaired_manifest,
    with_temperature,
    write_bundle,
)
from models_lib.calibration import fit_temperature
from models_lib.config import NetworkSection, RunConfig, TrainingSection, identity_of_training
from models_lib.features import CURRENT, RAW72, FeatureSet
from models_lib.scaling import fit_scaler
from models_lib.steps.market import Market
from models_lib.training.data import TrainingData
from models_lib.training.trainer import train_network

CLAMP = 15.0
_TRAINING = {
    "device": "cpu",
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "batch_size": 256,
    "schedule": "constant",
    "weight_average_decay": 0.0,
    "gate_stop_epochs": 1_000,
}


def write_trained_repaired(
    folder: Path,
    market: Market,
    config: RunConfig,
    *,
    features: FeatureSet = RAW72,
    epochs: int = 2,
    family: Literal["v6"] = "v6",
    **training: Any,
) -> str:
    """Writes a repaired V6 that was trained on the market, and returns its hash.

    Args:
        folder: of the bundle.
        market: with labels.
        config: splits and validity.
        features: what it reads.
        epochs: all of them are done.
        family: of the old network.
        training: keys of the training section that shall differ.
    """
    splits, labels = market.labels.splits, market.labels
    scaler = fit_scaler(market.matrix(features), splits.train, names=features.names)
    mean, scale = scaler.mean.astype(np.float32), scaler.scale.astype(np.float32)
    section = TrainingSection.model_validate({**_TRAINING, "max_epochs": epochs, "patience": epochs, **training})
    trained = train_network(
        TrainingData(
            features=(market.matrix(features) - mean) / scale,
            classes=labels.classes,
            train_rows=splits.train,
            validation_rows=splits.validation,
            scaler=None,
        ),
        network=NetworkSection(family=family, input_clip_std=None),
        training=section,
        gates=config.gates,
        seed=1,
    )
    architecture = RepairedArchitecture.of(family, clamp=CLAMP)
    tensors = with_temperature({**trained.tensors, "scaler_mean": mean, "scaler_scale": scale}, 1.0)
    raw_logits = TorchPredictor(architecture, tensors).raw_logits(market.matrix(features)[splits.validation])
    tensors = with_temperature(tensors, fit_temperature(raw_logits, labels.classes[splits.validation]).temperature)
    manifest = repaired_manifest(
        architecture,
        scaler="fitted",
        source_name=f"lstm_{market.symbol}_{family}.pt",
        source_sha256="5" * 64,
        features=FeatureFacts.of(features),
        market=market.facts(features, config),
    )
    return _write(folder, market, manifest, tensors, features)


def write_trained_v8(
    folder: Path, market: Market, config: RunConfig, *, features: FeatureSet = CURRENT, epochs: int = 2, **training: Any
) -> str:
    """Writes a V8 that was trained on the market with the default network, and returns its hash."""
    splits, labels, matrix = market.labels.splits, market.labels, market.matrix(features)
    section = TrainingSection.model_validate({**_TRAINING, "max_epochs": epochs, "patience": epochs, **training})
    trained = train_network(
        TrainingData(
            features=matrix,
            classes=labels.classes,
            train_rows=splits.train,
            validation_rows=splits.validation,
            scaler=fit_scaler(matrix, splits.train, names=features.names),
        ),
        network=NetworkSection(),
        training=section,
        gates=config.gates,
        seed=2,
    )
    tensors = with_temperature(trained.tensors, 1.0)
    raw_logits = TorchPredictor(NetworkSection(), tensors).raw_logits(matrix[splits.validation])
    tensors = with_temperature(tensors, fit_temperature(raw_logits, labels.classes[splits.validation]).temperature)
    facts = vars(market.facts(features, config))
    manifest = Manifest(
        family="v8",
        features=FeatureFacts.of(features),
        network=NetworkSection(),
        training=identity_of_training(section),
        seeds={"training": 2},
        **facts,
    )
    return _write(folder, market, manifest, tensors, features)


def _write(
    folder: Path, market: Market, manifest: Manifest, tensors: dict[str, np.ndarray], features: FeatureSet
) -> str:
    predictor = TorchPredictor(manifest.architecture, tensors)
    golden = record_golden(market.frame, predictor, symbol=market.symbol, features=features)
    return write_bundle(folder, tensors=tensors, manifest=manifest, golden=golden)
