"""The SageMaker backend."""

from models_lib.backends import Job, OnProgress, TrainedModel
from models_lib.steps.plan import RunPlan
from models_lib.training.spec import TrainingSpec


class SageMakerBackend:
    """Trains in a SageMaker job."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan

    def submit(self, spec: TrainingSpec) -> Job:
        """To be written."""
        raise NotImplementedError

    def wait(self, job: Job, *, on_progress: OnProgress) -> None:
        """To be written."""
        raise NotImplementedError

    def collect(self, job: Job) -> TrainedModel:
        """To be written."""
        raise NotImplementedError

    def cancel(self, job: Job) -> None:
        """To be written."""
        raise NotImplementedError
