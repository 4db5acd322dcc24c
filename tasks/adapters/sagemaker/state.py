"""What AWS says about one training job, read once into plain values.

What does not belong here: asking for it (jobs.py, watch.py) and what an end means (ends.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from models_lib.errors import excerpt

_OVER: Final = frozenset({"Completed", "Failed", "Stopped"})


@dataclass(frozen=True)
class Transition:
    """One secondary status, as the job went through it."""

    status: str
    message: str


@dataclass(frozen=True)
class JobState:
    """A job at the moment of the question.

    Attributes:
        name: by which AWS knows it.
        arn: its full name.
        status: InProgress, Stopping, Completed, Failed, Stopped or Deleting.
        secondary: finer, such as Downloading, Interrupted or MaxRuntimeExceeded.
        reason: AWS's words about a failure, as they came; empty without one.
        transitions: every secondary status so far.
        hyperparameters: as they were sent.
        image: its URI.
        instance_type: kind of machine.
        spot: whether on spare machines.
        artefact: s3:// address of model.tar.gz; None when there is none.
        created_at: aware.
        started_at: when the training began; None before.
        ended_at: None before.
        training_seconds: wall time on the machine; None when AWS does not say.
        billed_seconds: what AWS bills; None when AWS does not say.
    """

    name: str
    arn: str
    status: str
    secondary: str
    reason: str
    transitions: tuple[Transition, ...]
    hyperparameters: Mapping[str, str]
    image: str
    instance_type: str
    spot: bool
    artefact: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    training_seconds: float | None
    billed_seconds: float | None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "JobState":
        """The answer of DescribeTrainingJob."""
        resources = answer.get("ResourceConfig", {})
        return cls(
            name=answer["TrainingJobName"],
            arn=answer.get("TrainingJobArn", ""),
            status=answer["TrainingJobStatus"],
            secondary=answer.get("SecondaryStatus", ""),
            reason=answer.get("FailureReason", ""),
            transitions=tuple(
                Transition(str(each.get("Status", "")), excerpt(each.get("StatusMessage", "")))
                for each in answer.get("SecondaryStatusTransitions", ())
            ),
            hyperparameters=dict(answer.get("HyperParameters", {})),
            image=answer.get("AlgorithmSpecification", {}).get("TrainingImage", ""),
            instance_type=resources.get("InstanceType", ""),
            spot=bool(answer.get("EnableManagedSpotTraining")),
            artefact=answer.get("ModelArtifacts", {}).get("S3ModelArtifacts") or None,
            created_at=answer.get("CreationTime", datetime.fromtimestamp(0, UTC)),
            started_at=answer.get("TrainingStartTime"),
            ended_at=answer.get("TrainingEndTime"),
            training_seconds=answer.get("TrainingTimeInSeconds"),
            billed_seconds=answer.get("BillableTimeInSeconds"),
        )

    @property
    def over(self) -> bool:
        """Whether it came to its end, good or bad."""
        return self.status in _OVER

    @property
    def ends(self) -> bool:
        """Whether it is over, or was told to stop: no model will come of it that is not there yet."""
        return self.over or self.status in {"Stopping", "Deleting"}

    def seconds(self, now: datetime) -> float:
        """Wall seconds of the training until its end, or until now; 0 before it began."""
        if self.training_seconds is not None and self.over:
            return float(self.training_seconds)
        if self.started_at is None:
            return 0.0
        return max(0.0, ((self.ended_at or now) - self.started_at).total_seconds())

    def billable_seconds(self, now: datetime) -> float:
        """What AWS bills, or will bill as far as one can know: where AWS does not say, the wall seconds."""
        return self.seconds(now) if self.billed_seconds is None else float(self.billed_seconds)
