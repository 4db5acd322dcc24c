"""`crpbot deploy`: champions are put to use at a target, now. No server is needed."""

import argparse
import json
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.home import crpbot_home, make_home, operator

if TYPE_CHECKING:
    from models_lib.config import RunConfig


def execute(arguments: argparse.Namespace) -> int:
    """Prints one line a symbol; 1 when one of them is not deployed."""
    from models_lib.config import load_config
    from models_lib.steps.champions import deploy_champions
    from tasks.adapters.links import open_ssh
    from tasks.adapters.sources import open_source
    from tasks.adapters.stores import configured_registry
    from tasks.deploy_champions import told

    home, config = crpbot_home(), load_config(arguments.config, arguments.settings)
    make_home(home)
    if arguments.shadow is not None:
        return _shadow(home, config, arguments)
    champions = partial(
        deploy_champions,
        home,
        config,
        arguments.symbols or None,
        registry=configured_registry(home, config),
        target=arguments.target,
        who=operator(),
        ssh=open_ssh,
        open_source=partial(open_source, home=home),
        say=lambda sentence: print(sentence, file=sys.stderr, flush=True),
    )
    deployed = told(home, config.notifications, f"deploy-{datetime.now(UTC):%Y%m%dT%H%M%S}", champions)
    if arguments.json:
        print(json.dumps({"symbols": {each.symbol: each.to_json() for each in deployed}}, indent=2, sort_keys=True))
    else:
        print("\n".join(each.line() for each in deployed))
    return 0 if all(each.outcome == "deployed" for each in deployed) else 1


def _shadow(home: Path, config: "RunConfig", arguments: argparse.Namespace) -> int:
    from models_lib.errors import ConfigError
    from models_lib.registry.commands import find_bundle
    from models_lib.steps.champions import change_shadow
    from tasks.adapters.links import open_ssh
    from tasks.adapters.stores import configured_registry

    if len(arguments.symbols) != 1:
        raise ConfigError("--shadow is of one symbol: name it, as in `crpbot deploy BTC-USD --shadow BUNDLE`.")
    (symbol,) = arguments.symbols
    registry = partial(configured_registry, home, config)
    told = change_shadow(
        home,
        config,
        symbol,
        None if arguments.shadow == "none" else find_bundle(arguments.shadow, registry=registry).absolute(),
        registry=registry,
        target=arguments.target,
        who=operator(),
        ssh=open_ssh,
    )
    print(json.dumps({"symbols": {symbol: told}}, indent=2) if arguments.json else told)
    return 0
