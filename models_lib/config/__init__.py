"""The configuration: what can be chosen, and how a choice is read and checked.

`sections` holds the frozen sections, `loading` reads YAML and `--set`. Data only: no class paths, no secrets.
"""

from models_lib.config.loading import load_config, select_symbols
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
    NetworkSection,
    NoticeEvent,
    NotificationsSection,
    RuleGate,
    RunConfig,
    Severity,
    SplitsSection,
    TemperatureSection,
    TrainingSection,
)

__all__ = [
    "EVENTS",
    "BandGate",
    "BundleSection",
    "ConfidenceGate",
    "DataSection",
    "DeploymentSection",
    "EmailSection",
    "EvaluationSection",
    "Gate",
    "GatesSection",
    "LabelSection",
    "LimitGate",
    "NetworkSection",
    "NoticeEvent",
    "NotificationsSection",
    "RuleGate",
    "RunConfig",
    "Section",
    "Severity",
    "SplitsSection",
    "TemperatureSection",
    "TrainingSection",
    "load_config",
    "select_symbols",
]
