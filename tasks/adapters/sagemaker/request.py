"""The request for one training job, checked against AWS's own description before anything is sent.

What does not belong here: sending it (backend.py), and what only AWS can know: whether image, role and quota are there
(checks).
"""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator

from models_lib.config import SageMakerSection
from models_lib.errors import ConfigError, excerpt

CHANNEL: Final = "training"
PROJECT: Final = "crpbot-training"
CHECKPOINTS_IN_CONTAINER: Final = "/opt/ml/checkpoints"
_WARNINGS: Final = str(logging.WARNING)
"""Of the toolkit, which otherwise tells 150 lines about its surroundings, at the beginning and among the last words."""
_OPERATION: Final = "CreateTrainingJob"


@dataclass(frozen=True)
class JobOrder:
    """What one job is asked for.

    Attributes:
        name: of the job.
        symbol: whose.
        run_id: the run that pays; a tag.
        image: URI of the training image.
        entry: path of the script in the archive.
        archive_uri: s3:// address of the source archive.
        inputs_uri: s3:// folder of the channel's files.
        checkpoints_uri: s3:// folder.
        models_uri: s3:// folder; AWS adds JOB/output/model.tar.gz.
        hyperparameters: what the script is called with, as --name value.
        environment: variables of the container; nothing secret, because every reader of the job sees them.
        metrics: name and regular expression of each figure that AWS picks out of the log.
    """

    name: str
    symbol: str
    run_id: str
    image: str
    entry: str
    archive_uri: str
    inputs_uri: str
    checkpoints_uri: str
    models_uri: str
    hyperparameters: Mapping[str, str]
    environment: Mapping[str, str]
    metrics: tuple[tuple[str, str], ...]


def training_request(order: JobOrder, section: SageMakerSection) -> dict[str, Any]:
    """The parameters of CreateTrainingJob.

    The longest runtime is always set: AWS's own limit is a day, and it bounds the bill. Checkpoints go to S3 also
    without spot machines: an attempt after a time limit or a kill goes on where the last one was.

    Raises:
        ConfigError: the section lacks the role.
    """
    if section.role_arn is None:
        raise ConfigError("training.sagemaker.role_arn must be set: the role that the job runs as.")
    limits = {"MaxRuntimeInSeconds": section.max_runtime_seconds}
    if section.spot:
        limits["MaxWaitTimeInSeconds"] = section.max_wait_seconds
    return {
        "TrainingJobName": order.name,
        "RoleArn": section.role_arn,
        "AlgorithmSpecification": {
            "TrainingImage": order.image,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in order.metrics],
        },
        "HyperParameters": {
            "sagemaker_program": order.entry,
            "sagemaker_submit_directory": order.archive_uri,
            "sagemaker_container_log_level": _WARNINGS,
            **order.hyperparameters,
        },
        "Environment": dict(order.environment),
        "InputDataConfig": [
            {
                "ChannelName": CHANNEL,
                "InputMode": "File",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3DataDistributionType": "FullyReplicated",
                        "S3Uri": f"{order.inputs_uri}/",  # without the slash a longer name with this beginning is meant, too
                    }
                },
            }
        ],
        "OutputDataConfig": {"S3OutputPath": order.models_uri},
        "CheckpointConfig": {"S3Uri": order.checkpoints_uri, "LocalPath": CHECKPOINTS_IN_CONTAINER},
        "ResourceConfig": {
            "InstanceType": section.instance_type,
            "InstanceCount": 1,
            "VolumeSizeInGB": section.volume_gb,
        },
        "StoppingCondition": limits,
        "EnableManagedSpotTraining": section.spot,
        "Tags": [
            {"Key": "project", "Value": PROJECT},
            {"Key": "symbol", "Value": order.symbol},
            {"Key": "run_id", "Value": order.run_id},
        ],
    }


def check_request(request: Mapping[str, Any], client: Any) -> None:
    """Returns when the request is as AWS describes it: names, kinds, lengths, patterns and known words.

    Args:
        request: of CreateTrainingJob.
        client: boto3's, for its description of the service; nothing is sent.

    Raises:
        ConfigError: with everything that is wrong.
    """
    shape = client.meta.service_model.operation_model(_OPERATION).input_shape
    report = ParamValidator().validate(dict(request), shape)
    wrong = report.generate_report().splitlines() if report.has_errors() else list(_out_of_bounds(request, shape, ""))
    if wrong:
        told = "; ".join(excerpt(each) for each in wrong[:8])
        raise ConfigError(
            f"{request.get('TrainingJobName', 'training job')}: AWS would refuse the request: {told}. Nothing was sent; "
            f"correct training.sagemaker."
        )


def _out_of_bounds(value: Any, shape: Shape, where: str) -> Iterator[str]:
    """What botocore's validator does not look at: upper bounds, patterns and enumerations."""
    for name, each, part in _parts(value, shape, where):
        yield from _out_of_bounds(each, part, name)
    most = shape.metadata.get("max")
    match shape:
        case StringShape():
            yield from _bad_text(value, shape, where)
        case ListShape() | MapShape():
            if most is not None and len(value) > most:
                yield f"{where} may have {most} entries, has {len(value)}"
        case _:
            if most is not None and value > most:
                yield f"{where} must be at most {most}, was {value}"


def _parts(value: Any, shape: Shape, where: str) -> Iterator[tuple[str, Any, Shape]]:
    """What a value is made of: name, value and shape of each part."""
    match shape:
        case StructureShape():
            for name, each in value.items():
                yield f"{where}.{name}" if where else name, each, shape.members[name]
        case ListShape():
            for index, each in enumerate(value):
                yield f"{where}[{index}]", each, shape.member
        case MapShape():
            for key, each in value.items():
                yield f"{where} key", key, shape.key
                yield f"{where}.{key}", each, shape.value


def _bad_text(value: str, shape: StringShape, where: str) -> Iterator[str]:
    most = shape.metadata.get("max")
    if most is not None and len(value) > most:
        yield f"{where} may have {most} characters, has {len(value)}"
    if shape.enum and value not in shape.enum:
        yield f"{where} must be one of AWS's {len(shape.enum)} words, was {value}"
    if not _matches(shape.metadata.get("pattern"), value):
        yield f"{where} must match {shape.metadata['pattern']}, was {value}"


def _matches(pattern: str | None, value: str) -> bool:
    """Java's classes of characters are unknown here; what has them is left to AWS."""
    return pattern is None or r"\p{" in pattern or re.fullmatch(pattern, value) is not None
