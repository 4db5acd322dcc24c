"""The scaler of an old model: vectors in its state or beside it, a StandardScaler, or a file with two vectors.

A scale of 0 is read as it is: the gate scaler_present names it. Two scalers that disagree are refused: which of them the
inputs met in production is not known.

What does not belong here: fitting one (models_lib.scaling).
"""

import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from models_lib.bundle.tensors import SCALER_MEAN, SCALER_SCALE
from models_lib.errors import BundleError, ConfigError, excerpt
from models_lib.legacy.archive import ZIP_START, plain_entries
from models_lib.legacy.torch_file import FittedScalerState, file_content
from models_lib.scaling import Scaler

MAX_SCALER_FILE_BYTES = 4 << 20
PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib")
_SAME = 1e-6
"""float32 keeps 6e-8 of a value: the same scaler written in both precisions agrees within this."""
_LARGEST = float(np.finfo(np.float32).max)
_PLAIN_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, eq=False)
class FoundScaler:
    """A scaler and where it stood.

    Attributes:
        scaler: float64 [F] twice.
        source: where it was found, in words.
        feature_names: the columns on which a StandardScaler says that it was fitted.
    """

    scaler: Scaler
    source: str
    feature_names: tuple[str, ...] | None = None


def scalers_in(state: Mapping[str, Any], beside: Mapping[str, Any], *, subject: str) -> list[FoundScaler]:
    """Every scaler of a document: of the state, then the vectors beside it, then the object under `scaler`.

    Raises:
        BundleError: half a scaler, or something else in its place.
    """
    found = [_of_vectors(where, entries, subject=subject) for where, entries in _vectors(state, beside)]
    match beside.get("scaler"):
        case None:
            pass
        case FittedScalerState() as fitted:
            found.append(_of_standard_scaler(fitted, subject=subject))
        case Mapping() as entries:
            named = {f"scaler_{part}": value for part, value in entries.items()}
            found.append(_of_vectors("the dictionary scaler", named, subject=subject))
        case other:
            raise BundleError(
                f"{subject}: scaler must be a StandardScaler or {{mean, scale}}, was a {type(other).__name__}. "
                f"Take it out of the file and give the two vectors as scaler file."
            )
    return found


def read_scaler_file(path: Path) -> FoundScaler:
    """The scaler in an .npz or .json file with the vectors `mean` and `scale`.

    Raises:
        ConfigError: there is no such file, it cannot be read, or it is of another kind.
        BundleError: a pickle, which is never read; or damaged.
    """
    suffix = path.suffix.lower()
    if suffix in PICKLE_SUFFIXES:
        raise BundleError(f"{path} {pickled_scaler_remedy(path)}")
    if suffix not in (".npz", ".json"):
        raise ConfigError(f"{path}: a scaler file must end in .npz or .json, was {suffix or 'without an ending'}.")
    content = file_content(path, MAX_SCALER_FILE_BYTES)
    vectors = (_npz if suffix == ".npz" else _json)(content, subject=str(path))
    entries = {f"scaler_{part}": vectors.get(part) for part in ("mean", "scale")}
    return _of_vectors(f"the file {path.name}", entries, subject=str(path), names=("mean", "scale"))


def pickled_scaler_remedy(path: Path) -> str:
    """Why a pickled scaler is not read, and the line of Python that exports it where it was made."""
    name = path.name if _PLAIN_NAME.fullmatch(path.name) else f"scaler{path.suffix}"
    return (
        f"is not read: a pickle can run any program. On the machine where it was made, if you trust it: "
        f"python -c \"import joblib, numpy; s = joblib.load('{name}'); "
        f"numpy.savez('{Path(name).stem}.npz', mean=s.mean_, scale=s.scale_)\" - and give that .npz as scaler file."
    )


def one_scaler(found: list[FoundScaler], *, num_features: int, subject: str) -> FoundScaler | None:
    """The scaler that the inputs met; None when there was none.

    Raises:
        BundleError: of another length, NaN or infinity, or two that disagree.
    """
    for one in found:
        _check_vectors(one, num_features, subject=subject)
    for other in found[1:]:
        apart = _first_difference(found[0].scaler, other.scaler)
        if apart is not None:
            raise BundleError(
                f"{subject}: {found[0].source} and {other.source} disagree (first at feature {apart + 1}), and which of "
                f"them the inputs met in production is unknown. Leave only the right one."
            )
    return found[0] if found else None


