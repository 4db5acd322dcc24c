"""The configuration: what can be chosen, and how a choice is read and checked.

`sections` and `serving_sections` hold the frozen sections, `run_config` all of them, `loading` reads YAML and `--set`.
Data only: no class paths, no secrets.

What reads YAML is imported when it is first used: where a training alone runs there is no YAML to read, nor its library.
"""

import importlib
from typing import TYPE_CHECKING, Any

from models_lib.config.aws_sections import AwsSection, SageMakerSection, StorageSection
from models_lib.config.exchange_section import ExchangeSection
from models_lib.config.identity import identity_of_evaluation, identity_of_training
from models_lib.config.run_config import RunConfig
from models_lib.config.section import Section
from models_lib.config.sections import (
    CONTROLS,
    EVENTS,
    BandGate,
    BundleSection,
    ConfidenceGate,
    ControlName,
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

if TYPE_CHECKING:
    from models_lib.config.loading import load_config, select_symbols

__all__ = [
    "CONTROLS",
    "EVENTS",
    "AwsSection",
    "BandGate",
    "BundleSection",
    "ConfidenceGate",
    "ControlName",
    "DataSection",
    "DeploymentSection",
    "EmailSection",
    "EvaluationSection",
    "ExchangeRules",
    "ExchangeSection",
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
    "identity_of_evaluation",
    "identity_of_training",
    "load_config",
    "select_symbols",
]


def __getattr__(name: str) -> Any:
    if name not in ("load_config", "select_symbols"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.loading"), name)
