"""`crpbot verify`: what every check of a bundle finds."""

import argparse
import json
import sys
from functools import partial

from flows.home import crpbot_home
from flows.plain_table import table_lines


def execute(arguments: argparse.Namespace) -> int:
    """Prints one line a check; 1 when one found an error."""
    from models_lib.bundle import is_sound, verify_bundle
    from models_lib.config import load_config
    from models_lib.registry.commands import find_bundle
    from tasks.adapters.stores import configured_registry

    config = load_config(arguments.config, arguments.settings)
    folder = find_bundle(arguments.bundle, registry=partial(configured_registry, crpbot_home(), config))
    findings = verify_bundle(folder)
    sound = is_sound(findings)
    if arguments.json:
        document = {
            "bundle": str(folder),
            "sound": sound,
            "findings": [
                {"check": finding.check, "level": finding.level, "message": finding.message} for finding in findings
            ],
        }
        print(json.dumps(document, indent=2, sort_keys=True))
    else:
        rows = [(finding.check, finding.level, finding.message) for finding in findings]
        print("\n".join(table_lines(("check", "result", "found"), rows, "<<<")))
    if not sound:
        print(f"crpbot: do not use this bundle: {findings[-1].message}", file=sys.stderr)
    return 0 if sound else 1
