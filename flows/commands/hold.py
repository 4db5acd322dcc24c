"""`crpbot hold`: a symbol is silent at once. It asks for little, so that it works when much else does not."""

import argparse
from datetime import UTC, datetime

from flows.home import crpbot_home, operator


def execute(arguments: argparse.Namespace) -> int:
    """Prints that the symbol is on hold, and why."""
    from models_lib.config import load_config
    from models_lib.holds import place_hold
    from models_lib.registry.commands import check_known

    home = crpbot_home()
    check_known(home, arguments.symbol, load_config(arguments.config, arguments.settings).symbols)
    change = place_hold(home, arguments.symbol, placed_by=operator(), reason=arguments.reason, now=datetime.now(UTC))
    print(change.message)
    return 0
