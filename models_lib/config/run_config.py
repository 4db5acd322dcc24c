"""The whole configuration: its sections under their names.

What does not belong here: the sections themselves (sections.py, serving_sections.py) and where values come from (loading.py).
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from models_lib.config.aws_sections import AwsSection, StorageSection
from models_lib.config.exchange_section import ExchangeSection
from models_lib.config.section import Section
from models_lib.config.sections import (
    ApprovalSection,
    BundleSection,
    DataSection,
    DeploymentSection,
    EvaluationSection,
    GatesSection,
    LabelSection,
    NetworkSection,
    NotificationsSection,
    OrchestrationSection,
    RetentionSection,
    SplitsSection,
    SymbolName,
    TemperatureSection,
    TrainingSection,
)
from models_lib.config.serving_sections import SignalsSection


class RunConfig(Section):
    """The whole configuration of a retrain; it travels, resolved, in every bundle."""

    symbols: Annotated[tuple[SymbolName, ...], Field(min_length=1)] = ("BTC-USD", "ETH-USD", "SOL-USD")
    """Symbols that this installation trains."""
    data: DataSection = DataSection()
    exchange: ExchangeSection = ExchangeSection()
    label: LabelSection = LabelSection()
    splits: SplitsSection = SplitsSection()
    network: NetworkSection = NetworkSection()
    training: TrainingSection = TrainingSection()
    temperature: TemperatureSection = TemperatureSection()
    evaluation: EvaluationSection = EvaluationSection()
    gates: GatesSection = GatesSection()
    bundle: BundleSection = BundleSection()
    deployment: DeploymentSection = DeploymentSection()
    storage: StorageSection = StorageSection()
    aws: AwsSection = AwsSection()
    orchestration: OrchestrationSection = OrchestrationSection()
    approval: ApprovalSection = ApprovalSection()
    retention: RetentionSection = RetentionSection()
    notifications: NotificationsSection = NotificationsSection()
    signals: SignalsSection = SignalsSection()
    """Of the runtime on this machine; a trading host behind SSH has a section of its own."""

    @model_validator(mode="after")
    def _symbols_are_distinct(self) -> Self:
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"symbols must be distinct, were {list(self.symbols)}")
        return self

    @property
    def uses_aws(self) -> bool:
        """Whether anything of this configuration lies or runs in AWS."""
        storage = self.storage
        in_s3 = self.data.uri is not None or "s3" in (storage.kind, storage.results)
        return in_s3 or self.training.backend == "sagemaker"

    @model_validator(mode="after")
    def _aws_has_a_region(self) -> Self:
        if self.uses_aws and self.aws.region is None:
            raise ValueError(
                "aws.region must be set where S3 or SageMaker is used: the region of the bucket, such as eu-central-1"
            )
        return self

    @model_validator(mode="after")
    def _a_paid_job_is_fully_described(self) -> Self:
        missing = self.training.sagemaker.missing() if self.training.backend == "sagemaker" else ()
        if missing:
            raise ValueError(f"{' and '.join(missing)} must be set for training.backend=sagemaker")
        return self
