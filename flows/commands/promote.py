"""`crpbot promote`: a judged bundle becomes champion by hand."""

import argparse
from datetime import UTC, datetime

from flows.home import crpbot_home, make_home, operator


def execute(arguments: argparse.Namespace) -> int:
    """Prints what changed; a refusal is an error that the front door reports."""
    from models_lib.config import load_config
    from models_lib.registry.commands import promote
    from tasks.adapters.stores import configured_registry

    home, config = crpbot_home(), load_config(arguments.config, arguments.settings)
    make_home(home)
    outcome = promote(
        home,
        arguments.symbol,
        arguments.bundle,
        registry=configured_registry(home, config),
        who=operator(),
        why=arguments.why,
        now=datetime.now(UTC),
    )
    print(outcome.message)
    return 0
