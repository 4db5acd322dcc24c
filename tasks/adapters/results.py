"""The place where finished steps are shared between machines, and where runs leave something, as the configuration says.

What does not belong here: what is shared and when (models_lib.steps.finished), how a bucket keeps it (s3/results.py), and
what a cleaning removes (models_lib.retention).
"""

from typing import TYPE_CHECKING

from models_lib.config import RunConfig
from models_lib.steps.shared_results import NotShared, SharedResults

if TYPE_CHECKING:
    from tasks.adapters.s3.leavings import S3Leavings

_RESULTS = "results"
"""Below storage.uri."""


def open_results(config: RunConfig) -> SharedResults:
    """The place that `storage.results` names."""
    storage = config.storage
    match storage.results:
        case "local":
            return NotShared()
        case "s3":
            from tasks.adapters.aws.clients import Aws  # noqa: PLC0415 - boto3 only where it is used
            from tasks.adapters.s3.objects import S3Folder  # noqa: PLC0415
            from tasks.adapters.s3.results import S3Results  # noqa: PLC0415

            assert storage.uri is not None, "StorageSection refuses s3 without an address"
            return S3Results(S3Folder(Aws.of(config.aws), f"{storage.uri}/{_RESULTS}"))


def leavings(config: RunConfig) -> "tuple[S3Leavings, ...]":
    """The places in S3 that a cleaning looks at: the shared results, and what is brought to rented machines.

    The registry's own place is not among them: its store cleans itself, and nothing in it is large enough for parts.

    Raises:
        ConfigError: AWS cannot be asked with what the environment says.
    """
    if not config.uses_aws:
        return ()
    from tasks.adapters.aws.clients import Aws  # noqa: PLC0415 - boto3 only where it is used
    from tasks.adapters.s3.leavings import S3Leavings  # noqa: PLC0415
    from tasks.adapters.s3.objects import S3Folder  # noqa: PLC0415

    storage, training = config.storage, config.training
    aws, places = Aws.of(config.aws), []
    if storage.results == "s3":
        places.append(S3Leavings(S3Folder(aws, f"{storage.uri}/{_RESULTS}"), holds_results=True))
    if training.backend == "sagemaker":
        assert training.sagemaker.uri is not None, "RunConfig refuses SageMaker without an address"
        places.append(S3Leavings(S3Folder(aws, training.sagemaker.uri), holds_results=False))
    return tuple(places)
