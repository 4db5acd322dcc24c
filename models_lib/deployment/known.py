"""Every target that this home is known to have deployed to: the configured one, and those of the runs that are kept.

`crpbot clean` without the nightly's configuration file must not take away what the nightly deployed.

What does not belong here: asking the targets anything.
"""

import json
from pathlib import Path

from pydantic import ValidationError

from models_lib.config import DeploymentSection
from models_lib.deployment.target import DeploymentTarget, SshOpener, open_target


def known_targets(home: Path, configured: DeploymentSection, *, ssh: SshOpener, who: str) -> list[DeploymentTarget]:
    """The targets, each once. A run folder without a readable plan knows none.

    Of the configuration every target counts, of a run the one that it deployed to: `crpbot deploy` may name any.
    """
    found: list[tuple[DeploymentSection, str | None]] = [(configured, name) for name in configured.targets]
    found += [(section, section.target) for section in map(_of_run, (home / "runs").glob("*/plan.json")) if section]
    places = {
        section.targets[name].model_dump_json(): (section, name)
        for section, name in reversed(found)
        if name is not None
    }
    targets = (open_target(section, name, home=home, ssh=ssh, who=who) for section, name in places.values())
    return [target for target in targets if target is not None]


def _of_run(plan: Path) -> DeploymentSection | None:
    try:
        return DeploymentSection.model_validate(json.loads(plan.read_bytes())["config"]["deployment"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
