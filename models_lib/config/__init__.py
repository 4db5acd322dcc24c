"""The configuration: what can be chosen, and how a choice is read and checked.

`sections` holds the frozen sections, `loading` reads YAML and `--set`. Data only: no class paths, no secrets.
"""

from models_lib.config.loading import load_config, select_symbols
from models_lib.config.sections import (
    BandGate,
    BundleSection,
    ConfidenceGate,
    DataSection,
    DeploymentSection,
    EvaluationSection,
    Gate,
    GatesSection,
    LabelSection,
    LimitGate,
    NetworkSection,
    RuleGate,
    RunConfig,
    Section,
    Severity,
    SplitsSection,
    TemperatureSection,
    TrainingSection,
)

__all__ = [
    "BandGate",
    "BundleSection",
    "ConfidenceGate",
    "DataSection",
    "DeploymentSection",
    "EvaluationSection",
    "Gate",
    "GatesSection",
    "LabelSection",
    "LimitGate",
    "NetworkSection",
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
