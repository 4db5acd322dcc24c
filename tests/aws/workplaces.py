"""A SageMaker backend over the stand-in of AWS, with a small training and programs of the test's own.

What does not belong here: the stand-in (cloud.py), and tests.
"""

import functools
import gzip
import io
import tarfile
import textwrap
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from models_lib.config import SageMakerSection
from models_lib.costs import CostLedger, Price
from models_lib.files import sha256_file
from models_lib.scaling import fit_scaler
from models_lib.steps.payment import budgets_of
from models_lib.training import TrainingData, TrainingSpec, write_training_inputs
from models_lib.training.container import METRIC_DEFINITIONS
from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3.objects import S3Folder
from tasks.adapters.sagemaker.accounts import Accounts
from tasks.adapters.sagemaker.alarm import FailedJobsAlarm
from tasks.adapters.sagemaker.backend import SageMakerBackend, Workplace
from tasks.adapters.sagemaker.inputs import Code
from tasks.adapters.sagemaker.tables import Image
from tests.aws.cloud import DLC_ACCOUNT, Cloud

MACHINE = "ml.m5.large"
REPOSITORY, TAG = "pytorch", "2.13-cpu-amzn2023-sagemaker"
PRICE = Price(0.36, date(2026, 11, 1), "a test")
"""One hundredth of a cent a second."""
RUN = "20261122T020000Z-0a1b2c3d4e5f"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:crpbot"


def small_spec(folder: Path, *, seed: int = 11, **training: Any) -> TrainingSpec:
    """A training of two seconds: 400 rows of 6 features, three epochs."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 6)).astype(np.float32)
    classes = np.digitize(features[:, 0], [-0.43, 0.43]).astype(np.int8)
    train, validation = np.arange(300), np.arange(310, 400)
    data = TrainingData(features, classes, train, validation, fit_scaler(features, train))
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", features)
    return TrainingSpec.model_validate(
        {
            "symbol": "BTC-USD",
            "seed": seed,
            "features": folder / "features.npy",
            "targets": write_training_inputs(folder, data),
            "output": folder / "out",
            "network": {},
            "training": {"batch_size": 64, "max_epochs": 3, "device": "cpu", **training},
            "gates": {},
        }
    )


def program(folder: Path, script: str, *, name: str = "train.py") -> Code:
    """An archive with nothing but this script; the job runs train.py."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "source.tar.gz"
    content = textwrap.dedent(script).encode()
    with gzip.GzipFile(archive, "wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return Code(archive, sha256_file(archive), "train.py", METRIC_DEFINITIONS)


@functools.cache
def _aws(_port: int, attempts: int = 2) -> Aws:
    """Clients of one stand-in: making them reads megabytes of descriptions."""
    return Aws(Cloud.region, attempts=attempts)


class Site:
    """A role, an image, a bucket and a quota, and the backends that work there.

    Args:
        cloud: the stand-in of AWS.
        folder: for the home.
        settings: of training.sagemaker.
    """

    def __init__(self, cloud: Cloud, folder: Path, **settings: Any) -> None:
        self.cloud, self.home = cloud, folder / "home"
        uri = f"s3://{cloud.with_bucket()}/crpbot"
        cloud.with_quota(MACHINE, 4)
        cloud.with_quota(MACHINE, 4, spot=True)
        self.image = Image(
            uri=cloud.with_image(REPOSITORY, TAG),
            account=DLC_ACCOUNT,
            region=cloud.region,
            repository=REPOSITORY,
            tag=TAG,
            digest=None,
            row=None,
            insisted=True,
        )
        known = {"uri": uri, "role_arn": cloud.with_role(), "instance_type": MACHINE, "poll_seconds": 0.05}
        self.section = SageMakerSection.model_validate(known | {"checkpoint_seconds": 0.001} | settings)
        self.ledger = CostLedger(self.home)
        self.checked: list[str] = []

    def workplace(
        self, code: Code, *, run_id: str = RUN, check: Callable[..., None] | None = None, **parts: Any
    ) -> Workplace:
        """Everything that a backend works with."""
        aws = _aws(self.cloud.port)
        alarm = FailedJobsAlarm(aws, self.section.alarm_topic_arn)

        def now() -> datetime:
            return datetime.now(UTC)

        assert self.section.uri is not None
        known: dict[str, Any] = {
            "section": self.section,
            "run_id": run_id,
            "aws": aws,
            "watching": _aws(self.cloud.port, attempts=1),
            "storage": S3Folder(aws, self.section.uri),
            "image": self.image,
            "code": code,
            "check": check or (lambda spec, _: self.checked.append(spec.symbol)),
            "accounts": Accounts(self.ledger, run_id, self.section, PRICE, budgets_of(self.section, None), alarm, now),
        }
        return Workplace(**known | parts)

    def backend(self, code: Code, **parts: Any) -> SageMakerBackend:
        """A backend of its own, as every process has one."""
        return SageMakerBackend(self.workplace(code, **parts))

    def outcomes(self) -> Sequence[str | None]:
        """How the jobs of the ledger ended, in their order."""
        return [job.outcome for job in self.ledger.jobs()]


def ignore(_: object) -> None:
    """Progress is of no interest."""
