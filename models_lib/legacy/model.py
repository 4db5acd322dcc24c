"""An old model as its file holds it: family, tensors under our names, and what stood beside them.

What does not belong here: how the file is taken apart (torch_file.py), and what it answers (predictor.py).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models_lib.bundle.layout import shown
from models_lib.bundle.tensors import LEARNED_TEMPERATURE, SCALER_MEAN, SCALER_SCALE, TEMPERATURE, Tensors
from models_lib.errors import BundleError, ConfigError, excerpt
from models_lib.features import FEATURE_SETS, FeatureSet
from models_lib.legacy.layers import Family, family_and_tensors, without_prefixes
from models_lib.legacy.scalers import (
    PICKLE_SUFFIXES,
    FoundScaler,
    one_scaler,
    pickled_scaler_remedy,
    read_scaler_file,
    scalers_in,
)
from models_lib.legacy.torch_file import read_document
from models_lib.scaling import Scaler

_STATES = ("model_state_dict", "state_dict")
_SPECIAL = (SCALER_MEAN, SCALER_SCALE, TEMPERATURE, LEARNED_TEMPERATURE)
_KNOWN = (*_SPECIAL, "scaler", "feature_names", "symbol", "input_clip_std", "bundle")
_SAME = 1e-5
"""A learned temperature is stored in float32, as its logarithm."""
_LARGEST = float(np.finfo(np.float32).max)
_AT_MOST = 3


@dataclass(frozen=True, eq=False)
class LegacyModel:
    """What one file of before the bundle says.

    Attributes:
        path: the file.
        sha256: of its content.
        family: told by its tensors.
        tensors: float32, under our names (linears.k.*, norms.k.*), without scaler and temperature.
        scaler: what its inputs met; None when the file has none and none was given.
        scaler_from: where the scaler stood; "" without one.
        temperature: what it divides its logits by, > 0; None when the file names none.
        feature_names: the columns, in order, where the file names them.
        input_clip_std: scaled inputs are clipped at so many standard deviations; None clips nothing.
        symbol: whose model it says that it is.
        notes: what a person should know about how it was read, a sentence each.
    """

    path: Path
    sha256: str
    family: Family
    tensors: Tensors
    scaler: Scaler | None
    scaler_from: str
    temperature: float | None
    feature_names: tuple[str, ...] | None
    input_clip_std: float | None
    symbol: str | None
    notes: tuple[str, ...]

    @property
    def num_features(self) -> int:
        """F."""
        return int(self.tensors["linears.0.weight"].shape[1])

    def check_features(self, features: FeatureSet) -> None:
        """Refuses inputs that the network cannot have learned on: another number, or not those that the file names in our words.

        Raises:
            ConfigError: naming both.
        """
        if self.num_features != len(features.names):
            raise ConfigError(
                f"{self.path}: the network takes {self.num_features} features, the list {features.name!r} has "
                f"{len(features.names)}. Name the list that it was trained on with --features FILE, one name a line."
            )
        stated = self.feature_names or features.names
        known = {name for one in FEATURE_SETS.values() for name in one.names}
        if stated != features.names and known.issuperset(stated):  # names of other programs say nothing about ours
            place = next(place for place, name in enumerate(stated) if name != features.names[place])
            raise ConfigError(
                f"{self.path}: the file says that its feature {place + 1} is {stated[place]}; in the list {features.name!r} "
                f"it is {features.names[place]}. Name the file's own list with --features FILE, one name a line."
            )


def read_legacy(path: Path, *, scaler_file: Path | None = None) -> LegacyModel:
    """The model in a file of torch.save; nothing of the file is executed.

    Args:
        path: the .pt file.
        scaler_file: .npz or .json with the vectors mean and scale, for a model whose scaler was kept apart.

    Raises:
        ConfigError: a file is missing or cannot be read.
        BundleError: refused: hostile, damaged, of another network, or saying two things at once.
    """
    if not str(path).isprintable():  # the name goes into manifests and pages
        raise ConfigError(f"{excerpt(path)}: the path holds characters that cannot be shown. Rename the file.")
    given = [] if scaler_file is None else [read_scaler_file(scaler_file)]
    subject = str(path)
    document, sha256 = read_document(path)
    state, beside = _parts(document, subject=subject)
    layers = {name: value for name, value in state.items() if name not in _SPECIAL}
    family, tensors, rounded = family_and_tensors(_only_tensors(layers, subject=subject), subject=subject)
    num_features = int(tensors["linears.0.weight"].shape[1])
    found = [*scalers_in(state, beside, subject=subject), *given]
    scaler = one_scaler(found, num_features=num_features, subject=subject)
    clip = _above_zero(beside.get("input_clip_std"), name="input_clip_std", subject=subject)
    symbol = beside.get("symbol")
    return LegacyModel(
        path=path,
        sha256=sha256,
        family=family,
        tensors=tensors,
        scaler=None if scaler is None else scaler.scaler,
        scaler_from="" if scaler is None else scaler.source,
        temperature=_temperature(state, beside, subject=subject),
        feature_names=_feature_names(beside, found, num_features, subject=subject),
        input_clip_std=None if scaler is None else clip,
        symbol=excerpt(symbol) if isinstance(symbol, str) else None,
        notes=(*rounded, *_notes(beside, clip=clip, scaled=scaler is not None), *_pickles_beside(path)),
    )


def _parts(document: Mapping[str, Any], *, subject: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state without prefixes, and what stands beside it."""
    holders = [name for name in _STATES if name in document]
    if len(holders) > 1:
        raise BundleError(f"{subject} holds both {' and '.join(holders)}; which one counts is unknown. Leave only one.")
    if holders:
        state: Any = document[holders[0]]
        if not isinstance(state, Mapping):
            raise BundleError(f"{subject}: {holders[0]} must be a dictionary of tensors, was a {type(state).__name__}.")
    else:
        state = {name: value for name, value in document.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise BundleError(
            f"{subject} holds no state of a network, bare or under model_state_dict; its entries are "
            f"{shown(map(str, document)) or 'none'}. Write torch.save(model.state_dict(), 'new.pt')."
        )
    taken = holders or state.keys()
    beside = {str(name): value for name, value in document.items() if name not in taken}
    return without_prefixes(state, subject=subject), beside


def _only_tensors(layers: Mapping[str, Any], *, subject: str) -> dict[str, torch.Tensor]:
    strange = [
        f"{name} is a {type(value).__name__}" for name, value in layers.items() if not isinstance(value, torch.Tensor)
    ]
    if strange:
        raise BundleError(f"{subject}: a state holds tensors only; {shown(strange)}. Write model.state_dict() anew.")
    return dict(layers)


def _temperature(state: Mapping[str, Any], beside: Mapping[str, Any], *, subject: str) -> float | None:
    """What the logits are divided by; the learned one and a fitted one must agree, where both are there."""
    found: dict[str, float] = {}
    for where, entries in (("the file", beside), ("the state", state)):
        for name in (TEMPERATURE, LEARNED_TEMPERATURE):
            value = _number(entries.get(name), name=name, subject=subject)
            if value is not None:
                found[f"{name} of {where}"] = _exp(value) if name == LEARNED_TEMPERATURE else value
    for where, value in found.items():
        _above_zero(value, name=where.replace(LEARNED_TEMPERATURE, "exp(log_temperature)"), subject=subject)
    values = list(found.values())
    if any(not math.isclose(value, values[0], rel_tol=_SAME) for value in values):
        told = ", ".join(f"{where} is {value:g}" for where, value in found.items())
        raise BundleError(
            f"{subject}: two temperatures that disagree ({told}, as a divisor); which of them divided in production is "
            f"unknown. Leave only the right one."
        )
    return values[0] if values else None


def _exp(value: float) -> float:
    return math.exp(value) if value < 700.0 else math.inf


def _number(value: Any, *, name: str, subject: str) -> float | None:
    """A number or a tensor or array of one number; None of None."""
    if value is None:
        return None
    number = value.item() if isinstance(value, torch.Tensor | np.ndarray | np.generic) and _size(value) == 1 else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise BundleError(f"{subject}: {name} must be one number, was a {type(value).__name__}. Write the file anew.")
    return math.inf if abs(number) > _LARGEST else float(number)


def _size(value: Any) -> int:
    return int(value.numel() if isinstance(value, torch.Tensor) else value.size)


def _above_zero(value: Any, *, name: str, subject: str) -> float | None:
    number = _number(value, name=name, subject=subject)
    if number is not None and not 0.0 < number < math.inf:
        raise BundleError(
            f"{subject}: {name} must be a finite number above 0, was {number:g}. With it every answer is void: fit it "
            f"again, or take it out of the file."
        )
    return number


def _feature_names(
    beside: Mapping[str, Any], found: Iterable[FoundScaler], num_features: int, *, subject: str
) -> tuple[str, ...] | None:
    """The columns that the file names itself, or that its StandardScaler was fitted on."""
    own = beside.get("feature_names")
    if own is not None and not (isinstance(own, list | tuple) and all(isinstance(name, str) for name in own)):
        raise BundleError(f"{subject}: feature_names must be a list of texts, was a {type(own).__name__}.")
    stated = [tuple(names) for names in (own, *(one.feature_names for one in found)) if names]
    for names in stated:
        if names != stated[0]:
            raise BundleError(
                f"{subject}: feature_names are not those that its StandardScaler was fitted on; which of them is true is "
                f"unknown. Leave only the right ones."
            )
        if len(names) != num_features or len(set(names)) != num_features:
            raise BundleError(
                f"{subject}: {len(names)} feature names, {len(set(names))} of them different, for a network of "
                f"{num_features} features. The file is damaged: copy it again."
            )
    return stated[0] if stated else None


def _notes(beside: Mapping[str, Any], *, clip: float | None, scaled: bool) -> tuple[str, ...]:
    extra = [name for name in beside if name not in _KNOWN]
    ignored = (f"ignored, because it answers nothing: {shown(extra, at_most=12)}",) if extra else ()
    unscaled = clip is not None and not scaled
    return (*ignored, *(("input_clip_std is not used: there is no scaler whose inputs it clips",) if unscaled else ()))


def _pickles_beside(path: Path) -> tuple[str, ...]:
    """A sentence for each pickled scaler in the model's folder: it is easily taken for a part of the model."""
    try:
        entries = list(path.parent.iterdir())
    except OSError:  # a folder that may be entered and not listed: the model itself was read
        return ()
    lying = [one for one in entries if one.suffix.lower() in PICKLE_SUFFIXES and "scaler" in one.name.lower()]
    notes = [
        f"{excerpt(one.name)} lies beside the model and {pickled_scaler_remedy(one)}"
        for one in sorted(lying)[:_AT_MOST]
    ]
    more = [f"{len(lying) - _AT_MOST} more pickled scalers lie beside the model"] if len(lying) > _AT_MOST else []
    return (*notes, *more)
