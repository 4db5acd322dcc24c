"""The place where finished steps are shared between machines, as the configuration says.

What does not belong here: what is shared and when (models_lib.steps.finished), and how a bucket keeps it (s3/results.py).
"""

from models_lib.config import RunConfig
from models_lib.steps.shared_results import NotShared, SharedResults


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
            assert config.aws.region is not None, "RunConfig refuses s3 without a region"
            return S3Results(S3Folder(Aws(config.aws.region), f"{storage.uri}/results"))
