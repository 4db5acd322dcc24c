"""A network as plain arrays, and back: the only form in which weights leave or enter.

What does not belong here: files and their hashes (models_lib.bundle), golden vectors.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from models_lib.config import NetworkSection
from models_lib.errors import BundleError
from models_lib.networks.build import build_network
from models_lib.networks.direction import DirectionNetwork

SCALER_TENSORS = ("scaler_mean", "scaler_scale")


def state_tensors(network: DirectionNetwork) -> dict[str, npt.NDArray[np.float32]]:
    """Every tensor of the network by name, float32, as copies; scaler and learned temperature included."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in sorted(network.state_dict().items())}


def network_from_tensors(section: NetworkSection, tensors: Mapping[str, npt.NDArray[np.float32]]) -> DirectionNetwork:
    """The network with exactly these tensors, in evaluation mode, on the CPU.

    A tensor `temperature` [1], the fitted one, may stand in place of `log_temperature`.

    Raises:
        BundleError: if a tensor (the scaler above all) is missing, unknown, of another shape or not float32.
    """
    given = dict(tensors)
    if "temperature" in given and "log_temperature" not in given:
        given["log_temperature"] = np.log(given.pop("temperature"))
    network = _empty_network(section, given)
    _check_tensors(network, given, section.family)
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in given.items()})
    return network.eval()


class _UnitScaler:
    """A scaler of the right size; its values are replaced at once."""

    def __init__(self, num_features: int) -> None:
        self.mean = np.zeros(num_features)
        self.scale = np.ones(num_features)


def _empty_network(section: NetworkSection, tensors: Mapping[str, npt.NDArray[np.float32]]) -> DirectionNetwork:
    first = tensors.get("linears.0.weight")
    if first is None or first.ndim != 2:
        raise BundleError("the model has no first layer linears.0.weight [256, F]. It is damaged: train it again.")
    num_features = first.shape[1]
    scaler = None if section.family == "v6" else _UnitScaler(num_features)
    return build_network(section, num_features=num_features, scaler=scaler, generator=torch.Generator())


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
