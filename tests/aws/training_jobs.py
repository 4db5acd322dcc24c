"""SageMaker's API of training jobs: what is refused, what is accepted, and what is said about a job.

The order of the checks and the codes are AWS's; the words are like AWS's. Features that no container here could honour
are refused, so that a test cannot pass because they were ignored.

What does not belong here: the life of a job that was accepted (job_life.py).
"""

import json
import math
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from moto.backends import get_backend

from tests.aws.cloud_settings import ACCOUNT, CALLER, AwsError, Settings
from tests.aws.job_life import TrainingJob
from tests.aws.quotas import quota_name, quota_of
from tests.aws.request_shapes import refuse_misshapen

_IMAGE: Final = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<repository>[^:@]+)"
    r"(:(?P<tag>[^@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_ECHOED: Final = (
    "TrainingJobName",
    "HyperParameters",
    "RoleArn",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "CheckpointConfig",
    "Environment",
    "RetryStrategy",
)


class TrainingJobs:
    """The jobs of one stand-in.

    Args:
        settings: of the stand-in.
        folder: for the folders of jobs.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._lock = threading.Lock()
        self.jobs: dict[str, TrainingJob] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self.answers: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
            "CreateTrainingJob": self.create,
            "DescribeTrainingJob": self.describe,
            "StopTrainingJob": self.stop,
            "ListTrainingJobs": self.listed,
            "AddTags": self.add_tags,
            "ListTags": self.list_tags,
        }

    def create(self, request: dict[str, Any], region: str) -> dict[str, Any]:
        """CreateTrainingJob."""
        refuse_misshapen("sagemaker", "CreateTrainingJob", request)
        _refuse_what_is_not_here(request)
        self._refuse_passing(request["RoleArn"])
        arn = f"arn:aws:sagemaker:{region}:{ACCOUNT}:training-job/{request['TrainingJobName']}"
        with self._lock:
            if request["TrainingJobName"] in self.jobs:
                raise AwsError(
                    "ResourceInUse",
                    f"Training job names must be unique within an AWS account and region, and a training job with this "
                    f"name already exists ({arn})",
                )
            _refuse_limits(request)
            _refuse_role(request["RoleArn"])
            _refuse_image(request["AlgorithmSpecification"]["TrainingImage"], region)
            self._refuse_over_quota(request)
            folder = self._folder / request["TrainingJobName"]
            job = TrainingJob(request, arn=arn, region=region, settings=self._settings, folder=folder)
            self.jobs[job.name] = job
            self._tags[arn] = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
        job.start()
        return {"TrainingJobArn": arn}

    def describe(self, request: dict[str, Any], region: str) -> dict[str, Any]:
        """DescribeTrainingJob."""
        refuse_misshapen("sagemaker", "DescribeTrainingJob", request)
        job = self._job(request["TrainingJobName"])
        algorithm = {"EnableSageMakerMetricsTimeSeries": False, **job.request["AlgorithmSpecification"]}
        said: dict[str, Any] = {name: job.request[name] for name in _ECHOED if name in job.request}
        said |= {
            "TrainingJobArn": job.arn,
            "AlgorithmSpecification": algorithm,
            "TrainingJobStatus": job.status,
            "SecondaryStatus": job.secondary,
            "SecondaryStatusTransitions": [dict(entry) for entry in list(job.transitions)],
            "CreationTime": job.created,
            "LastModifiedTime": job.modified,
            "EnableNetworkIsolation": False,
            "EnableInterContainerTrafficEncryption": False,
            "EnableManagedSpotTraining": job.spot,
            "ProfilingStatus": "Disabled",
        }
        metrics = list(job.metrics.items())
        if metrics:
            said["FinalMetricDataList"] = [
                {"MetricName": name, "Value": value, "Timestamp": at} for name, (value, at) in metrics
            ]
        if job.artifacts:
            said["ModelArtifacts"] = {"S3ModelArtifacts": job.artifacts}
        if job.reason:
            said["FailureReason"] = job.reason
        if job.started is not None:
            said["TrainingStartTime"] = job.started
        if job.is_over and job.started is not None:
            trained, billed = job.seconds()
            said |= {"TrainingEndTime": job.ended, "TrainingTimeInSeconds": trained, "BillableTimeInSeconds": billed}
        return said

    def stop(self, request: dict[str, Any], region: str) -> dict[str, Any]:
        """StopTrainingJob."""
        refuse_misshapen("sagemaker", "StopTrainingJob", request)
        job = self._job(request["TrainingJobName"])
        if job.is_over:
            raise AwsError(
                "ValidationException",
                f"The request was rejected because the training job is in status {job.status}.",
            )
        job.stop()
        return {}

    def listed(self, request: dict[str, Any], region: str) -> dict[str, Any]:
        """ListTrainingJobs, by creation, by name or by status."""
        refuse_misshapen("sagemaker", "ListTrainingJobs", request)
        by = {"Name": lambda job: job.name, "Status": lambda job: job.status}
        jobs = sorted(
            self.jobs.values(),
            key=by.get(request.get("SortBy", "CreationTime"), lambda job: job.created),
            reverse=request.get("SortOrder", "Descending") == "Descending",
        )
        jobs = [
            job
            for job in jobs
            if request.get("NameContains", "") in job.name
            and request.get("StatusEquals", job.status) == job.status
            and request.get("CreationTimeAfter", 0) <= job.created <= request.get("CreationTimeBefore", math.inf)
        ]
        first, most = int(request.get("NextToken", 0)), request.get("MaxResults", 10)
        following = {"NextToken": str(first + most)} if first + most < len(jobs) else {}
        return {"TrainingJobSummaries": [_summary(job) for job in jobs[first : first + most]], **following}

    def add_tags(self, request: dict[str, Any], region: str) -> dict[str, Any]:
        """AddTags, for jobs."""
        tags = self._tags_of(request)
        tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def list_tags(self, request: dict[str, Any], region: str) -> dict[str, Any]:
        """ListTags, for jobs."""
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._tags_of(request).items()]}

    def _tags_of(self, request: dict[str, Any]) -> dict[str, str]:
        if request.get("ResourceArn") not in self._tags:
            raise AwsError("ValidationException", "Requested resource not found.")
        return self._tags[request["ResourceArn"]]

    def end(self) -> None:
        """Ends all jobs; no process is left."""
        jobs = list(self.jobs.values())
        for job in jobs:
            job.stop()
        for job in jobs:
            job.end()

    def _job(self, name: str) -> TrainingJob:
        if name not in self.jobs:
            raise AwsError("ValidationException", "Requested resource not found.")
        return self.jobs[name]

    def _refuse_passing(self, role: str) -> None:
        if self._settings.is_denied("iam:PassRole", CALLER):
            raise AwsError(
                "AccessDeniedException",
                f"User: arn:aws:iam::{ACCOUNT}:user/operator is not authorized to perform: iam:PassRole on resource: "
                f"{role} because no identity-based policy allows the iam:PassRole action",
            )

    def _refuse_over_quota(self, request: dict[str, Any]) -> None:
        kind, spot = request["ResourceConfig"]["InstanceType"], bool(request.get("EnableManagedSpotTraining"))
        limit = quota_of(self._settings, kind, spot=spot)
        running = sum(not job.is_over and (job.instance_type, job.spot) == (kind, spot) for job in self.jobs.values())
        if running + request["ResourceConfig"]["InstanceCount"] > limit:
            raise AwsError(
                "ResourceLimitExceeded",
                f"The account-level service limit '{quota_name(kind, spot=spot)}' is {limit} Instances, with current "
                f"utilization of {running} Instances and a request delta of {request['ResourceConfig']['InstanceCount']} "
                f"Instances. Please use AWS Service Quotas to request an increase for this quota. If AWS Service Quotas "
                f"is not available, contact AWS support to request an increase for this quota.",
            )


def _summary(job: TrainingJob) -> dict[str, Any]:
    return {
        "TrainingJobName": job.name,
        "TrainingJobArn": job.arn,
        "CreationTime": job.created,
        "LastModifiedTime": job.modified,
        "TrainingJobStatus": job.status,
        "SecondaryStatus": job.secondary,
    } | ({"TrainingEndTime": job.ended} if job.ended else {})


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


def _refuse_what_is_not_here(request: dict[str, Any]) -> None:
    """What AWS knows and no container here can do."""
    known = {*_ECHOED, "AlgorithmSpecification", "Tags", "EnableManagedSpotTraining"}
    algorithm = request.get("AlgorithmSpecification", {})
    beyond = {
        "AlgorithmSpecification without an image": "TrainingImage" not in algorithm,
        "another input mode than File": algorithm.get("TrainingInputMode") != "File",
        "ContainerEntrypoint": {"ContainerEntrypoint", "ContainerArguments"} & set(algorithm),
        "TrainingImageConfig": "TrainingImageConfig" in algorithm,
        "CompressionType": request["OutputDataConfig"].get("CompressionType", "GZIP") != "GZIP",
        "CheckpointConfig.LocalPath outside /opt/ml": not request.get("CheckpointConfig", {})
        .get("LocalPath", "/opt/ml/checkpoints")
        .startswith("/opt/ml/"),
        "more than one instance": request.get("ResourceConfig", {}).get("InstanceCount", 1) != 1,
        "a channel that is not plain files of one prefix": not all(map(_is_plain, request.get("InputDataConfig", []))),
        **dict.fromkeys(sorted(set(request) - known), True),
    }
    if found := [name for name, here in beyond.items() if here]:
        raise AwsError("NotImplemented", f"the stand-in of SageMaker cannot do: {', '.join(found)}", 501)


def _is_plain(channel: dict[str, Any]) -> bool:
    return (
        channel.get("InputMode", "File") == "File"
        and channel.get("CompressionType", "None") == "None"
        and bool(channel["DataSource"].get("S3DataSource", {}).get("S3DataType") == "S3Prefix")
    )


def _refuse_limits(request: dict[str, Any]) -> None:
    resources, limits = request.get("ResourceConfig", {}), request.get("StoppingCondition", {})
    if not {"InstanceType", "InstanceCount", "VolumeSizeInGB"} <= set(resources):
        raise _invalid("ResourceConfig must have InstanceType, InstanceCount and VolumeSizeInGB.")
    if "MaxRuntimeInSeconds" not in limits:
        raise _invalid("StoppingCondition.MaxRuntimeInSeconds must be present.")
    longest = limits.get("MaxWaitTimeInSeconds")
    if not request.get("EnableManagedSpotTraining"):
        if longest is not None:
            raise _invalid(
                "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"
            )
    elif longest is None or longest < limits["MaxRuntimeInSeconds"]:
        raise _invalid(
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
        )
    elif "CheckpointConfig" not in request:
        raise _invalid("CheckpointConfig must be present for managed spot training.")


def _refuse_role(arn: str) -> None:
    roles = get_backend("iam")[ACCOUNT]["aws"].get_roles()
    role = next((role for role in roles if role.arn == arn), None)
    if role is None or not _trusts_sagemaker(role.assume_role_policy_document):
        raise _invalid(
            f"Could not assume role {arn}. Please ensure that the role exists and allows principal "
            f"'sagemaker.amazonaws.com' to assume the role."
        )


def _trusts_sagemaker(document: str) -> bool:
    statements: Any = json.loads(document)["Statement"]
    return any(
        statement["Effect"] == "Allow"
        and "sts:AssumeRole" in _listed(statement["Action"])
        and "sagemaker.amazonaws.com" in _listed(statement["Principal"].get("Service", []))
        for statement in (statements if isinstance(statements, list) else [statements])
    )


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _refuse_image(uri: str, region: str) -> None:
    parts = _IMAGE.fullmatch(uri)
    if parts is None:
        raise _invalid(
            f"Invalid image URI {uri}. Please provide a valid Amazon Elastic Container Registry path of the Docker "
            f"image to run."
        )
    if parts["region"] != region:
        raise _invalid(f"Invalid image URI {uri}. The image must be in the region of the job, {region}.")
    repository = get_backend("ecr")[parts["account"]][region].repositories.get(parts["repository"])
    if repository is None:
        raise _invalid(
            f"Cannot find repository: {parts['repository']} in registry ID: {parts['account']} Please check if your ECR "
            f"repository and image exist and role has proper pull permissions for SageMaker"
        )
    wanted = parts["tag"] or ("latest" if not parts["digest"] else None)
    for image in repository.images:
        if (wanted is None or wanted in image.image_tags) and parts["digest"] in (None, image.get_image_digest()):
            return
    raise _invalid(f"Requested image {uri} not found.")
