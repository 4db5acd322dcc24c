"""`crpbot release-hold`: a symbol may speak and be promoted again."""

import argparse
from datetime import UTC, datetime

from flows.home import crpbot_home, operator


def execute(arguments: argparse.Namespace) -> int:
    """Prints what the hold was."""
    from models_lib.holds import release_hold
    from models_lib.registry.commands import check_known

    home = crpbot_home()
    check_known(home, arguments.symbol)
    print(release_hold(home, arguments.symbol, who=operator(), now=datetime.now(UTC)).message)
    return 0
