"""The networks between raw features and logits, their losses, and their tensors as plain arrays.

Here: modules, losses, the way in and out of arrays. A network holds its own scaler, so it cannot be used without it.
Not here: how weights are fitted (models_lib.training), the fitted temperature (models_lib.calibration) and files.

Shapes: B rows of a batch, T steps, F features, W units of a layer, C = 3 classes (0 DOWN, 1 NEUTRAL, 2 UP).
"""

from models_lib.networks.build import build_network
from models_lib.networks.direction import AdaptiveNetwork, BatchNormNetwork, DirectionNetwork, LegacyNetwork
from models_lib.networks.losses import class_weights, loss_function
from models_lib.networks.norms import AdaptiveNorm, BatchNorm
from models_lib.networks.repaired import EnsembleNetwork, RepairedNetwork
from models_lib.networks.tensors import network_from_tensors, state_tensors

__all__ = [
    "AdaptiveNetwork",
    "AdaptiveNorm",
    "BatchNorm",
    "BatchNormNetwork",
    "DirectionNetwork",
    "EnsembleNetwork",
    "LegacyNetwork",
    "RepairedNetwork",
    "build_network",
    "class_weights",
    "loss_function",
    "network_from_tensors",
    "state_tensors",
]
