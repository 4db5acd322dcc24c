"""The candidate bundle: tensors, manifest and golden vectors in one folder that nobody has judged yet."""

import json
from pathlib import Path
from typing import Any

from models_lib.bundle import (
    EnvelopeFacts,
    FeatureFacts,
    LabelFacts,
    Manifest,
    Span,
    SplitFacts,
    TorchPredictor,
    record_golden,
    with_temperature,
    write_bundle,
)
from models_lib.config import RunConfig, identity_of_training
from models_lib.envelope import fit_envelope
from models_lib.steps.candles import read_candles
from models_lib.steps.features import map_features
from models_lib.steps.labels import read_labels
from models_lib.steps.refs import CandidateRef, Fitted, Prepared
from models_lib.training.checkpoint import read_weights


def build_candidate(config: RunConfig, prepared: Prepared, fitted: Fitted, folder: Path) -> CandidateRef:
    """A complete bundle folder, read back and verified as any reader would.

    Raises:
        BundleError: the model breaks a rule of bundles, such as a missing scaler.
    """
    tensors = with_temperature(read_weights(fitted.trained.weights.checked()), fitted.temperature.temperature)
    facts = json.loads(prepared.labels.facts.checked().read_text())
    golden = record_golden(
        read_candles(prepared.candles), TorchPredictor(config.network, tensors), symbol=prepared.symbol
    )
    target = folder / "candidate"
    bundle = write_bundle(target, tensors=tensors, manifest=_manifest(config, prepared, facts), golden=golden)
    return CandidateRef(folder=target, bundle=bundle)


def _manifest(config: RunConfig, prepared: Prepared, facts: dict[str, Any]) -> Manifest:
    candles, train_rows = prepared.candles, read_labels(prepared.labels).train
    spans = {part: _span(facts, part) for part in ("train", "validation", "test")}
    return Manifest(
        symbol=candles.symbol,
        family=config.network.family,
        features=FeatureFacts.current(),
        envelope=EnvelopeFacts.of(fit_envelope(map_features(prepared.features), train_rows)),
        label=LabelFacts(section=config.label, threshold=facts["threshold"], span_minutes=facts["span_minutes"]),
        splits=SplitFacts(
            section=config.splits,
            purge_minutes=facts["purge_minutes"],
            embargo_minutes=facts["embargo_minutes"],
            **spans,
        ),
        network=config.network,
        training=identity_of_training(config.training),
        data_hash=candles.data_hash,
        simulated_market=config.data.simulated_market,
        seeds={"training": config.training.seed},
        valid_days=config.bundle.valid_days,
    )


def _span(facts: dict[str, Any], part: str) -> Span:
    first_ms, last_ms = facts["spans"][part]
    return Span.of_ms(first_ms, last_ms, facts["rows"][part])
