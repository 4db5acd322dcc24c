"""Fitting a network: the loop, its schedules, its history, and the process it runs in.

Here: plain torch on whole arrays in memory. `trainer` is the loop, `worker` runs it as a process of its own from a
`TrainingSpec`. Importing this package loads no torch: import `models_lib.training.trainer` where the loop is needed.

Not here: what is kept of a model (models_lib.bundle), the judgement on the test rows (models_lib.evaluation), who
starts the process (models_lib.backends).
"""

from models_lib.training.data import TrainingData
from models_lib.training.history import EpochRecord, StepProgress, Stop, TrainingHistory
from models_lib.training.spec import TrainingSpec, write_training_inputs

__all__ = [
    "EpochRecord",
    "StepProgress",
    "Stop",
    "TrainingData",
    "TrainingHistory",
    "TrainingSpec",
    "write_training_inputs",
]
