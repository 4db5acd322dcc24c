"""The four questions and orders about training jobs: describe, create, stop, and under which image a tag stands.

What does not belong here: which job is meant (names.py, backend.py).
"""

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from models_lib.errors import ConfigError, TransientError
from tasks.adapters.aws.clients import Aws
from tasks.adapters.aws.faults import code_of, translated, words_of
from tasks.adapters.sagemaker.request import check_request
from tasks.adapters.sagemaker.state import JobState
from tasks.adapters.sagemaker.tables import Image

_UNKNOWN: Final = frozenset({"ValidationException", "ResourceNotFound", "ResourceNotFoundException"})
"""What SageMaker answers for a job that is not there; the name itself is known to be one that it takes."""


class Jobs:
    """The training jobs of an account in a region.

    Args:
        aws: gives the clients.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def describe(self, name: str) -> JobState | None:
        """The job of that name; None when there is none.

        Raises:
            TransientError: AWS does not answer.
            ConfigError: the caller may not ask.
        """
        with translated(f"job {name}"):
            try:
                return JobState.of(self._client.describe_training_job(TrainingJobName=name))
            except ClientError as error:
                if code_of(error) in _UNKNOWN:
                    return None
                raise

    def check(self, request: Mapping[str, Any]) -> None:
        """Returns when AWS would understand the request; nothing is sent.

        Raises:
            ConfigError: it would not.
        """
        check_request(request, self._client)

    def create(self, request: Mapping[str, Any]) -> bool:
        """Creates the job; False when there is one of that name already.

        Raises:
            TransientError: AWS does not answer: the job may have been created all the same.
            ConfigError: AWS refuses it: nothing was created.
        """
        name = request["TrainingJobName"]
        with translated(f"job {name}"):
            try:
                self._client.create_training_job(**request)
            except ClientError as error:
                match code_of(error):
                    case "ResourceInUse":
                        return False
                    case "ResourceLimitExceeded":
                        raise ConfigError(
                            f"job {name}: the quota of the account does not allow it now ({words_of(error)}). Have it "
                            f"raised in Service Quotas, choose another training.sagemaker.instance_type, or lower "
                            f"training.max_parallel."
                        ) from error
                raise
        return True

    def stop(self, name: str) -> None:
        """Tells the job to stop; one that is over, or not there, is left alone.

        Raises:
            TransientError: AWS does not answer.
            ConfigError: the caller may not do it.
        """
        with translated(f"job {name}"):
            try:
                self._client.stop_training_job(TrainingJobName=name)
            except ClientError as error:
                if code_of(error) not in _UNKNOWN:  # AWS says the same of a job that is over
                    raise

    def digest_of(self, image: Image) -> str | None:
        """The content that the image's tag stands for at this moment; None when nobody lets us ask."""
        if image.tag is None:
            return image.digest
        with contextlib.suppress(ConfigError, TransientError), translated(image.uri):
            answer = self._aws.client("ecr", region=image.region).batch_get_image(
                registryId=image.account, repositoryName=image.repository, imageIds=[{"imageTag": image.tag}]
            )
            for found in answer.get("images", ()):
                digest: str | None = found.get("imageId", {}).get("imageDigest")
                return digest
        return None

    @property
    def _client(self) -> Any:
        return self._aws.client("sagemaker")
