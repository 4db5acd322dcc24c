"""`crpbot release-hold`: a symbol may speak and be promoted again."""

import argparse
import sys
from datetime import UTC, datetime
from functools import partial

from flows.home import crpbot_home, operator


def execute(arguments: argparse.Namespace) -> int:
    """Prints what the hold was, here and where it was deployed; 1 when a host does not answer and stays silent."""
    from models_lib.config import load_config
    from models_lib.deployment.known import if_gone, known_targets
    from models_lib.deployment.silence import release_at
    from models_lib.holds import release_hold
    from models_lib.registry.commands import check_known
    from tasks.adapters.links import open_ssh
    from tasks.adapters.stores import registry_to_look_at

    home, config = crpbot_home(), load_config(arguments.config, arguments.settings)
    check_known(home, arguments.symbol, config.symbols, registry=partial(registry_to_look_at, home, config))
    # Home first: when its hold cannot be ended, no host speaks of a symbol that is on hold here.
    print(release_hold(home, arguments.symbol, who=operator(), now=datetime.now(UTC)).message)
    targets = known_targets(home, config.deployment, ssh=open_ssh, who=operator())
    done, failed = release_at(targets, arguments.symbol)
    for sentence in done:
        print(sentence)
    for sentence in failed:
        print(f"crpbot: {arguments.symbol} may still be silent there: {sentence}", file=sys.stderr)
    if failed:
        print(f"crpbot: {if_gone(home)}", file=sys.stderr)
    return 1 if failed else 0
