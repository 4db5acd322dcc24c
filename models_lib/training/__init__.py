"""Fitting a network: the loop, its schedules, its history, and the process it runs in.

Here: whole arrays in memory. `trainer` is the loop, `stepping` its step, which others do faster on their device (`choice`);
`worker` runs it as a process of its own from a `TrainingSpec`, `container` in AWS's container from a channel of files.
Importing this package loads no torch: import `models_lib.training.trainer` where the loop is needed.

Names are imported when they are first used: the container tells of a missing library, and for that it must be importable
without any.

Not here: what is kept of a model (models_lib.bundle), the judgement on the test rows (models_lib.evaluation), who
starts the process (models_lib.backends).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models_lib.training.data import TrainingData
    from models_lib.training.history import EpochRecord, StepProgress, Stop, TrainingHistory
    from models_lib.training.spec import TrainingSpec, write_training_inputs

_MODULES = {
    "data": ("TrainingData",),
    "history": ("EpochRecord", "StepProgress", "Stop", "TrainingHistory"),
    "spec": ("TrainingSpec", "write_training_inputs"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "EpochRecord",
    "StepProgress",
    "Stop",
    "TrainingData",
    "TrainingHistory",
    "TrainingSpec",
    "write_training_inputs",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
