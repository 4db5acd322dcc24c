"""`crpbot run`: train-all in this process."""

import argparse
import gc
import importlib
import json
import sys
import threading
from pathlib import Path
from typing import Any, Literal

from flows import prefect_environment
from flows.home import crpbot_home, prepare_home
from flows.interruption import ends_when_interrupted
from flows.parameters import RetrainParams
from flows.plain_table import table_lines
from flows.prefect_server import OwnServer, start_own_server
from models_lib.config import RunConfig, load_config, select_symbols
from models_lib.errors import ConfigError, CrpbotError, TransientError, VerdictError
from models_lib.reports.controls import NUMBER_COLUMNS, control_alarm_lines, control_table
from models_lib.reports.summary import data_lines, outcome_lines
from models_lib.steps.plan import check_data_folder
from tasks.adapters.sources import check_source

_APPROVED = ("approval.promotion=auto", "approval.deployment=auto")


def execute(arguments: argparse.Namespace) -> int:
    """Runs every requested symbol; 1 when one failed."""
    symbols = tuple(part.strip() for part in arguments.symbols.split(",")) if arguments.symbols is not None else None
    settings = tuple(arguments.settings) + (_APPROVED if arguments.yes else ())
    payment: Literal["as configured", "approved"] = "approved" if arguments.yes else "as configured"
    params = RetrainParams(
        config=arguments.config, symbols=symbols, settings=settings, controls=arguments.controls, payment=payment
    )
    home = crpbot_home()
    prepare_home(home)
    # What can be refused is refused here, in a tenth of a second, before Prefect is started.
    config = load_config(params.config, params.overrides)
    select_symbols(config, params.symbols)
    check_data_folder(config)
    check_source(config, home=home)
    _check_storage(home, config)

    prefect_environment.use_home(home)
    with ends_when_interrupted():
        return _run(params, config, start_own_server(home), as_json=arguments.json)


def _check_storage(home: Path, config: RunConfig) -> None:
    from tasks.adapters.stores import check_storage

    try:
        check_storage(home, config)
    except TransientError as error:
        raise ConfigError(f"{error} Nothing was started.") from error


def _run(params: RetrainParams, config: RunConfig, own_server: OwnServer | None, *, as_json: bool) -> int:
    _load_what_a_run_needs()

    from prefect import tags
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.console import progress_on_stderr
    from flows.train_all import train_all
    from models_lib.steps.summary import RunSummary
    from tasks.ui.runs import MANUAL, RETRAIN

    # No step before the training's end asks the network anything in this process: torch is loaded beside the server's
    # start and the first ones.
    threading.Thread(
        target=importlib.import_module, args=("models_lib.networks.onnx_graph",), name="load-torch"
    ).start()
    # Nobody looks for the heartbeats of a server that ends with this run, and each flow run waits a second for its last.
    # Prefect reads all its settings anew for that: before the server is waited for, not after.
    settings = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if own_server else {}
    with progress_on_stderr(), tags(RETRAIN, MANUAL), temporary_settings(settings):
        if own_server:
            own_server.wait_until_it_answers()
        state = train_all(params, return_state=True)
    answer = state.result(raise_on_failure=False)
    match answer:
        case RunSummary():
            path = answer.file.path
        case VerdictError(summary=Path() as path):
            pass
        case CrpbotError():
            raise answer
        case _:
            told = f"the run ended without a summary: {state.message or answer!r}. See it with --debug."
            raise CrpbotError(told) from (answer if isinstance(answer, BaseException) else None)
    gc.freeze()  # otherwise the interpreter looks through all of it once more when it ends: most of a second
    content = json.loads(path.read_text())
    if as_json:
        print(json.dumps(content, indent=2, sort_keys=True))
    else:
        print("\n".join((*outcome_lines(content), *_controls(content))))
        print("".join(f"{line}\n" for line in _spoken(content, config)), end="", file=sys.stderr)
    # Last, and whatever stdout carries: a run on old candles ends like any other, and should not be taken for one.
    warnings = (*data_lines(content), *control_alarm_lines(content))
    print("".join(f"warning: {line}\n" for line in warnings), end="", file=sys.stderr)
    if not as_json:
        print(f"summary: {path}", file=sys.stderr)
    return 1 if isinstance(answer, VerdictError) else 0


def _controls(content: dict[str, Any]) -> list[str]:
    """Each model beside its controls, below the symbols' lines; nothing where none was asked for."""
    tables = {
        symbol: table
        for symbol, entry in content["symbols"].items()
        if (table := control_table((entry["metrics"] or {}).get("test", {}), entry["controls"])) is not None
    }
    if not tables:
        return []
    rows = [[symbol, *row.values()] for symbol, table in tables.items() for row in table.rows]
    head = ["symbol", *next(iter(tables.values())).rows[0]]
    words = [f"{symbol}: {one.text}" for symbol, table in tables.items() for one in table.words if not one.alarm]
    return ["", *table_lines(head, rows, "<<" + ">" * len(NUMBER_COLUMNS)), *words]


def _spoken(content: dict[str, Any], config: RunConfig) -> list[str]:
    from models_lib.deployment.local_runtime import spoken_on_this_machine

    deployed = [s for s, entry in content["symbols"].items() if entry["deployment"]["outcome"] == "deployed"]
    return spoken_on_this_machine(config.deployment, deployed, home=crpbot_home())


def _load_what_a_run_needs() -> None:
    """Imports the flow and what it and its steps import late, while the server starts on the other core."""
    gc.disable()
    for name in ("flows.train_all", "prefect.flow_engine", "fastapi.encoders"):
        importlib.import_module(name)
    gc.freeze()  # what is loaded here stays
    gc.enable()
