"""Small true bundles for the tests of bundle, registry, tasks and flows: untrained networks on a random walk.

A v8, a repaired V6 of raw72 or a repaired v7, and an ensemble of any two of them.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from models_lib.architecture import RepairedArchitecture
from models_lib.bundle import (
    EnvelopeFacts,
    FeatureFacts,
    GateFact,
    LabelFacts,
    Manifest,
    MarketFacts,
    RunFacts,
    Span,
    SplitFacts,
    TorchPredictor,
    add_run_facts,
    ensemble_manifest,
    ensemble_tensors,
    load_bundle,
    record_golden,
    repaired_manifest,
    with_temperature,
    write_bundle,
)
from models_lib.bundle.layout import HASHES_FILE, is_identity
from models_lib.candles.schema import epoch_ms
from models_lib.config import (
    GatesSection,
    LabelSection,
    NetworkSection,
    SplitsSection,
    TrainingSection,
    identity_of_training,
)
from models_lib.envelope import Envelope, fit_envelope
from models_lib.features import CURRENT, RAW72, FeatureSet, compute_features, joined
from models_lib.networks import build_network, state_tensors
from models_lib.scaling import Scaler, fit_scaler

T0 = datetime(2026, 1, 1, tzinfo=UTC)
TEMPERATURE = 1.25


def walk_candles(rows: int = 6_000, *, seed: int = 5, hole_after: int | None = None) -> pd.DataFrame:
    """A random walk of one-minute candles from 2026-01-01, with a hole of an hour after row `hole_after`."""
    rng = np.random.default_rng(seed)
    close = 79_568.0 * np.exp(np.cumsum(rng.normal(0.0, 5e-4, rows)))
    upper, lower = close * np.abs(rng.normal(0.0, 3e-4, (2, rows)))
    opened = np.concatenate(([79_568.0], close[:-1]))
    minutes = np.arange(rows, dtype=np.int64)
    if hole_after is not None:
        minutes[hole_after + 1 :] += 60
    stamps = pd.to_datetime(T0) + pd.to_timedelta(minutes, unit="min")
    return pd.DataFrame(
        {
            "timestamp": pd.Series(stamps).astype("datetime64[ms, UTC]"),
            "open": opened,
            "high": np.maximum(opened, close) + upper,
            "low": np.minimum(opened, close) - lower,
            "close": close,
            "volume": rng.lognormal(1.0, 1.0, rows),
        }
    )


def example_manifest(candles: pd.DataFrame, *, symbol: str = "BTC-USD", seed: int = 1) -> Manifest:
    """A manifest that goes with `example_tensors`."""
    times = epoch_ms(candles)
    training = TrainingSection(seed=seed)
    return Manifest(
        symbol=symbol,
        family="v8",
        features=FeatureFacts.current(),
        envelope=EnvelopeFacts.of(example_envelope(candles)),
        label=LabelFacts(section=LabelSection(), threshold=0.000_8, span_minutes=15),
        splits=SplitFacts(
            section=SplitsSection(),
            train=Span.of_ms(int(times[1_500]), int(times[4_000]), 2_501),
            validation=Span.of_ms(int(times[4_100]), int(times[4_900]), 801),
            test=Span.of_ms(int(times[5_000]), int(times[-1]), 1_000),
            purge_minutes=15,
            embargo_minutes=60,
        ),
        network=NetworkSection(),
        training=identity_of_training(training),
        data_hash=hashlib.sha256(times.tobytes()).hexdigest(),
        simulated_market=None,
        seeds={"training": training.seed},
        valid_days=7,
    )


def example_envelope(candles: pd.DataFrame, features: FeatureSet = CURRENT) -> Envelope:
    """Of all rows with features."""
    matrix = compute_features(candles, features=features)
    return fit_envelope(matrix, np.flatnonzero(~np.isnan(matrix).any(axis=1)))


def example_tensors(candles: pd.DataFrame, *, seed: int = 1) -> dict[str, np.ndarray]:
    """Tensors of an untrained network with a fitted scaler and a temperature of 1.25."""
    features = compute_features(candles)
    rows = np.flatnonzero(~np.isnan(features).any(axis=1))
    network = build_network(
        NetworkSection(),
        num_features=features.shape[1],
        scaler=fit_scaler(features, rows),
        generator=torch.Generator().manual_seed(seed),
    )
    return with_temperature(state_tensors(network), TEMPERATURE)


def write_example(folder: Path, *, symbol: str = "BTC-USD", seed: int = 1, candles: pd.DataFrame | None = None) -> str:
    """Writes a candidate and returns its hash; another seed gives another bundle."""
    candles = walk_candles() if candles is None else candles
    tensors = example_tensors(candles, seed=seed)
    manifest = example_manifest(candles, symbol=symbol, seed=seed)
    golden = record_golden(candles, TorchPredictor(manifest.architecture, tensors), symbol=symbol)
    return write_bundle(folder, tensors=tensors, manifest=manifest, golden=golden)


def example_market(candles: pd.DataFrame, features: FeatureSet, *, symbol: str = "BTC-USD") -> MarketFacts:
    """The market of `example_manifest`, for a model with these features."""
    manifest = example_manifest(candles, symbol=symbol)
    return MarketFacts(
        symbol=symbol,
        label=manifest.label,
        splits=manifest.splits,
        envelope=EnvelopeFacts.of(example_envelope(candles, features)),
        data_hash=manifest.data_hash,
        simulated_market=manifest.simulated_market,
        valid_days=manifest.valid_days,
    )


def repaired_tensors(
    matrix: np.ndarray, *, family: Literal["v6", "v7"] = "v6", identity: bool = False, gain: float = 1.0, seed: int = 1
) -> dict[str, np.ndarray]:
    """Tensors of an untrained old network behind a fitted or an identity scaler.

    Args:
        matrix: float32 [N, F] that the scaler is fitted on.
        family: of the old network.
        identity: whether the inputs stay as they are.
        gain: what the last layer is multiplied with: raw prices give logits of 1,500, so 0.01 gives 15.
        seed: of the weights.
    """
    num_features = matrix.shape[1]
    scaler = fit_scaler(matrix, np.flatnonzero(~np.isnan(matrix).any(axis=1)))
    if identity:
        scaler = Scaler(mean=np.zeros(num_features), scale=np.ones(num_features))
    network = build_network(
        NetworkSection(family=family),
        num_features=num_features,
        scaler=None if family == "v6" else scaler,
        generator=torch.Generator().manual_seed(seed),
    )
    tensors = with_temperature(state_tensors(network), TEMPERATURE)
    tensors |= {"scaler_mean": scaler.mean.astype(np.float32), "scaler_scale": scaler.scale.astype(np.float32)}
    return tensors | {"linears.3.weight": tensors["linears.3.weight"] * np.float32(gain)}


def write_repaired(
    folder: Path,
    *,
    symbol: str = "BTC-USD",
    seed: int = 1,
    family: Literal["v6", "v7"] = "v6",
    features: FeatureSet = RAW72,
    identity: bool = False,
    gain: float = 1.0,
    clamp: float = 15.0,
    candles: pd.DataFrame | None = None,
) -> str:
    """Writes a repaired candidate and returns its hash."""
    candles = walk_candles() if candles is None else candles
    tensors = repaired_tensors(
        compute_features(candles, features=features), family=family, identity=identity, gain=gain, seed=seed
    )
    manifest = repaired_manifest(
        RepairedArchitecture.of(family, clamp=clamp),
        scaler="identity" if identity else "fitted",
        source_name=f"lstm_{symbol}_{family}.pt",
        source_sha256="5" * 64,
        features=FeatureFacts.of(features),
        market=example_market(candles, features, symbol=symbol),
    )
    golden = record_golden(candles, TorchPredictor(manifest.architecture, tensors), symbol=symbol, features=features)
    return write_bundle(folder, tensors=tensors, manifest=manifest, golden=golden)


def write_ensemble(
    folder: Path,
    first: Path,
    second: Path,
    *,
    weights: tuple[float, float] = (0.4, 0.6),
    temperature: float = 1.0,
    candles: pd.DataFrame | None = None,
) -> str:
    """Writes an ensemble of two bundles of one symbol as a candidate and returns its hash."""
    candles = walk_candles() if candles is None else candles
    members = (load_bundle(first), load_bundle(second))
    symbol = members[0].manifest.symbol
    features = joined(*(member.feature_set for member in members))
    manifest = ensemble_manifest(*members, weights=weights, market=example_market(candles, features, symbol=symbol))
    tensors = ensemble_tensors(*members, temperature)
    golden = record_golden(candles, TorchPredictor(manifest.architecture, tensors), symbol=symbol, features=features)
    return write_bundle(folder, tensors=tensors, manifest=manifest, golden=golden)


def example_facts(
    bundle: str,
    *,
    symbol: str = "BTC-USD",
    run_id: str = "run-1",
    champion: str | None = None,
    failed: Mapping[str, str] | None = None,
    judged_at: datetime = T0,
    cost_usd: float | None = 0.0,
) -> RunFacts:
    """Facts of a run in which every gate passed, except `failed`: gate -> severity."""
    failed = failed or {}
    names = [name for name in GatesSection.model_fields if name != "not_worse_than_champion" or champion is not None]
    section = GatesSection.model_validate({name: {**_SHIPPED[name], "severity": how} for name, how in failed.items()})
    gates = tuple(_gate(name, section, passed=name not in failed) for name in names)
    return RunFacts(
        run_id=run_id,
        symbol=symbol,
        bundle=bundle,
        started_at=T0,
        judged_at=judged_at,
        host="host",
        commit=None,
        uncommitted_diff=None,
        versions={"numpy": np.__version__},
        backend="local",
        cost_usd=cost_usd,
        champion=champion,
        gates=gates,
        metrics={"test": {"accuracy": 0.74}},
        config={"gates": section.model_dump(mode="json")},
    )


_SHIPPED = GatesSection().model_dump()
_GOOD = {
    "scaler_present": 0.01,
    "class_balance": (0.3, 0.4),
    "accuracy": 0.74,
    "beats_mechanical_rule": 0.02,
    "beats_driftless_rule": 0.001,
    "edge_after_costs": 1.0,
    "confidence_band": (0.7, 0.7),
}
"""A value with which that gate passes; 0 for the others."""


def _gate(name: str, section: GatesSection, *, passed: bool) -> GateFact:
    settings = section.model_dump()[name]
    limit = (settings["low"], settings["high"]) if "low" in settings else settings.get("limit", 0.0)
    return GateFact(
        name=name, split="test", value=_GOOD.get(name, 0.0), limit=limit, severity=settings["severity"], passed=passed
    )


def write_judged(folder: Path, *, symbol: str = "BTC-USD", seed: int = 1, **facts: Any) -> str:
    """Writes a candidate with run facts and a report, ready for a store; returns its hash."""
    bundle = write_example(folder, symbol=symbol, seed=seed)
    judge(folder, bundle, symbol=symbol, **facts)
    return bundle


def judge(folder: Path, bundle: str, *, symbol: str = "BTC-USD", **facts: Any) -> None:
    """Lays `example_facts` and a report beside a candidate of any kind."""
    add_run_facts(
        folder,
        facts=example_facts(bundle, symbol=symbol, **facts),
        reports={"report.html": b"<!doctype html><title>report</title>"},
    )


def reseal(folder: Path) -> str:
    """Makes hashes.json agree with whatever lies in the folder now, as a careful forger would; returns the new hash."""
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != HASHES_FILE
    }
    pairs = sorted([path, digest] for path, digest in files.items() if is_identity(path))
    bundle = hashlib.sha256(json.dumps(pairs, separators=(",", ":")).encode()).hexdigest()
    (folder / HASHES_FILE).write_text(json.dumps({"bundle": bundle, "files": files}))
    return bundle


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a JSON file in place."""
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
