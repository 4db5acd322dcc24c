"""`crpbot export`: a champion's model as files for programs of others."""

import argparse
import json
from functools import partial

from flows.home import crpbot_home


def execute(arguments: argparse.Namespace) -> int:
    """Prints the files, one a line."""
    from models_lib.bundle import export_bundle
    from models_lib.config import load_config
    from models_lib.registry.commands import champion_folder, find_bundle
    from tasks.adapters.stores import configured_registry

    home, symbol = crpbot_home(), arguments.symbol
    registry = partial(configured_registry, home, load_config(arguments.config, arguments.settings))
    if arguments.bundle is None:
        folder = champion_folder(home, symbol, registry=registry())
    else:
        folder = find_bundle(arguments.bundle, registry=registry)
    files = export_bundle(folder, arguments.out.absolute(), symbol=symbol)
    if arguments.json:
        print(json.dumps({"bundle": str(folder), "files": [str(path) for path in files]}, indent=2, sort_keys=True))
    else:
        print("\n".join(str(path) for path in files))
    return 0
