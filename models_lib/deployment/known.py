"""Every target where something of this home may run: the configured ones, and every place that it ever deployed to.

    <home>/targets/<hash>.json    one file a place: its name and its section, written before anything is brought there

`crpbot hold` must silence and `crpbot clean` must spare what another configuration deployed, also where the deployer was
killed. A place that is gone for good is asked until a person removes its file: only people know that nothing speaks there.

What does not belong here: asking the targets anything.
"""

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from models_lib.config import DeploymentSection
from models_lib.config.sections import TargetName
from models_lib.config.targets import TargetSection
from models_lib.deployment.target import DeploymentTarget, SshOpener, open_target
from models_lib.files import sha256_bytes, write_text

_FOLDER = "targets"
_log = logging.getLogger(__name__)


class _Place(BaseModel):
    """One file: a target that something was deployed to, under the name that it had then."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: TargetName
    section: TargetSection


def remember_target(home: Path, deployment: DeploymentSection) -> None:
    """Keeps where the section's target is; whoever deploys there does this first."""
    name = deployment.target
    assert name is not None, "nothing is deployed without a target"
    place = _Place(name=name, section=deployment.targets[name])
    file = f"{sha256_bytes(place.section.where.encode())[:12]}.json"
    write_text(home / _FOLDER / file, place.model_dump_json(indent=2) + "\n")


def known_targets(home: Path, configured: DeploymentSection, *, ssh: SshOpener, who: str) -> list[DeploymentTarget]:
    """The targets, each place once and each with a name of its own.

    A place that is configured goes by the configuration; another one whose name is taken is called by name and place.
    """
    places = {section.where: (name, section) for name, section in configured.targets.items()}
    for place in _remembered(home):
        taken = {name for name, _ in places.values()}
        where = place.section.where
        places.setdefault(where, (f"{place.name} ({where})" if place.name in taken else place.name, place.section))
    opened = (
        open_target(configured.model_copy(update={"targets": {name: section}}), name, home=home, ssh=ssh, who=who)
        for name, section in places.values()
    )
    return [target for target in opened if target is not None]


def if_gone(home: Path) -> str:
    """What to do about a target that does not answer because it is no more."""
    return (
        f"A target that is gone for good is asked no more once no configuration names it and its file in "
        f"{home / _FOLDER} is removed."
    )


def _remembered(home: Path) -> list[_Place]:
    found = []
    for path in sorted((home / _FOLDER).glob("*.json")):
        try:
            found.append(_Place.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError) as error:
            _log.warning(
                "%s names a target and cannot be read (%s); that target is not asked.", path, type(error).__name__
            )
    return found
