"""`crpbot compare`: a repaired model, V8 and their ensemble on the same rows, and which of them is to be used."""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from flows.home import crpbot_home, make_home, operator
from flows.plain_table import table_lines
from models_lib.reports import wording

if TYPE_CHECKING:
    from models_lib.reports.three_models import ThreeModels


def execute(arguments: argparse.Namespace) -> int:
    """Prints choice, figures and differences, and where they lie with their page; 1 when a promotion was refused."""
    from models_lib.config import load_config
    from models_lib.steps.compare import compare, comparison_folder
    from models_lib.steps.compare_inputs import ComparisonRequest
    from tasks.adapters.sources import open_source
    from tasks.adapters.stores import configured_registry

    home, now = crpbot_home(), datetime.now(UTC)
    config = load_config(arguments.config, tuple(arguments.settings))
    if arguments.out is None or arguments.promote:
        make_home(home)
    request = ComparisonRequest(
        symbol=arguments.symbol,
        repaired=arguments.repaired,
        v8=arguments.v8,
        candles=arguments.candles,
        promote=arguments.promote,
        who=operator(),
    )
    out = arguments.out or comparison_folder(home, arguments.symbol, now)
    comparison = compare(
        request,
        config,
        open_source=partial(open_source, home=home),
        home=home,
        registry=configured_registry(home, config),
        out=out,
        now=now,
    )
    if arguments.json:
        files = [str(file) for file in comparison.files]
        print(json.dumps({**comparison.study.to_json(), "files": files}, indent=2, sort_keys=True))
    else:
        print("\n".join(_screen(comparison.study)))
        print(f"figures: {comparison.files[0]}\npage: {comparison.files[1]}", file=sys.stderr)
    return 1 if comparison.outcome == "held" else 0


def _screen(study: "ThreeModels") -> Iterator[str]:
    """Choice and reasons first, then each model's gates, then the figures."""
    yield study.title()
    yield from study.sentences()
    yield ""
    for model in study.models.values():
        words = f"; {', '.join(model.words)}" if model.words else ""
        yield f"{model.short} {model.bundle[:12]} {model.verdict()}{words}  ({model.folder})"
    yield ""
    yield from table_lines(*study.table(), "<<>>>>>>>>>>")
    yield ""
    yield from table_lines(*study.differences_table(), "<<>>>>>>")
    yield ""
    yield f"took {wording.duration(study.seconds)}"
