"""What one job is asked for, from the training's content and the configuration: the same for a rehearsal and in earnest.

What does not belong here: AWS's form of it (request.py).
"""

from collections.abc import Sequence
from typing import Final

from models_lib.config import SageMakerSection
from models_lib.training.spec import TrainingSpec
from tasks.adapters.sagemaker.names import Keys
from tasks.adapters.sagemaker.request import JobOrder

OF_INPUTS: Final = "inputs_sha256"
"""The hyperparameter by which a job says what it trains."""


def order_of(
    name: str,
    spec: TrainingSpec,
    *,
    section: SageMakerSection,
    run_id: str,
    image: str,
    entry: str,
    inputs_sha256: str,
    keys: Keys,
    metrics: Sequence[tuple[str, str]],
) -> JobOrder:
    """The order of one training.

    Args:
        name: of the job.
        spec: what is trained.
        section: places and limits.
        run_id: the run that pays.
        image: URI of the training image.
        entry: path of the script in the archive.
        inputs_sha256: identity of what is trained.
        keys: where everything of the job lies.
        metrics: name and regular expression of each figure in the log.
    """
    return JobOrder(
        name=name,
        symbol=spec.symbol,
        run_id=run_id,
        image=image,
        entry=entry,
        archive_uri=f"{section.uri}/{keys.archive}",
        inputs_uri=f"{section.uri}/{keys.inputs}",
        checkpoints_uri=f"{section.uri}/{keys.checkpoints}",
        models_uri=f"{section.uri}/{keys.models}",
        hyperparameters=hyperparameters(section, inputs_sha256=inputs_sha256, device=spec.training.device),
        environment={},
        metrics=tuple(metrics),
    )


def hyperparameters(section: SageMakerSection, *, inputs_sha256: str, device: str) -> dict[str, str]:
    """What the script is called with, as --name value."""
    return {
        OF_INPUTS: inputs_sha256,
        "checkpoint_seconds": f"{section.checkpoint_seconds:g}",
        "device": device,
    }
