"""A hold reaches every place where the symbol speaks.

What does not belong here: the hold of the home (models_lib.holds).
"""

from collections.abc import Callable, Sequence

from models_lib.deployment.target import DeploymentTarget
from models_lib.errors import CrpbotError


def hold_at(targets: Sequence[DeploymentTarget], symbol: str, *, reason: str) -> tuple[list[str], list[str]]:
    """What each target came to, and what those say where the symbol may speak on."""
    return _told(targets, lambda target: target.hold(symbol, reason=reason))


def release_at(targets: Sequence[DeploymentTarget], symbol: str) -> tuple[list[str], list[str]]:
    """The same of the end of a hold."""
    return _told(targets, lambda target: target.release_hold(symbol))


def _told(targets: Sequence[DeploymentTarget], tell: Callable[[DeploymentTarget], str]) -> tuple[list[str], list[str]]:
    done: list[str] = []
    failed: list[str] = []
    for target in targets:
        try:
            sentence = tell(target)
        except (CrpbotError, OSError) as error:
            failed.append(f"target {target.name}: {error}")
        else:
            done += [f"target {target.name}: {sentence}"] if sentence else []
    return done, failed
