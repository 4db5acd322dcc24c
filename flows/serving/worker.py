"""Carries out the runs of one work pool: `python -m flows.serving.worker POOL`.

First it cancels scheduled runs that later ones supersede, then this process becomes Prefect's own worker.

What does not belong here: watching over it (up.py), and a rented machine's worker, which ends itself.
"""

import argparse
import asyncio
import os
import socket
import sys

from flows.serving.one_process import add_parent, begin, in_one_line
from flows.serving.settings import SYMBOL_POOL, client_environment


def main(arguments: list[str] | None = None) -> int:
    """Returns only when it cannot begin: Prefect's worker takes this process over."""
    parser = argparse.ArgumentParser(prog="python -m flows.serving.worker", description=__doc__)
    parser.add_argument("pool", help="work pool of which it takes runs")
    add_parent(parser)
    chosen = parser.parse_args(arguments)
    return in_one_line(lambda: _work(chosen))


def _work(chosen: argparse.Namespace) -> None:
    begin(chosen.parent, client_environment)
    asyncio.run(_tidy(chosen.pool))
    command = worker_command(chosen.pool)
    os.execv(command[0], command)  # noqa: S606  our own interpreter, no shell


def worker_command(pool: str) -> list[str]:
    """Prefect's worker; the one for symbols takes as many at a time as there are cores."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    command += ["--name", f"{pool}@{socket.gethostname()}", "--install-policy", "never"]
    if pool == SYMBOL_POOL:
        command += ["--limit", str(len(os.sched_getaffinity(0)))]
    return command


async def _tidy(pool: str) -> None:
    # Prefect reads the environment when it is imported.
    from prefect.client.orchestration import get_client  # noqa: PLC0415

    from flows.serving.late_runs import cancel_superseded  # noqa: PLC0415

    async with get_client() as client:
        for run in await cancel_superseded(client, pool):
            print(
                f"{run.name}, due {run.expected_start_time:%Y-%m-%d %H:%M} UTC: cancelled, a later one is due as well"
            )


if __name__ == "__main__":
    sys.exit(main())