def _vectors(state: Mapping[str, Any], beside: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    places = (
        ("the tensors scaler_mean and scaler_scale of the state", state),
        ("the vectors scaler_mean and scaler_scale", beside),
    )
    return [(where, entries) for where, entries in places if {SCALER_MEAN, SCALER_SCALE} & entries.keys()]


def _of_vectors(
    where: str, entries: Mapping[str, Any], *, subject: str, names: tuple[str, str] = (SCALER_MEAN, SCALER_SCALE)
) -> FoundScaler:
    vectors = {}
    for key, name in zip((SCALER_MEAN, SCALER_SCALE), names, strict=True):
        if entries.get(key) is None:
            raise BundleError(f"{subject}: {where}: no {name}. A scaler is two vectors, mean and scale: give both.")
        vectors[key] = vector(entries[key], name=name, subject=subject)
    return FoundScaler(Scaler(mean=vectors[SCALER_MEAN], scale=vectors[SCALER_SCALE]), where)


def _of_standard_scaler(fitted: FittedScalerState, *, subject: str) -> FoundScaler:
    """What scikit-learn's StandardScaler would do: with_mean and with_std switch its halves off."""
    state = getattr(fitted, "state", {})
    parts: dict[str, NDArray[np.float64]] = {}
    size: int | None = None
    for part, switch in (("mean_", "with_mean"), ("scale_", "with_std")):
        if state.get(switch, True) and state.get(part) is None:
            raise BundleError(f"{subject}: the StandardScaler has no {part}: it was never fitted. Give a scaler file.")
        if state.get(part) is not None:
            parts[part] = vector(state[part], name=f"scaler.{part}", subject=subject)
            size = parts[part].size
    if size is None:
        raise BundleError(f"{subject}: the StandardScaler neither centres nor scales. Take it out of the file.")
    mean = parts["mean_"] if state.get("with_mean", True) else np.zeros(size)
    scale = parts["scale_"] if state.get("with_std", True) else np.ones(size)
    names = state.get("feature_names_in_")
    columns = (
        tuple(str(name) for name in names.ravel()) if isinstance(names, np.ndarray) and names.dtype == object else None
    )
    return FoundScaler(Scaler(mean=mean, scale=scale), "the StandardScaler scaler", columns)


def vector(value: Any, *, name: str, subject: str) -> NDArray[np.float64]:
    """A tensor, an array or a list of numbers as float64 [n].

    Raises:
        BundleError: it is none of these.
    """
    array: Any = None
    if isinstance(value, torch.Tensor):
        array = value.detach().to(torch.float64).numpy() if value.is_floating_point() else value.numpy()
    elif isinstance(value, np.ndarray):
        array = value
    elif isinstance(value, list | tuple) and all(type(item) in (int, float) for item in value):
        array = np.array([math.inf if abs(item) > _LARGEST else float(item) for item in value])
    if array is None or array.ndim != 1 or array.dtype.kind not in "fiu":
        what = f"{array.dtype} {list(array.shape)}" if array is not None else f"a {type(value).__name__}"
        raise BundleError(f"{subject}: {name} must be a vector of numbers, was {what}. Give the two vectors anew.")
    numbers: NDArray[np.float64] = array.astype(np.float64)
    return numbers


def _check_vectors(found: FoundScaler, num_features: int, *, subject: str) -> None:
    for part, values in (("mean", found.scaler.mean), ("scale", found.scaler.scale)):
        if values.shape != (num_features,):
            raise BundleError(
                f"{subject}: {found.source}: {part} has {values.size} values for a network of {num_features} features. "
                f"It is another model's scaler: give the right one."
            )
        if not (np.abs(values) <= _LARGEST).all():
            first = int(np.flatnonzero(~(np.abs(values) <= _LARGEST))[0])
            raise BundleError(
                f"{subject}: {found.source}: {part} of feature {first + 1} is {values[first]:g}; every value must be a "
                f"finite float32. Fit the scaler again."
            )


def _first_difference(one: Scaler, other: Scaler) -> int | None:
    limit = _SAME * np.maximum(np.abs(one.scale), np.abs(one.mean))
    apart = (np.abs(one.mean - other.mean) > limit) | (np.abs(one.scale - other.scale) > _SAME * np.abs(one.scale))
    return int(np.flatnonzero(apart)[0]) if apart.any() else None


def _npz(content: bytes, *, subject: str) -> dict[str, Any]:
    """The vectors of an .npz as numpy.savez writes it, stored; its sizes are checked before anything is made of them."""
    if not content.startswith(ZIP_START):
        raise BundleError(f"{subject} is no .npz (a zip). Write it with numpy.savez(file, mean=..., scale=...).")
    entries = plain_entries(content, subject=subject, writer="numpy.savez")
    return {
        name: _npy(entries[f"{name}.npy"], name=name, subject=subject)
        for name in ("mean", "scale")
        if f"{name}.npy" in entries
    }


def _npy(content: bytes, *, name: str, subject: str) -> Any:
    stream = io.BytesIO(content)
    try:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
        shape, _, dtype = read_header(stream)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
            raise BundleError(
                f"{subject}: {name} claims {list(shape)} of {dtype} in {len(content):,} bytes. It is damaged or forged: "
                f"write it again with numpy.savez."
            )
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, KeyError, EOFError, TypeError, SyntaxError, OverflowError) as error:
        raise BundleError(
            f"{subject}: {name} is damaged ({excerpt(error)}). Write it again with numpy.savez."
        ) from error


def _json(content: bytes, *, subject: str) -> dict[str, Any]:
    try:
        tree = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f'{subject} is no JSON ({excerpt(error)}). Write {{"mean": [...], "scale": [...]}}.'
        ) from error
    if not isinstance(tree, dict):
        raise BundleError(f"{subject} must hold {{mean, scale}}, was a {type(tree).__name__}.")
    return tree
