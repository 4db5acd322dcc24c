"""What a test may choose about the stand-in of AWS, and the errors that it answers with.

What does not belong here: what is done with it.
"""

import fnmatch
import re
import threading
from dataclasses import dataclass, field
from typing import Any, Final

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-central-1"
CALLER: Final = "caller"
"""As a principal in `denied`: whoever holds the access key; every other principal is the name of a role."""

EYES: Final = "crpbot-tests-eyes"
"""In the user agent of a test's own looks, which are neither counted nor refused."""


class AwsError(Exception):
    """An answer that is an error.

    Args:
        code: AWS's code; what clients look at.
        message: AWS-like words; what clients must not look at.
        status: of HTTP.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass
class Pace:
    """How fast a job lives.

    Attributes:
        delays: seconds that a status lasts at least, by its name: Starting, Downloading, Uploading, Interrupted.
        grace_seconds: between SIGTERM and SIGKILL; 120 at AWS.
        seconds_per_second: of the job's time for each of ours: 60 lets a limit of 600 s strike after ten.
        logs_late_seconds: after the first line, until CloudWatch shows any; the stream is not found before.
        spot_saving: share of the training time that is not billed on spot instances.
        runner: "toolkit" is the real `train`; "direct" is `python train.py` with the same folders and variables, which
            saves the seconds of the toolkit's imports.
        hidden: packages that the container's image does not have although this machine does.
    """

    delays: dict[str, float] = field(default_factory=dict)
    grace_seconds: float = 1.0
    seconds_per_second: float = 1.0
    logs_late_seconds: float = 0.0
    spot_saving: float = 0.6
    runner: str = "toolkit"
    hidden: tuple[str, ...] = (
        "asyncssh",
        "apprise",
        "ccxt",
        "matplotlib",
        "numba",
        "onnx",
        "onnxruntime",
        "pandas",
        "prefect",
        "pyarrow",
        "rich",
        "slack_sdk",
        "tensorboard",
    )


@dataclass
class Fault:
    """An answer that comes instead of the right one, so many times."""

    code: str
    status: int
    times: int


@dataclass
class Interruption:
    """When a container ends against its will: by a signal of the operating system, or of the spot market.

    Attributes:
        job: name or pattern (crpbot-btc*).
        spot: whether AWS takes the instance back, and starts the job again later.
        script: SIGKILL for the user's script alone, as the OOM killer likes to choose; the toolkit lives to tell.
        after_checkpoints: so many files were copied to S3 during training.
        pattern: a regular expression ...
        after_lines: ... that so many lines of the log match. With none of these: at once.
    """

    job: str
    spot: bool = False
    script: bool = False
    after_checkpoints: int = 0
    pattern: str = ""
    after_lines: int = 0

    def meets(self, job: str) -> bool:
        """Whether it is for that job."""
        return fnmatch.fnmatchcase(job, self.job)


@dataclass
class Settings:
    """Everything that a test may choose, and what was counted; made anew by a reset.

    Attributes:
        quotas: instances by (type, spot); None: AWS does not list it.
        prices: US dollars per hour by instance type.
        denied: (action, principal); a principal of None is everybody. Actions as in IAM policies, with patterns.
        faults: by action.
        bucket_regions: of buckets that are not in the region of the request.
        requests: how often each action was asked for.
    """

    pace: Pace = field(default_factory=Pace)
    quotas: dict[tuple[str, bool], int | None] = field(default_factory=dict)
    prices: dict[str, float] = field(default_factory=dict)
    denied: set[tuple[str, str | None]] = field(default_factory=set)
    faults: dict[str, Fault] = field(default_factory=dict)
    bucket_regions: dict[str, str] = field(default_factory=dict)
    interruptions: list[Interruption] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)

    def is_denied(self, action: str, principal: str) -> bool:
        """Whether a principal may not do it."""
        return any(
            fnmatch.fnmatchcase(action, denied) and who in (None, principal) for denied, who in list(self.denied)
        )

    def count(self, action: str) -> None:
        """One more request; raises what was ordered for it."""
        with self.lock:
            self.requests[action] = self.requests.get(action, 0) + 1
            fault = self.faults.get(action)
            if fault and fault.times > 0:
                fault.times -= 1
                raise AwsError(fault.code, f"{fault.code}: as ordered by the test", fault.status)

    def taken(self, job: str, *, spot: bool, checkpoints: int, lines: list[str]) -> Interruption | None:
        """The interruption that is due for a job, which is then spent."""
        with self.lock:
            for interruption in self.interruptions:
                seen = sum(bool(re.search(interruption.pattern, line)) for line in lines) if interruption.pattern else 0
                if (
                    interruption.meets(job)
                    and (spot or not interruption.spot)
                    and checkpoints >= interruption.after_checkpoints
                    and seen >= interruption.after_lines
                ):
                    self.interruptions.remove(interruption)
                    return interruption
        return None
