"""`crpbot approve`: the answer to a run that waits for a person, as the UI's form would give it."""

import argparse
from typing import Any

from flows.home import operator
from flows.serving.settings import address
from flows.waiting_runs import answer_run, the_one, waiting_runs
from models_lib.errors import ConfigError


def execute(arguments: argparse.Namespace) -> int:
    """Lists what waits, or answers it; 1 when the answer came too late."""
    server = address().api_url
    if arguments.run is None:
        print("\n".join(run.line() for run in waiting_runs(server)) or "no run waits for approval")
        return 0
    if arguments.hold and arguments.symbols:
        raise ConfigError("--hold promotes none. Name the symbols to promote, without it: the others are held.")
    run = the_one(server, arguments.run)
    if run.costs and arguments.symbols:
        raise ConfigError(f"{run.name} asks whether to pay {run.costs}: that is answered as a whole, without symbols.")
    no, yes = ("refuse", "approve") if run.costs else ("hold", "promote")
    decision = no if arguments.hold else yes
    answer: dict[str, Any] = {"decision": decision, "by": arguments.by or operator(), "note": arguments.note}
    if arguments.symbols:
        answer["symbols"] = list(arguments.symbols)
    answer_run(server, run, answer)
    named = f"payment of {run.costs}" if run.costs else ", ".join(arguments.symbols or run.symbols)
    print(f"{run.name}: {decision} {named}, by {answer['by']}; the run goes on when a worker takes it")
    return 0
