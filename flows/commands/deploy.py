"""`crpbot deploy`: champions are put to use at a target, now. No server is needed."""

import argparse
import json
import sys
from datetime import UTC, datetime

from flows.home import crpbot_home, make_home, operator


def execute(arguments: argparse.Namespace) -> int:
    """Prints one line a symbol; 1 when one of them is not deployed."""
    from models_lib.config import load_config
    from models_lib.steps.champions import deploy_champions, deployment_notices
    from tasks.adapters.links import open_ssh
    from tasks.notify import tell_now

    home, config = crpbot_home(), load_config(arguments.config, arguments.settings)
    make_home(home)
    deployed = deploy_champions(
        home,
        config,
        arguments.symbols or None,
        target=arguments.target,
        who=operator(),
        ssh=open_ssh,
        say=lambda sentence: print(sentence, file=sys.stderr, flush=True),
    )
    now = datetime.now(UTC)
    tell_now(home, config.notifications, deployment_notices(deployed, run_id=f"deploy-{now:%Y%m%dT%H%M%S}", now=now))
    if arguments.json:
        print(json.dumps({"symbols": {each.symbol: each.to_json() for each in deployed}}, indent=2, sort_keys=True))
    else:
        print("\n".join(each.line() for each in deployed))
    return 0 if all(each.outcome == "deployed" for each in deployed) else 1
