"""Bundles that no training here made: an old network that was repaired, and an ensemble of two bundles.

Both are written, judged, promoted and served as any other. Here: their manifests and tensors, and where a clamp acted.

What does not belong here: fitting scaler, weights and temperatures, and choosing between models (models_lib.steps).
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from models_lib.architecture import (
    Architecture,
    EnsembleArchitecture,
    RepairedArchitecture,
    Tensors,
    member_tensors,
    tensors_of_members,
)
from models_lib.bundle.layout import COMPOSED_VERSION
from models_lib.bundle.manifest import (
    EnvelopeFacts,
    FeatureFacts,
    LabelFacts,
    Manifest,
    MemberFacts,
    RepairFacts,
    SplitFacts,
)
from models_lib.bundle.parsing import faults_in
from models_lib.bundle.predictor import TorchPredictor
from models_lib.bundle.reader import Bundle
from models_lib.errors import BundleError
from models_lib.features import joined


@dataclass(frozen=True)
class MarketFacts:
    """What of a manifest comes from the market that a model was fitted and is judged on.

    Attributes:
        symbol: whose candles.
        label: definition and fitted threshold.
        splits: the parts of the candles.
        envelope: of the model's own features over the training rows.
        data_hash: SHA-256 of the candles after filling.
        simulated_market: kind of a simulated market; None for real candles.
        valid_days: days after which the runtime refuses the bundle.
    """

    symbol: str
    label: LabelFacts
    splits: SplitFacts
    envelope: EnvelopeFacts
    data_hash: str
    simulated_market: Literal["default", "null", "iid", "planted"] | None
    valid_days: int


def repaired_manifest(
    architecture: RepairedArchitecture,
    *,
    scaler: Literal["fitted", "own", "identity"],
    source_name: str,
    source_sha256: str,
    features: FeatureFacts,
    market: MarketFacts,
) -> Manifest:
    """The manifest of a repaired model.

    Args:
        architecture: the old network and its clamp.
        scaler: where its scaler comes from.
        source_name: name of the old file, without its folder.
        source_sha256: its content.
        features: what the old network takes.
        market: that the scaler and the temperature were fitted on.

    Raises:
        ValueError: facts that do not go together, or a family that cannot be repaired.
    """
    return Manifest(
        family="v7-repaired" if architecture.network.family == "v7" else "v6-repaired",
        features=features,
        network=architecture.network,
        repair=RepairFacts(
            scaler=scaler, clamp=architecture.clamp, source_name=source_name, source_sha256=source_sha256
        ),
        **_common(market),
    )


def ensemble_manifest(first: Bundle, second: Bundle, *, weights: tuple[float, float], market: MarketFacts) -> Manifest:
    """The manifest of an ensemble of two bundles.

    Args:
        first: its columns come first.
        second: its columns come after.
        weights: each at least 0, together 1.
        market: that the weights and the temperature were fitted on; its envelope has the columns of both.

    Raises:
        BundleError: the members do not go together.
    """
    pair = (first, second)
    try:
        return Manifest(
            family="ensemble",
            features=FeatureFacts.of(joined(first.feature_set, second.feature_set)),
            members=tuple(
                MemberFacts(bundle=member.hash, weight=weight, manifest=member.manifest)
                for member, weight in zip(pair, weights, strict=True)
            ),
            **_common(market),
        )
    except ValidationError as error:
        raise BundleError(
            f"bundles {first.hash[:12]} and {second.hash[:12]} make no ensemble: {faults_in(error)}. Choose two others."
        ) from error


def ensemble_tensors(first: Bundle, second: Bundle, temperature: float = 1.0) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of an ensemble of two bundles.

    Args:
        first: as in the manifest.
        second: as in the manifest.
        temperature: of the whole, > 0; the members keep theirs inside.
    """
    return tensors_of_members((first.tensors, second.tensors), temperature)


def clamped_rows(bundle: Bundle, features: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_] | None:
    """Rows in which a clamp acted, bool [N], an ensemble's if any member's did; None for a bundle without a clamp.

    Args:
        bundle: any.
        features: float32 [N, F] without NaN.
    """
    return _clamped(bundle.manifest.architecture, bundle.tensors, features)


def _common(market: MarketFacts) -> dict[str, Any]:
    """Fields that both kinds have alike; neither was trained here."""
    return {
        "schema_version": COMPOSED_VERSION,
        "symbol": market.symbol,
        "label": market.label,
        "splits": market.splits,
        "envelope": market.envelope,
        "training": {},
        "data_hash": market.data_hash,
        "simulated_market": market.simulated_market,
        "seeds": {},
        "valid_days": market.valid_days,
    }


def _clamped(
    architecture: Architecture, tensors: Tensors, features: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_] | None:
    match architecture:
        case RepairedArchitecture(clamp=clamp):
            raw_logits = TorchPredictor(architecture, tensors).raw_logits(features)
            return np.asarray((np.abs(raw_logits) >= np.float32(clamp)).any(axis=1))
        case EnsembleArchitecture(members=members):
            parts = zip(members, member_tensors(architecture, tensors), architecture.columns(), strict=True)
            masks = [_clamped(member.architecture, own, features[:, columns]) for member, own, columns in parts]
            known = [mask for mask in masks if mask is not None]
            return np.logical_or.reduce(known) if known else None
        case _:
            return None
