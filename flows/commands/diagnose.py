"""`crpbot diagnose`: what is wrong with a model, and what to do about it."""

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.home import crpbot_home, make_home
from flows.plain_table import table_lines

if TYPE_CHECKING:
    from models_lib.reports.diagnosis import Diagnosis

_WIDTH, _INDENT = 110, 12
_SHOWN_CAUSES = 3


def execute(arguments: argparse.Namespace) -> int:
    """Prints the diagnosis, and where it lies with its page; 1 when a blocking gate failed."""
    from models_lib.config import load_config
    from models_lib.steps.diagnose import DiagnosisRequest, diagnose, write_diagnosis
    from tasks.adapters.sources import open_source
    from tasks.adapters.stores import configured_registry

    home, now = crpbot_home(), datetime.now(UTC)
    config = load_config(arguments.config, tuple(arguments.settings))
    if arguments.out is None:
        make_home(home)
    request = DiagnosisRequest(
        reference=arguments.model,
        symbol=arguments.symbol,
        candles=arguments.candles,
        features=arguments.features,
        scaler=arguments.scaler,
    )
    diagnosis = diagnose(
        request,
        config,
        open_source=partial(open_source, home=home),
        registry=partial(configured_registry, home, config),
        now=now,
    )
    files = write_diagnosis(diagnosis, arguments.out or home / "diagnoses" / _folder_name(diagnosis, now))
    if arguments.json:
        print(json.dumps({**diagnosis.to_json(), "files": [str(file) for file in files]}, indent=2, sort_keys=True))
    else:
        print("\n".join(_screen(diagnosis)))
        print(f"table: {files[0]}\npage: {files[1]}", file=sys.stderr)
    return 1 if diagnosis.failed_blocking else 0


def _folder_name(diagnosis: "Diagnosis", now: datetime) -> str:
    return f"{Path(diagnosis.model.name).stem}-{diagnosis.model.identity[:12]}-{now:%Y%m%dT%H%M%SZ}"


def _screen(diagnosis: "Diagnosis") -> Iterator[str]:
    """One screen: verdict, causes and remedy first, then the figures, then the gates."""
    first, *others = diagnosis.cause_lines()
    yield diagnosis.headline()
    yield from _labelled("cause", first)
    for other in others[: _SHOWN_CAUSES - 1]:
        yield from _labelled("also", other)
    yield from _labelled("remedy", diagnosis.remedy.words)
    # A command stays one line, however long: it is there to be copied.
    yield from (f"{'':<{_INDENT}}{command}" for command in diagnosis.remedy.commands)
    yield from _labelled("rows", " ".join(diagnosis.row_sentences()))
    yield from _labelled("words", "; ".join(diagnosis.words))
    for name, line in diagnosis.figure_lines():
        yield from _labelled(name, line)
    yield from table_lines(*diagnosis.output_table(), "<>>>>")
    yield ""
    yield from table_lines(*diagnosis.gate_table(), "<<>><<")


def _labelled(name: str, text: str) -> list[str]:
    """The text with a hanging indent behind its name; nothing without a text."""
    if not text:
        return []
    return textwrap.wrap(
        text, _WIDTH, initial_indent=f"{name:<{_INDENT}}", subsequent_indent=" " * _INDENT, break_long_words=False
    )
