"""The configuration: what can be chosen, and how a choice is read and checked.

`sections` and `serving_sections` hold the frozen sections, `run_config` all of them, `loading` reads YAML and `--set`.
Data only: no class paths, no secrets.
"""

from models_lib.config.aws_sections import AwsSection, SageMakerSection, StorageSection
from models_lib.config.loading import load_config, select_symbols
from models_lib.config.run_config import RunConfig
from models_lib.config.section import Section
from models_lib.config.sections import (
    EVENTS,
    BandGate,
    BundleSection,
    ConfidenceGate,
    DataSection,
    DeploymentSection,
    EmailSection,
    EvaluationSection,
    Gate,
    GatesSection,
    LabelSection,
    LimitGate,
    LogitGate,
    NetworkSection,
    NoticeEvent,
    NotificationsSection,
    RuleGate,
    Severity,
    SplitsSection,
    TemperatureSection,
    TrainingSection,
)
from models_lib.config.serving_sections import ExchangeRules, SignalsSection

__all__ = [
    "EVENTS",
    "AwsSection",
    "BandGate",
    "BundleSection",
    "ConfidenceGate",
    "DataSection",
    "DeploymentSection",
    "EmailSection",
    "EvaluationSection",
    "ExchangeRules",
    "Gate",
    "GatesSection",
    "LabelSection",
    "LimitGate",
    "LogitGate",
    "NetworkSection",
    "NoticeEvent",
    "NotificationsSection",
    "RuleGate",
    "RunConfig",
    "SageMakerSection",
    "Section",
    "Severity",
    "SignalsSection",
    "SplitsSection",
    "StorageSection",
    "TemperatureSection",
    "TrainingSection",
    "load_config",
    "select_symbols",
]
