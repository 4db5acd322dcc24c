"""`deploy`: the champions of some symbols are put to use at a target, as `crpbot deploy` does.

In order: the deployment, with one restart of the host's runtime; then people are told. A symbol that the host refuses or
rolls back fails the run, and the host runs what it ran before. Whatever else fails the run is told by the night-watch.
"""

from functools import partial
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.home import config_file, crpbot_home, operator, prepare_home
from flows.parameters import DeployParams
from models_lib.config import load_config
from models_lib.errors import ConfigError, CrpbotError, DeployError
from tasks.deploy_champions import deploy_champions, told
from tasks.ui.log_lines import hear_the_library
from tasks.ui.runs import NOT_DEPLOYED


@flow(name="deploy", flow_run_name="deploy-{params.where}", validate_parameters=True)
def deploy(params: DeployParams = DeployParams()) -> State[Any]:  # noqa: B008 - frozen
    """Deploys champions.

    Args:
        params: configuration, symbols and target; the defaults deploy every champion to the configured target.
    """
    hear_the_library()
    home = crpbot_home()
    prepare_home(home)
    config = load_config(config_file(params.config), params.settings)
    # The id and not the name: two notices of the same name are one, and a deployment may be told every day.
    run_id = f"deploy-{flow_run.id}"
    champions = partial(deploy_champions, home, config, params.symbols, params.target, operator())
    try:
        deployed = told(home, config.notifications, run_id, champions)
    except ConfigError:
        raise
    except CrpbotError as error:
        return Failed(name=NOT_DEPLOYED, message=str(error), data=error)
    lines = "; ".join(each.line() for each in deployed)
    if all(each.outcome == "deployed" for each in deployed):
        return Completed(name="Deployed", message=lines, data=deployed)
    return Failed(name=NOT_DEPLOYED, message=lines, data=DeployError(lines))
