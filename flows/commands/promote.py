"""`crpbot promote`: a judged bundle becomes champion by hand."""

import argparse
from datetime import UTC, datetime

from flows.home import crpbot_home, make_home, operator


def execute(arguments: argparse.Namespace) -> int:
    """Prints what changed; a refusal is an error that the front door reports."""
    from models_lib.registry.commands import promote

    home = crpbot_home()
    make_home(home)
    outcome = promote(
        home, arguments.symbol, arguments.bundle, who=operator(), why=arguments.why, now=datetime.now(UTC)
    )
    print(outcome.message)
    return 0
