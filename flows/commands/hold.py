"""`crpbot hold`: a symbol is silent at once. It asks for little, so that it works when much else does not."""

import argparse
import sys
from datetime import UTC, datetime
from functools import partial

from flows.home import crpbot_home, operator


def execute(arguments: argparse.Namespace) -> int:
    """Prints that the symbol is on hold, here and where it was deployed; 1 when one of these places does not take it."""
    from models_lib.config import load_config
    from models_lib.deployment.known import if_gone, known_targets
    from models_lib.deployment.silence import hold_at
    from models_lib.holds import place_hold
    from models_lib.registry.commands import check_known
    from tasks.adapters.links import open_ssh
    from tasks.adapters.stores import registry_to_look_at

    home, config = crpbot_home(), load_config(arguments.config, arguments.settings)
    check_known(home, arguments.symbol, config.symbols, registry=partial(registry_to_look_at, home, config))
    at_home = True
    try:
        print(
            place_hold(
                home, arguments.symbol, placed_by=operator(), reason=arguments.reason, now=datetime.now(UTC)
            ).message
        )
    except OSError as error:  # what speaks is elsewhere, and must be silent all the same
        at_home = False
        print(
            f"crpbot: {home}: the hold cannot be written ({error}), so {arguments.symbol} may still be promoted and "
            f"deployed from here. Mend the folder, then hold it again.",
            file=sys.stderr,
        )
    targets = known_targets(home, config.deployment, ssh=open_ssh, who=operator())
    done, failed = hold_at(targets, arguments.symbol, reason=arguments.reason)
    for sentence in done:
        print(sentence)
    for sentence in failed:
        print(f"crpbot: {arguments.symbol} MAY STILL SPEAK there: {sentence}", file=sys.stderr)
    if failed:
        print(f"crpbot: {if_gone(home)}", file=sys.stderr)
    return 0 if at_home and not failed else 1
