"""The registry that a configuration names: in the state folder, or in S3.

What does not belong here: how a place keeps it (models_lib.registry, tasks.adapters.s3).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from models_lib.config import AwsSection, RunConfig, StorageSection
from models_lib.registry import LocalStore, Registry, Store, opened
from models_lib.steps.plan import RunPlan

if TYPE_CHECKING:
    from tasks.adapters.s3.store import S3Store


def open_store(home: Path, storage: StorageSection, aws: AwsSection) -> Store:
    """The store that `storage.kind` names; nothing is asked of it yet.

    Args:
        home: the state folder: the store itself, or where copies of what lies in S3 are kept.
        storage: which kind, and where.
        aws: the region.

    Raises:
        ConfigError: AWS cannot be asked with what the environment says.
    """
    match storage.kind:
        case "local":
            return LocalStore(home)
        case "s3":
            return _s3_store(home, storage, aws)


def check_storage(home: Path, config: RunConfig) -> None:
    """Makes sure that models can be kept where the configuration says, before anybody trains one.

    Raises:
        ConfigError: they cannot.
        TransientError: the place does not answer.
    """
    if config.storage.kind == "s3":
        _s3_store(home, config.storage, config.aws).check_conditions()


def _s3_store(home: Path, storage: StorageSection, aws: AwsSection) -> "S3Store":
    from tasks.adapters.aws.clients import Aws  # noqa: PLC0415 - boto3 only where it is used
    from tasks.adapters.s3.objects import S3Folder  # noqa: PLC0415
    from tasks.adapters.s3.store import S3Store  # noqa: PLC0415

    assert storage.uri is not None, "the configuration sees to it"
    return S3Store(S3Folder(Aws.of(aws), storage.uri), home)


def configured_registry(home: Path, config: RunConfig) -> Registry:
    """The registry of this configuration, with pointers that a crash left behind carried forward.

    Raises:
        ConfigError: the store cannot be used, or cannot be written where it must be.
        TransientError: the store is busy, or does not answer.
    """
    return opened(open_store(home, config.storage, config.aws))


def registry_to_look_at(home: Path, config: RunConfig) -> Registry:
    """The registry of this configuration as it lies: looking at it writes nothing.

    Raises:
        ConfigError: the store cannot be used.
    """
    return Registry(open_store(home, config.storage, config.aws))


def registry_of(plan: RunPlan) -> Registry:
    """The registry of the run, as `configured_registry`."""
    return configured_registry(plan.home, plan.config)
