"""The lines of the ledger of costs, and the jobs that they come to.

    {"event": "reserved", ...}   a job may be created; its ceiling is taken from the budgets
    {"event": "settled", ...}    it has ended, and this is what was billed
    {"event": "released", ...}   it was not created: nothing will be billed

What does not belong here: the file, its lock and the budgets (ledger.py).
"""

import dataclasses
from datetime import date
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from models_lib.costs.jobs import CostLine, JobCost, Outcome
from models_lib.files import canonical_json

_Usd = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class _Line(BaseModel):
    """A line; a later version may have written more."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    time: AwareDatetime
    job: Annotated[str, Field(min_length=1)]

    def line(self) -> bytes:
        """As it stands in the file, without its line end."""
        return canonical_json(self.model_dump(mode="json"))


class Reserved(_Line):
    """A job may be created."""

    event: Literal["reserved"] = "reserved"
    run_id: str
    symbol: str
    backend: str
    instance_type: str
    spot: bool
    usd_per_hour: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    price_as_of: date
    price_source: str
    ceiling_usd: _Usd

    @classmethod
    def of(cls, line: CostLine, time: AwareDatetime) -> "Reserved":
        """The line for this job."""
        given = {field.name: getattr(line, field.name) for field in dataclasses.fields(line) if field.name != "price"}
        price = line.price
        return cls(
            time=time,
            usd_per_hour=price.usd_per_hour,
            price_as_of=price.as_of,
            price_source=price.source,
            **given,
        )

    def as_job(self) -> JobCost:
        """The job, which has not ended."""
        return JobCost(submitted_at=self.time, **self.model_dump(exclude={"event", "time"}))


class Settled(_Line):
    """A job has ended; `time` is when."""

    event: Literal["settled"] = "settled"
    billable_seconds: _Seconds
    training_seconds: _Seconds | None
    cost_usd: _Usd
    outcome: Outcome


class Released(_Line):
    """A job was not created."""

    event: Literal["released"] = "released"


AnyLine = Annotated[Reserved | Settled | Released, Field(discriminator="event")]
_PARSER: TypeAdapter[Reserved | Settled | Released] = TypeAdapter(AnyLine)


@dataclasses.dataclass(frozen=True)
class Record:
    """What the file says.

    Attributes:
        jobs: by name, in the order of their submission; released ones are not among them.
        released: jobs that were not created, which may yet be reserved again or settled.
        damaged: numbers of the lines, from 1, that cannot be read; all others count.
    """

    jobs: dict[str, JobCost]
    released: dict[str, JobCost]
    damaged: tuple[int, ...]


def read_record(content: bytes) -> Record:
    """The jobs that a ledger's lines come to. A line that cannot be read, or is about no known job, is told of."""
    jobs: dict[str, JobCost] = {}
    released: dict[str, JobCost] = {}
    damaged = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            _enter(_PARSER.validate_json(line), jobs, released)
        except (ValidationError, KeyError):
            damaged.append(number)
    return Record(jobs, released, tuple(damaged))


def _enter(line: Reserved | Settled | Released, jobs: dict[str, JobCost], released: dict[str, JobCost]) -> None:
    match line:
        case Reserved():
            released.pop(line.job, None)
            jobs.setdefault(line.job, line.as_job())
        case Settled():
            known = jobs.get(line.job) or released.pop(line.job)
            jobs[line.job] = _settled(known, line) if known.outcome is None else known
        case Released() if line.job in jobs:
            released[line.job] = jobs.pop(line.job)


def _settled(job: JobCost, line: Settled) -> JobCost:
    figures = line.model_dump(include={"billable_seconds", "training_seconds", "cost_usd", "outcome"})
    return dataclasses.replace(job, ended_at=line.time, **figures)
