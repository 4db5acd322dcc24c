"""Named arrays as safetensors bytes, and the rules that a model's arrays must keep.

Read from bytes in memory, never from a mapped file: saving over a mapped path has written zeros silently
(safetensors issues 762 and 764). The format runs no code and checks its header; NaN, types and shapes are checked here.

What does not belong here: the network's own shapes (models_lib.networks names them).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from models_lib.bundle.layout import MODEL_FILE, shown
from models_lib.errors import BundleError

SCALER_MEAN, SCALER_SCALE, TEMPERATURE = "scaler_mean", "scaler_scale", "temperature"
LEARNED_TEMPERATURE = "log_temperature"

Array = npt.NDArray[np.generic]
Tensors = dict[str, npt.NDArray[np.float32]]
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}


def encode(arrays: Mapping[str, Array]) -> bytes:
    """The arrays as safetensors bytes; equal arrays give equal bytes, in whatever order they come."""
    return bytes(save({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}))


def decode(content: bytes, *, name: str) -> dict[str, Array]:
    """The arrays in safetensors bytes, read-only.

    Raises:
        BundleError: truncated, zero-filled or otherwise damaged, or of a type that no bundle holds.
    """
    try:
        entries: list[tuple[str, dict[str, Any]]] = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise BundleError(f"{name} is damaged ({error}). Take the bundle from the store again.") from error
    strange = [f"{key} is {entry['dtype']}" for key, entry in entries if entry["dtype"] not in _DTYPES]
    if strange:
        raise BundleError(f"{name}: {shown(strange)}; only float32, float64 and int64 are read. Train the model again.")
    return {
        key: np.frombuffer(bytes(entry["data"]), dtype=_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        for key, entry in entries
    }


def with_temperature(tensors: Mapping[str, npt.NDArray[np.float32]], temperature: float) -> Tensors:
    """The tensors of a trained network with its learned temperature replaced by the fitted one.

    Args:
        tensors: as `models_lib.networks.state_tensors` gives them.
        temperature: absolute, > 0; it is rounded to float32.
    """
    kept = {name: array for name, array in tensors.items() if name not in (LEARNED_TEMPERATURE, TEMPERATURE)}
    return {**kept, TEMPERATURE: np.array([temperature], dtype=np.float32)}


def checked_tensors(arrays: Mapping[str, Array], *, num_features: int) -> Tensors:
    """The model's arrays, after scaler, temperature, types and values were found sound.

    Raises:
        BundleError: no scaler or temperature, another type than float32, NaN or infinity, a scale or a temperature
            (an ensemble's members have their own) that is not above 0, a scaler of another length.
    """
    _check_scaler_and_temperature_there(arrays, num_features)
    halved = [f"{name} is {array.dtype}" for name, array in arrays.items() if array.dtype != np.float32]
    if halved:
        raise BundleError(f"{MODEL_FILE}: every tensor must be float32; {shown(halved)}. Train the model again.")
    tensors = {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}
    broken = [name for name, array in tensors.items() if not np.isfinite(array).all()]
    if broken:
        raise BundleError(f"{MODEL_FILE}: NaN or infinity in {shown(broken)}. Train the model again.")
    _check_positive(tensors)
    return tensors


def _check_scaler_and_temperature_there(arrays: Mapping[str, Array], num_features: int) -> None:
    missing = [name for name in (SCALER_MEAN, SCALER_SCALE, TEMPERATURE) if name not in arrays]
    if missing:
        raise BundleError(
            f"{MODEL_FILE}: no {' and no '.join(missing)}. A model without its scaler and temperature cannot be used: "
            f"fit them and write the bundle again."
        )
    shapes = {SCALER_MEAN: (num_features,), SCALER_SCALE: (num_features,), TEMPERATURE: (1,)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise BundleError(
                f"{MODEL_FILE}: {name} must be {list(shape)}, was {list(arrays[name].shape)}. Train the model again."
            )


def _check_positive(tensors: Tensors) -> None:
    smallest = float(tensors[SCALER_SCALE].min())
    if not smallest > 0.0:
        raise BundleError(
            f"{MODEL_FILE}: scaler_scale must be above 0 for every feature, the smallest was {smallest:g} "
            f"(feature {int(tensors[SCALER_SCALE].argmin())}). Fit the scaler again."
        )
    for name, array in tensors.items():
        if name != TEMPERATURE and not name.endswith(f".{TEMPERATURE}"):
            continue
        if array.shape != (1,):
            raise BundleError(f"{MODEL_FILE}: {name} must be [1], was {list(array.shape)}. Fit it again.")
        if not array[0] > 0.0:
            raise BundleError(f"{MODEL_FILE}: {name} must be above 0, was {float(array[0]):g}. Fit it again.")
