"""`crpbot deploy`: champions are put to use at a target, now."""

import argparse
import json
import sys
from datetime import UTC, datetime

from flows.home import crpbot_home, make_home, operator


def execute(arguments: argparse.Namespace) -> int:
    """Prints one line a symbol; 1 when one of them is not deployed, 3 when the target does not answer now."""
    from models_lib.config import load_config
    from models_lib.errors import ConfigError
    from models_lib.registry.commands import check_known, known_symbols
    from models_lib.steps.champions import deploy_champions, deployment_notices, newest_candles_of
    from tasks.adapters.links import open_ssh
    from tasks.notify import tell_now

    home, config = crpbot_home(), load_config(arguments.config, arguments.settings)
    make_home(home)
    for symbol in arguments.symbols:
        check_known(home, symbol, config.symbols)
    target = arguments.target or config.deployment.target
    if target is None:
        raise ConfigError("no target: name one with --target, or set deployment.target in the configuration.")
    deployed = deploy_champions(
        home,
        config,
        tuple(dict.fromkeys(arguments.symbols)) or known_symbols(home, config.symbols),
        target=target,
        who=operator(),
        ssh=open_ssh,
        candles=newest_candles_of(config),
        say=lambda sentence: print(sentence, file=sys.stderr),
    )
    now = datetime.now(UTC)
    tell_now(home, config.notifications, deployment_notices(deployed, run_id=f"deploy-{now:%Y%m%dT%H%M%S}", now=now))
    if arguments.json:
        print(json.dumps({"symbols": {each.symbol: each.to_json() for each in deployed}}, indent=2, sort_keys=True))
    else:
        print("\n".join(each.line() for each in deployed))
    return 0 if all(each.outcome == "deployed" for each in deployed) else 1
