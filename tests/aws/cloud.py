"""AWS on loopback, as a test sees it: training jobs that live, and everything that they need.

with Weed(folder / "s3") as weed, Cloud(weed, folder / "aws") as cloud:
    cloud.use(monkeypatch)
    role = cloud.with_role("crpbot-training")
    image = cloud.with_image("pytorch-training", "2.10-cpu-py313")
    bucket = cloud.with_bucket()
    cloud.with_quota("ml.g5.xlarge", 1)
    ...

A job runs the real `train` of AWS's toolkit in a process namespace of its own. `cloud.configure(runner="direct")` runs
the script without the toolkit, which saves its seconds of imports: for tests that are not about the container. The
container sees none of the packages in Pace.hidden (cloud_settings.py), nor this project: only the archive's own code.

The server is a process of its own, so that its threads and warnings are no matter of the test's process; it ends with it.
S3 is the real server that `weed` is. Signatures are checked there alone; elsewhere the access key is.

What does not belong here: how the stand-in answers (cloud_server.py).
"""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import pytest
from botocore.config import Config

from models_lib.orphans import descendants
from tests.aws.cloud_settings import ACCOUNT, EYES, REGION, Interruption
from tests.aws.weed import Weed

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
DLC_ACCOUNT = "763104351884"
"""Whose registry has AWS's own images."""
ENDED = ("Completed", "Failed", "Stopped")
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class SeenJob:
    """A job that was accepted, as AWS's own people would see it.

    Attributes:
        folder: below it one folder for each attempt, as /opt/ml was in the container.
        billable_seconds: zero until an instance was taken.
    """

    name: str
    status: str
    secondary: str
    reason: str
    instance_type: str
    spot: bool
    training_seconds: int
    billable_seconds: int
    folder: str


