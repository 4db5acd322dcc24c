"""Every target that this home is known to have deployed to: the configured one, and those of the runs that are kept.

`crpbot clean` without the nightly's configuration file must not take away what the nightly deployed.

What does not belong here: asking the targets anything.
"""

import json
from pathlib import Path

from pydantic import ValidationError

from models_lib.config import DeploymentSection
from models_lib.deployment.target import DeploymentTarget, open_target


def known_targets(home: Path, configured: DeploymentSection) -> list[DeploymentTarget]:
    """The targets, each once. A run folder without a readable plan knows none."""
    sections = dict.fromkeys((configured, *(_of_run(path) for path in (home / "runs").glob("*/plan.json"))))
    targets = (open_target(section) for section in sections if section is not None)
    return [target for target in targets if target is not None]


def _of_run(plan: Path) -> DeploymentSection | None:
    try:
        return DeploymentSection.model_validate(json.loads(plan.read_bytes())["config"]["deployment"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
