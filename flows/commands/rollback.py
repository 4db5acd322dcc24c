"""`crpbot rollback`: the previous champion is champion again. It must not wait for numba or torch."""

import argparse
from datetime import UTC, datetime

from flows.home import crpbot_home, make_home, operator


def execute(arguments: argparse.Namespace) -> int:
    """Prints what changed; a refusal is an error that the front door reports."""
    from models_lib.config import load_config
    from models_lib.holds import held
    from models_lib.registry.commands import rollback
    from tasks.adapters.stores import configured_registry

    home, symbol = crpbot_home(), arguments.symbol
    make_home(home)
    registry = configured_registry(home, load_config(arguments.config, arguments.settings))
    outcome = rollback(home, symbol, registry=registry, who=operator(), why=arguments.why, now=datetime.now(UTC))
    print(outcome.message)
    print(
        "A deployment target keeps the release that it runs: `crpbot status` says where it differs from the champion."
    )
    hold = held(home, symbol)
    if hold is None:
        print(f"The next nightly run may promote a new model: `crpbot hold {symbol} --reason TEXT` stops that.")
    else:
        print(f"{symbol} stays {hold.sentence()}")
    return 0
