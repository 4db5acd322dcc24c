"""The scaler of one symbol, fitted on the training rows only."""

from pathlib import Path

from safetensors.numpy import load_file, save_file

from models_lib.features import FEATURE_NAMES
from models_lib.files import whole_file
from models_lib.scaling import Scaler, fit_scaler
from models_lib.steps.features import map_features
from models_lib.steps.labels import read_labels
from models_lib.steps.refs import FeaturesRef, FileRef, LabelsRef, ScalerRef


def fit_feature_scaler(features: FeaturesRef, labels: LabelsRef, folder: Path) -> ScalerRef:
    """Mean and scale of every feature over the training rows.

    Raises:
        DataError: a feature is constant or not finite on the training rows.
    """
    scaler = fit_scaler(map_features(features), read_labels(labels).train, names=FEATURE_NAMES)
    path = folder / "scaler.safetensors"
    with whole_file(path) as fresh:
        save_file({"mean": scaler.mean, "scale": scaler.scale}, fresh)
    return ScalerRef(scaler=FileRef.of(path))


def read_scaler(ref: ScalerRef) -> Scaler:
    """The scaler that `ref` names."""
    tensors = load_file(ref.scaler.checked())
    return Scaler(mean=tensors["mean"], scale=tensors["scale"])
