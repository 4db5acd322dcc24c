"""A network as plain arrays, and back: the only form in which weights leave or enter.

What does not belong here: files and their hashes (models_lib.bundle), golden vectors.
"""

from collections.abc import Mapping
from typing import overload

import numpy as np
import numpy.typing as npt
import torch

from models_lib.architecture import (
    OWN_TEMPERATURE,
    Architecture,
    EnsembleArchitecture,
    RepairedArchitecture,
    member_prefix,
    member_tensors,
)
from models_lib.config import NetworkSection
from models_lib.errors import BundleError
from models_lib.networks.build import build_network
from models_lib.networks.direction import DirectionNetwork
from models_lib.networks.repaired import EnsembleNetwork, RepairedNetwork

SCALER_TENSORS = ("scaler_mean", "scaler_scale")


def state_tensors(network: DirectionNetwork) -> dict[str, npt.NDArray[np.float32]]:
    """Every tensor of the network by name, float32, as copies; scaler and learned temperature included."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in sorted(network.state_dict().items())}


@overload
def network_from_tensors(
    architecture: NetworkSection | RepairedArchitecture, tensors: Mapping[str, npt.NDArray[np.float32]]
) -> DirectionNetwork: ...


@overload
def network_from_tensors(
    architecture: Architecture, tensors: Mapping[str, npt.NDArray[np.float32]]
) -> DirectionNetwork | EnsembleNetwork: ...


def network_from_tensors(
    architecture: Architecture, tensors: Mapping[str, npt.NDArray[np.float32]]
) -> DirectionNetwork | EnsembleNetwork:
    """The network with exactly these tensors, in evaluation mode, on the CPU.

    A tensor `temperature` [1], the fitted one, may stand in place of `log_temperature`; in a repaired network and in an
    ensemble it must.

    Raises:
        BundleError: if a tensor (the scaler above all) is missing, unknown, of another shape or not float32.
    """
    match architecture:
        case EnsembleArchitecture():
            return _ensemble(architecture, tensors)
        case RepairedArchitecture(network=section):
            repaired = RepairedNetwork(_num_features(tensors), architecture=architecture)
            return _filled(repaired, tensors, f"{section.family}-repaired")
    given = dict(tensors)
    if "temperature" in given and "log_temperature" not in given:
        given["log_temperature"] = np.log(given.pop("temperature"))
    return _filled(_empty_network(architecture, given), given, architecture.family)


def _ensemble(ensemble: EnsembleArchitecture, tensors: Mapping[str, npt.NDArray[np.float32]]) -> EnsembleNetwork:
    networks, temperatures = [], []
    for place, (member, own) in enumerate(zip(ensemble.members, member_tensors(ensemble, tensors), strict=True)):
        try:
            networks.append(network_from_tensors(member.architecture, own))
            temperatures.append(_temperature(own))
        except BundleError as error:
            raise BundleError(f"{member_prefix(place)}*: {error}") from error
    return EnsembleNetwork(
        ensemble, members=networks, temperatures=temperatures, temperature=_temperature(tensors)
    ).eval()


def _temperature(tensors: Mapping[str, npt.NDArray[np.float32]]) -> float:
    if OWN_TEMPERATURE not in tensors:
        raise BundleError("the model has no fitted temperature. Fit one and write the bundle again.")
    return float(tensors[OWN_TEMPERATURE].item())


def _filled(network: DirectionNetwork, tensors: Mapping[str, npt.NDArray[np.float32]], family: str) -> DirectionNetwork:
    """The network with these tensors, after their names, shapes and types were found to be its own."""
    _check_tensors(network, tensors, family)
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in tensors.items()})
    return network.eval()


class _UnitScaler:
    """A scaler of the right size; its values are replaced at once."""

    def __init__(self, num_features: int) -> None:
        self.mean = np.zeros(num_features)
        self.scale = np.ones(num_features)


def _empty_network(section: NetworkSection, tensors: Mapping[str, npt.NDArray[np.float32]]) -> DirectionNetwork:
    num_features = _num_features(tensors)
    scaler = None if section.family == "v6" else _UnitScaler(num_features)
    return build_network(section, num_features=num_features, scaler=scaler, generator=torch.Generator())


def _num_features(tensors: Mapping[str, npt.NDArray[np.float32]]) -> int:
    first = tensors.get("linears.0.weight")
    if first is None or first.ndim != 2:
        raise BundleError("the model has no first layer linears.0.weight [256, F]. It is damaged: train it again.")
    return int(first.shape[1])


def _check_tensors(network: DirectionNetwork, tensors: Mapping[str, npt.NDArray[np.float32]], family: str) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    missing = sorted(wanted.keys() - tensors.keys())
    if any(name in missing for name in SCALER_TENSORS):
        raise BundleError(
            f"the {family} model has no scaler ({', '.join(n for n in SCALER_TENSORS if n in missing)} missing): its "
            "logits would mean nothing. Train it again; never predict without the scaler."
        )
    unknown = sorted(tensors.keys() - wanted.keys())
    if missing or unknown:
        raise BundleError(
            f"the {family} model's tensors are not those of the network: missing {missing}, unknown {unknown}. "
            "It is damaged or of another family: check network.family."
        )
    for name, shape in wanted.items():
        array = tensors[name]
        if array.shape != shape or array.dtype != np.float32:
            raise BundleError(
                f"tensor {name} must be float32 {list(shape)}, was {array.dtype} {list(array.shape)}. "
                "The file is damaged: train the model again."
            )
