"""The fitted temperature of a trained network, and the sweep beside it; both on the validation rows."""

from dataclasses import asdict
from pathlib import Path

from models_lib.bundle import TorchPredictor, with_temperature
from models_lib.bundle.tensors import SCALER_MEAN, SCALER_SCALE
from models_lib.calibration import fit_temperature, sweep_temperatures
from models_lib.config import RunConfig
from models_lib.errors import BundleError, TrainingError
from models_lib.files import write_json
from models_lib.steps.features import map_features
from models_lib.steps.labels import read_labels
from models_lib.steps.refs import FileRef, Prepared, TemperatureRef, TrainedRef
from models_lib.training.checkpoint import read_weights


def tune_temperature(config: RunConfig, prepared: Prepared, trained: TrainedRef, folder: Path) -> TemperatureRef:
    """The temperature with the smallest validation NLL; it replaces the learned one.

    Raises:
        BundleError: the network carries no scaler.
        TrainingError: the network's validation logits are not finite.
    """
    weights = read_weights(trained.weights.checked())
    if not {SCALER_MEAN, SCALER_SCALE} <= weights.keys():
        raise BundleError(
            f"{prepared.symbol}: the trained {config.network.family} model has no scaler, so it cannot become a bundle "
            f"(failed gates while training: {', '.join(trained.stopped_by_gates) or 'none'}). "
            f"Set network.family to v7 or v8, which carry theirs."
        )
    predictor = TorchPredictor(config.network, with_temperature(weights, 1.0))
    rows = read_labels(prepared.labels)
    raw_logits = predictor.raw_logits(map_features(prepared.features)[rows.validation])
    classes = rows.classes[rows.validation]
    try:
        fit = fit_temperature(raw_logits, classes)
    except ValueError as error:
        raise TrainingError(f"the temperature cannot be fitted: {error}. Lower training.learning_rate.") from error
    sweep = sweep_temperatures(
        raw_logits,
        classes,
        config.temperature,
        ece_limit=config.gates.calibration_error.limit,
        bins=config.evaluation.ece_bins,
    )
    path = folder / "temperature.json"
    write_json(path, {"fit": asdict(fit), "sweep": asdict(sweep)})
    return TemperatureRef(temperature=fit.temperature, study=FileRef.of(path))
