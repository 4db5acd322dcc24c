"""The step of the flow `deploy`: champions are put to use at a target."""

import logging
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.config import RunConfig
from models_lib.steps import champions as step
from tasks import policies
from tasks.adapters.links import open_ssh

_log = logging.getLogger("models_lib.steps")


@task(name="deploy-champions", cache_policy=NO_CACHE, **policies.NETWORK)
def deploy_champions(
    home: Path, config: RunConfig, symbols: tuple[str, ...] | None, target: str | None, who: str
) -> tuple[step.ChampionDeployed, ...]:
    """What each symbol came to; a host that does not answer is asked again."""
    return step.deploy_champions(home, config, symbols, target=target, who=who, ssh=open_ssh, say=_log.info)
