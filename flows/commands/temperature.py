"""`crpbot temperature`: what other temperatures would do to a bundle."""

import argparse
import json
import sys
from datetime import UTC, datetime
from functools import partial

from flows.home import crpbot_home, make_home
from flows.plain_table import table_lines


def execute(arguments: argparse.Namespace) -> int:
    """Prints the table, and where it lies with its plots."""
    from models_lib.config import load_config
    from models_lib.registry.commands import find_bundle
    from models_lib.steps.temperature_study import parse_temperatures, study_temperature, write_study
    from tasks.adapters.stores import configured_registry

    home, now = crpbot_home(), datetime.now(UTC)
    values = None if arguments.values is None else parse_temperatures(arguments.values)
    if arguments.out is None:
        make_home(home)
    config = load_config(arguments.config, arguments.settings)
    folder = find_bundle(arguments.bundle, registry=partial(configured_registry, home, config))
    study = study_temperature(folder, arguments.candles, values=values, which=arguments.rows, now=now)
    out = arguments.out or home / "temperature" / f"{study.symbol}-{study.bundle[:12]}-{now:%Y%m%dT%H%M%SZ}"
    table, page = write_study(study, out)
    if arguments.json:
        print(json.dumps({**study.to_json(), "files": [str(table), str(page)]}, indent=2, sort_keys=True))
        return 0
    lines = [study.title(), study.rows.sentence(), "", *table_lines(*study.table(), ">>>>>><"), "", *study.sentences()]
    print("\n".join(lines))
    print(f"table: {table}\nplots: {page}", file=sys.stderr)
    return 0
