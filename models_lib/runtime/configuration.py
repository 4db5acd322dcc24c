"""`runtime.yaml` of a host folder: what its operator chose, checked.

What does not belong here: the meaning of the values (models_lib.config).
"""

from pathlib import Path

import yaml
from pydantic import ValidationError

from models_lib.config.exchange_section import ExchangeSection
from models_lib.config.loading import explain, read_sections
from models_lib.config.runtime_section import RuntimeSection
from models_lib.config.section import Section
from models_lib.config.serving_sections import SignalsSection
from models_lib.errors import ConfigError

CONFIG_FILE = "runtime.yaml"


class RuntimeConfig(Section):
    """All that a host's operator chooses."""

    signals: SignalsSection = SignalsSection()
    runtime: RuntimeSection = RuntimeSection()
    exchange: ExchangeSection = ExchangeSection()


def signals_as_yaml(signals: SignalsSection) -> str:
    """A runtime.yaml that has this section, every value spelled out."""
    return yaml.safe_dump({"signals": signals.model_dump(mode="json")}, sort_keys=False)


def read_runtime_config(folder: Path) -> RuntimeConfig:
    """The host's configuration; without a file, the defaults.

    Raises:
        ConfigError: the file cannot be read, or holds an unknown key or an impossible value.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        return RuntimeConfig()
    tree = read_sections(path, remedy="Make it readable for the user that runs the runtime.")
    try:
        return RuntimeConfig.model_validate({name: section for name, section in tree.items() if section is not None})
    except ValidationError as error:
        raise ConfigError(explain(error, origin=str(path), of=RuntimeConfig)) from error
