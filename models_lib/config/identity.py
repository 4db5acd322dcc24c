"""Which settings make a model, or its figures, what they are: the same training, wherever it ran, has the same identity.

What does not belong here: the rest of a model's identity (models_lib.bundle.manifest, models_lib.training.channel).
"""

from pydantic import JsonValue

from models_lib.config.sections import EvaluationSection, TrainingSection

WHERE_NOT_WHAT = frozenset({"backend", "sagemaker", "device", "time_limit_minutes", "max_parallel"})
"""Fields of TrainingSection that say where a model is trained, not which model comes out."""


def identity_of_training(training: TrainingSection) -> dict[str, JsonValue]:
    """The training configuration as far as it makes the model what it is: the same on every backend."""
    return training.model_dump(mode="json", exclude=set(WHERE_NOT_WHAT))


def identity_of_evaluation(evaluation: EvaluationSection) -> dict[str, JsonValue]:
    """How figures are measured, without the controls: what is trained beside a model changes none of its figures."""
    return evaluation.model_dump(mode="json", exclude={"controls"})
