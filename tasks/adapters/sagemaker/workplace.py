"""The SageMaker backend of one run, put together from its plan.

What does not belong here: what the parts do.
"""

from datetime import UTC, datetime
from typing import Final

from models_lib.costs import CostLedger
from models_lib.errors import ConfigError
from models_lib.steps.payment import budgets_of
from models_lib.steps.plan import RunPlan
from models_lib.training.container import METRIC_DEFINITIONS
from models_lib.training.spec import TrainingSpec
from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3.objects import S3Folder
from tasks.adapters.sagemaker.accounts import Accounts
from tasks.adapters.sagemaker.alarm import FailedJobsAlarm
from tasks.adapters.sagemaker.archive import build_archive
from tasks.adapters.sagemaker.backend import SageMakerBackend, Workplace
from tasks.adapters.sagemaker.checks import preflight
from tasks.adapters.sagemaker.inputs import Code, Inputs
from tasks.adapters.sagemaker.prices import current_price
from tasks.adapters.sagemaker.tables import device_of_jobs, image_of, tables

_CODE_FOLDER: Final = "sagemaker"
"""In the run folder: the source archive that the run's jobs ran."""


def open_sagemaker(plan: RunPlan) -> SageMakerBackend:
    """The backend of this run.

    Raises:
        ConfigError: image or price of the machine are not known.
    """
    section, aws = plan.config.training.sagemaker, Aws.of(plan.config.aws)
    assert section.uri is not None, "RunConfig refuses SageMaker without an address"
    region, known = aws.region, tables(section)
    code = _code(plan)
    price = current_price(aws, known, section.instance_type, region, home=plan.home, now=_now())
    if price is None:
        raise ConfigError(
            f"training.sagemaker.instance_type={section.instance_type}: its price in {region} is not known, so nothing can "
            f"be reserved for it. Add it to a file for training.sagemaker.tables, or allow pricing:GetProducts."
        )

    def check(spec: TrainingSpec, inputs: Inputs) -> None:
        preflight(
            plan.config,
            home=plan.home,
            symbols=[spec.symbol],
            aws=aws,
            now=_now(),
            run_id=plan.run_id,
            prepared={spec.symbol: inputs.folder},
            archive=code.archive,
        ).refuse()

    return SageMakerBackend(
        Workplace(
            section=section,
            run_id=plan.run_id,
            aws=aws,
            watching=Aws.of(plan.config.aws, attempts=1),
            storage=S3Folder(aws, section.uri),
            image=image_of(section, known, region),
            code=code,
            check=check,
            accounts=Accounts(
                ledger=CostLedger(plan.home),
                run_id=plan.run_id,
                section=section,
                price=price,
                budgets=budgets_of(section, plan.payment),
                alarm=FailedJobsAlarm(aws, section.alarm_topic_arn),
                clock=_now,
            ),
        )
    )


def _code(plan: RunPlan) -> Code:
    archive = build_archive(plan.folder / _CODE_FOLDER, device=device_of_jobs(plan.config.training))
    return Code(archive.path, archive.sha256, archive.entry, METRIC_DEFINITIONS)


def _now() -> datetime:
    return datetime.now(UTC)