class Cloud:
    """The stand-in, from entering the context to leaving it.

    Attributes:
        port: on 127.0.0.1.
        account: of the caller.
        region: of everything.

    Args:
        weed: the S3 server; must run longer.
        folder: for its files and the jobs' folders; made, and removed at the end.
    """

    account = ACCOUNT
    region = REGION

    def __init__(self, weed: Weed, folder: Path) -> None:
        self.weed, self.port = weed, 0
        self._folder, self._log = folder, folder / "cloud.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: dict[str, Any] = {}

    def environment(self, *, s3_through_cloud: bool = False) -> dict[str, str]:
        """What clients need to come here and to the S3 server, and nowhere else.

        Args:
            s3_through_cloud: S3 by way of this server, where buckets have regions (with_bucket) and the caller's
                permissions for S3 can be denied.
        """
        here = f"http://127.0.0.1:{self.port}"
        more = {"AWS_ENDPOINT_URL_S3": here} if s3_through_cloud else {}
        return self.weed.environment() | {"AWS_ENDPOINT_URL": here} | more

    def use(self, monkeypatch: pytest.MonkeyPatch, *, s3_through_cloud: bool = False) -> None:
        """Sets this process's environment so that clients made from now on come here."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in self.environment(s3_through_cloud=s3_through_cloud).items():
            monkeypatch.setenv(name, value)

    def client(self, service: str) -> Any:
        """A plain client, whatever the environment says: for setting up and for looking behind what is tested.

        Its requests are not counted, denied or failed.
        """
        if service == "s3":
            return self.weed.client()
        if service not in self._clients:
            known = self.environment()
            self._clients[service] = boto3.session.Session().client(
                service,  # type: ignore[call-overload]  # one name of many, each with a type of its own
                endpoint_url=known["AWS_ENDPOINT_URL"],
                aws_access_key_id=known["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=known["AWS_SECRET_ACCESS_KEY"],
                region_name=self.region,
                config=Config(
                    retries={"total_max_attempts": 1},
                    connect_timeout=2,
                    read_timeout=20,
                    proxies={},
                    user_agent_extra=EYES,
                ),
            )
        return self._clients[service]

    def with_role(
        self, name: str = "crpbot-training", *, trust: str | Sequence[str] = "sagemaker.amazonaws.com"
    ) -> str:
        """ARN of a new role that services may take on."""
        services = trust if isinstance(trust, str) else list(trust)
        statement = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        role = self.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)
        return str(role["Role"]["Arn"])

    def with_image(self, repository: str, tag: str, *, registry: str = DLC_ACCOUNT) -> str:
        """URI of an image that is there; the repository is made when it is not."""
        ecr = self.client("ecr")
        with contextlib.suppress(ecr.exceptions.RepositoryAlreadyExistsException):
            ecr.create_repository(registryId=registry, repositoryName=repository)
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": {"size": 1, "digest": tag}, "layers": []}
        ecr.put_image(registryId=registry, repositoryName=repository, imageTag=tag, imageManifest=json.dumps(manifest))
        return f"{registry}.dkr.ecr.{self.region}.amazonaws.com/{repository}:{tag}"

    def with_bucket(self, *, region: str | None = None) -> str:
        """Name of a new bucket; with a region elsewhere only clients with s3_through_cloud, and jobs, see it there."""
        name = self.weed.fresh_bucket()
        self._order("bucket_region", bucket=name, region=region or self.region)
        return name

    def with_quota(self, instance_type: str, instances: int | None, *, spot: bool = False) -> None:
        """How many instances may train at once; None: Service Quotas lists AWS's default alone."""
        self._order("quota", instance_type=instance_type, instances=instances, spot=spot)

    def with_price(self, instance_type: str, usd: float) -> None:
        """US dollars per hour in the price list; types without one are not listed."""
        self._order("price", instance_type=instance_type, usd=usd)

    def deny(self, action: str, *, principal: str | None = None) -> None:
        """From now on an action is denied, as in sagemaker:CreateTrainingJob, s3:*, iam:PassRole.

        Args:
            action: as in policies, with * and ?.
            principal: "caller", or a role's name; None: everybody.
        """
        self._order("deny", action=action, principal=principal)

    def allow(self, action: str, *, principal: str | None = None) -> None:
        """Takes a `deny` back."""
        self._order("allow", action=action, principal=principal)

    def fail(self, action: str, code: str = "ThrottlingException", *, status: int = 400, times: int = 1) -> None:
        """The next requests for an action get an error."""
        self._order("fail", action=action, code=code, status=status, times=times)

    def configure(self, **pace: Any) -> None:
        """Sets fields of Pace (cloud_settings.py) for jobs created from now on."""
        self._order("configure", **pace)

    def interrupt_spot(
        self, job: str = "*", *, after_checkpoints: int = 0, pattern: str = "", after_lines: int = 0
    ) -> None:
        """AWS takes the instance of a spot job back, once: at once, or when what is said has happened in training.

        Args:
            job: name, or a pattern with *; need not exist yet.
            after_checkpoints: so many files were copied to CheckpointConfig.S3Uri.
            pattern: a regular expression ...
            after_lines: ... that so many lines of the log match.
        """
        said = Interruption(job, True, False, after_checkpoints, pattern, after_lines)
        self._order("interrupt", **asdict(said))

    def kill(
        self,
        job: str = "*",
        *,
        script: bool = False,
        after_checkpoints: int = 0,
        pattern: str = "",
        after_lines: int = 0,
    ) -> None:
        """SIGKILL for the container of a job, or for the user's script in it, once; conditions as in interrupt_spot."""
        said = Interruption(job, False, script, after_checkpoints, pattern, after_lines)
        self._order("interrupt", **asdict(said))

    def jobs(self) -> list[SeenJob]:
        """All jobs that were accepted, in their order: without any, nothing is billed."""
        return [SeenJob(**job) for job in self._order("jobs")]

    def requests(self) -> dict[str, int]:
        """How often each action was asked for, refused ones included."""
        return dict(self._order("requests"))

    def wait(self, job: str, *, until: Sequence[str] = ENDED, timeout_seconds: float = 120.0) -> dict[str, Any]:
        """What DescribeTrainingJob says when the status or the secondary status is one of those."""
        deadline = time.monotonic() + timeout_seconds
        pause = threading.Event()
        while True:
            said: dict[str, Any] = self.client("sagemaker").describe_training_job(TrainingJobName=job)
            if {said["TrainingJobStatus"], said["SecondaryStatus"]} & set(until):
                return said
            assert time.monotonic() < deadline, f"{job} is still {said['SecondaryStatus']}:\n{self.log(job)}"
            pause.wait(0.05)

    def log(self, job: str) -> list[str]:
        """The lines of all attempts of a job in CloudWatch; none while there is no stream."""
        logs = self.client("logs")
        try:
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=LOG_GROUP, logStreamNamePrefix=f"{job}/algo-"
            )
            return [event["message"] for page in pages for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []

    def processes(self) -> list[int]:
        """Everything that the server started and that still runs."""
        assert self._process is not None
        return sorted(descendants(self._process.pid))

    def reset(self) -> None:
        """Forgets everything but S3; no process of a job is left."""
        self._order("reset")

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        known = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        dies_with_this_process = [sys.executable, "-m", "models_lib.orphans", str(os.getpid())]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*dies_with_this_process, sys.executable, "-m", "tests.aws.cloud_server", str(self._folder)],
                cwd=Path(__file__).resolve().parents[2],
                env=known | self.weed.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline, pause = time.monotonic() + _START_SECONDS, threading.Event()
        while not (self._folder / "port").exists():
            assert self._process.poll() is None, self._log.read_text(errors="replace")
            assert time.monotonic() < deadline, "the stand-in of AWS did not start"
            pause.wait(0.05)
        self.port = int((self._folder / "port").read_text())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _order(self, name: str, **said: Any) -> Any:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("POST", f"/_crpbot/{name}", json.dumps(said), {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
        assert response.status == http.client.OK, f"{name} {said}: {content[-2000:]!r}\n{self._log.read_text()[-4000:]}"
        return json.loads(content)["answer"]
