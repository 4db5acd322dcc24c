"""The place where a run's trainings happen, as its configuration says.

What does not belong here: how a place works (models_lib.backends, tasks.adapters.sagemaker).
"""

from models_lib.backends import LocalBackend, TrainingBackend
from models_lib.steps.plan import RunPlan


def open_backend(plan: RunPlan) -> TrainingBackend:
    """The backend that `training.backend` names."""
    match plan.config.training.backend:
        case "local":
            return LocalBackend()
        case "sagemaker":
            from tasks.adapters.sagemaker.workplace import open_sagemaker  # noqa: PLC0415 - boto3 only where it is used

            return open_sagemaker(plan)
