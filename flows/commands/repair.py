"""`crpbot repair`: a legacy file mended without training, as a bundle of its own."""

import argparse
import json
import sys
from datetime import UTC, datetime

from flows.home import crpbot_home
from flows.plain_table import table_lines


def execute(arguments: argparse.Namespace) -> int:
    """Prints what was chosen and what it reaches; held by a gate is a normal outcome."""
    from models_lib.config import load_config
    from models_lib.legacy import read_legacy
    from models_lib.steps.market import open_market, with_candles
    from models_lib.steps.old_files import check_symbol, features_of, symbol_of
    from models_lib.steps.repair import PAGE_NAME, check_free, repair_model
    from tasks.adapters.sources import open_source
    from tasks.adapters.stores import configured_registry

    home, now = crpbot_home(), datetime.now(UTC)
    config = with_candles(load_config(arguments.config, tuple(arguments.settings)), arguments.candles)
    check_free(arguments.out)
    model = read_legacy(arguments.file, scaler_file=arguments.scaler)
    check_symbol(model, arguments.symbol)
    features, symbol = features_of(model, arguments.features), symbol_of(model, arguments.symbol, config)
    market = open_market(symbol, config, source=open_source(config, home=home), now=now)
    registry = configured_registry(home, config)
    study = repair_model(model, market, features, config, arguments.out, registry=registry, now=now)
    if arguments.json:
        print(json.dumps(study.to_json(), indent=2, sort_keys=True))
        return 0
    said = (study.verdict(), study.words_line(), *study.sentences())
    lines = [
        study.title(),
        "",
        *(sentence for sentence in said if sentence),
        "",
        *table_lines(*study.table(), "<>>>>>>>>>"),
    ]
    print("\n".join(lines))
    print(f"bundle: {arguments.out}\npage: {arguments.out / 'reports' / PAGE_NAME}", file=sys.stderr)
    return 0
