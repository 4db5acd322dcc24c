"""The sections about AWS: the region, where things are kept, and what a training job may use and cost (SPEC 13).

Credentials come from the environment, as AWS's own tools take them (AWS_PROFILE, AWS_ACCESS_KEY_ID ...); so does another
endpoint than AWS's (AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3). What must be chosen has no default: which account, bucket
and role, and how much money.

What does not belong here: prices, images and kinds of machines, which change with the calendar (tasks/adapters/sagemaker/tables.yaml).
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models_lib.config.section import PositiveFloat, Section

AwsRegion = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$")]
S3Uri = Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._=-]+)*$", max_length=512)]
"""s3://bucket or s3://bucket/prefix, without a slash at the end."""


class AwsSection(Section):
    """What every use of AWS shares."""

    region: AwsRegion | None = None
    """Region of the buckets, the image and the jobs, such as eu-central-1. No default: a wrong one costs hours."""


class StorageSection(Section):
    """Where bundles, verdicts, pointers and the ledger are kept (SPEC 11), and whether finished steps are shared."""

    kind: Literal["local", "s3"] = "local"
    """`local`: in the state folder; `s3`: below `uri`. Two kinds are two registries: each has champions of its own."""
    uri: S3Uri | None = None
    """Where the S3 store keeps everything; required for `s3` and for shared results."""
    results: Literal["local", "s3"] = "local"
    """`s3`: results of finished steps are kept below `uri`, too, so that another machine resumes what this one began."""

    @model_validator(mode="after")
    def _s3_has_a_place(self) -> Self:
        if self.uri is None and "s3" in (self.kind, self.results):
            raise ValueError("storage.uri must be set where storage.kind or storage.results is s3: s3://bucket/prefix")
        return self


class SageMakerSection(Section):
    """One SageMaker training job a symbol: where, on what, for how long, and for how much money."""

    uri: S3Uri | None = None
    """Where inputs, source archive, checkpoints and models of the jobs go; required for the backend."""
    role_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$")] | None = None
    """The role that a job runs as: it must trust sagemaker.amazonaws.com; required for the backend."""
    instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")] = "ml.g5.xlarge"
    """Kind of machine, one a job."""
    image: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """Name of a row of the reviewed image table, or a whole URI. Null: the table's row with this project's version of
    torch for the instance's kind of device."""
    tables: Path | None = None
    """YAML file of images, machines and prices in place of the reviewed one that ships with this project."""
    spot: bool = False
    """Spare machines at a lower price, which AWS may take back: the training goes on from its last checkpoint."""
    max_runtime_seconds: Annotated[int, Field(ge=60, le=432_000)] = 7_200
    """A job is stopped after so long; it bounds what the job can cost."""
    max_wait_seconds: Annotated[int, Field(ge=60, le=864_000)] = 14_400
    """With spot: the longest time from submission to end, waiting for machines included; at least max_runtime_seconds."""
    volume_gb: Annotated[int, Field(ge=1, le=16_384)] = 100
    """Disk of a job."""
    checkpoint_seconds: PositiveFloat = 60.0
    """Shortest time between two checkpoints, each at the end of an epoch. SIGTERM cannot be relied on in the container."""
    poll_seconds: Annotated[float, Field(ge=0.05, le=60.0)] = 10.0
    """How often a running job is looked at."""
    approval: Literal["required", "auto"] = "required"
    """`required`: a person approves the ceiling of the costs before jobs are submitted; `auto` asks nobody, and needs
    both budgets."""
    budget_per_run_usd: PositiveFloat | None = None
    """The most that the jobs of one run may cost together, at their time limits; null: no limit but a person's."""
    budget_per_month_usd: PositiveFloat | None = None
    """The most that jobs may cost in one UTC month: what was billed, and the ceilings of what runs; null: no limit."""
    alarm_topic_arn: (
        Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$")] | None
    ) = None
    """SNS topic of a CloudWatch alarm on failed jobs; null makes no alarm."""

    @model_validator(mode="after")
    def _waits_at_least_as_long_as_it_runs(self) -> Self:
        if self.spot and self.max_wait_seconds < self.max_runtime_seconds:
            raise ValueError(
                f"max_wait_seconds must be at least max_runtime_seconds ({self.max_runtime_seconds}) with spot, "
                f"was {self.max_wait_seconds}"
            )
        return self

    def missing(self) -> tuple[str, ...]:
        """What must be set before the backend can be used, as dotted keys."""
        needed: dict[str, object] = {"uri": self.uri, "role_arn": self.role_arn}
        if self.approval == "auto":
            needed |= {
                "budget_per_run_usd": self.budget_per_run_usd,
                "budget_per_month_usd": self.budget_per_month_usd,
            }
        return tuple(f"training.sagemaker.{name}" for name, value in needed.items() if value is None)
