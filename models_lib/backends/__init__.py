"""Where a training runs: the contract that every backend keeps, and the local one.

Not here: what a training is (models_lib.training), which symbols run at once (flows), clouds (tasks/adapters).
"""

from models_lib.backends.contract import Job, OnProgress, TrainedModel, TrainingBackend, train
from models_lib.backends.gpu import uses_gpu
from models_lib.backends.local import LocalBackend, end_trainings

__all__ = [
    "Job",
    "LocalBackend",
    "OnProgress",
    "TrainedModel",
    "TrainingBackend",
    "end_trainings",
    "train",
    "uses_gpu",
]
