"""`crpbot export`: a champion's model as files for programs of others."""

import argparse
import json

from flows.home import crpbot_home


def execute(arguments: argparse.Namespace) -> int:
    """Prints the files, one a line."""
    from models_lib.bundle import export_bundle
    from models_lib.registry.commands import champion_folder, find_bundle

    home, symbol = crpbot_home(), arguments.symbol
    folder = champion_folder(home, symbol) if arguments.bundle is None else find_bundle(home, arguments.bundle)
    files = export_bundle(folder, arguments.out.absolute(), symbol=symbol)
    if arguments.json:
        print(json.dumps({"bundle": str(folder), "files": [str(path) for path in files]}, indent=2, sort_keys=True))
    else:
        print("\n".join(str(path) for path in files))
    return 0
