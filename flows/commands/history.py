"""`crpbot history`: the ledger, and whether it can be believed."""

import argparse
import json
import sys

from flows.home import crpbot_home


def execute(arguments: argparse.Namespace) -> int:
    """Prints one line a change, oldest first; 1 when the chain or a pointer is damaged."""
    from models_lib.config import load_config
    from models_lib.registry.commands import history
    from tasks.adapters.stores import configured_registry

    home, config = crpbot_home(), load_config(arguments.config, arguments.settings)
    record = history(home, arguments.symbol, registry=configured_registry(home, config))
    if arguments.json:
        document = {
            "entries": [entry.to_json() for entry in record.entries],
            "damage": [{"line": damage.line, "fact": damage.fact} for damage in record.damage],
            "unfinished": record.unfinished,
            "sound": not record.damage,
        }
        print(json.dumps(document, indent=2, sort_keys=True))
    else:
        of_symbol = f" of {arguments.symbol}" if arguments.symbol else ""
        for entry in record.entries:
            print(entry.sentence())
        print(f"{len(record.entries)} {'change' if len(record.entries) == 1 else 'changes'}{of_symbol}")
    if record.unfinished:
        print("a last line that was cut off by a crash is left out: that change was never made", file=sys.stderr)
    if record.damage:
        print(
            f"crpbot: the record is damaged: {'; '.join(map(str, record.damage))}. "
            f"Restore the ledger and promoted/ from a backup; until then champions cannot be changed.",
            file=sys.stderr,
        )
    return 1 if record.damage else 0
