"""The step of the flow `deploy`: champions are put to use at a target; and what people are told of it, as of `crpbot deploy`."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.config import NotificationsSection, RunConfig
from models_lib.errors import ConfigError, CrpbotError
from models_lib.steps import champions as step
from tasks import policies
from tasks.adapters.links import open_ssh
from tasks.adapters.sources import open_source
from tasks.adapters.stores import configured_registry
from tasks.notify import tell_now

_log = logging.getLogger("models_lib.steps")


@task(name="deploy-champions", cache_policy=NO_CACHE, **policies.NETWORK)
def deploy_champions(
    home: Path, config: RunConfig, symbols: tuple[str, ...] | None, target: str | None, who: str
) -> tuple[step.ChampionDeployed, ...]:
    """What each symbol came to; a host that does not answer is asked again."""
    return step.deploy_champions(
        home,
        config,
        symbols,
        target=target,
        who=who,
        registry=configured_registry(home, config),
        ssh=open_ssh,
        open_source=partial(open_source, home=home),
        say=_log.info,
    )


def told(
    home: Path, section: NotificationsSection, run_id: str, deployment: Callable[[], tuple[step.ChampionDeployed, ...]]
) -> tuple[step.ChampionDeployed, ...]:
    """What the deployment came to, of which people were told; also when it raised, unless nothing was meant to begin.

    Args:
        home: the state folder.
        section: who is told.
        run_id: names the deployment: two notices of the same name are one.
        deployment: carries it out.

    Raises:
        ConfigError: untold, for it answers whoever asked.
        CrpbotError: what the deployment raised, told.
    """
    try:
        deployed = deployment()
    except ConfigError:
        raise
    except CrpbotError as error:
        tell_now(home, section, [step.failure_notice(error, run_id=run_id, now=datetime.now(UTC))])
        raise
    tell_now(home, section, step.deployment_notices(deployed, run_id=run_id, now=datetime.now(UTC)))
    return deployed
