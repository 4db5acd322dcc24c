"""Prefect's server with its UI and services, in this process: `python -m flows.serving.server`.

Without a socket it listens at PREFECT_API_URL itself, as the systemd unit wants it.

What does not belong here: watching over it (up.py), and the small server of one `crpbot run` (flows/prefect_server.py).
"""

import argparse
import sys

from flows.serving.one_process import add_parent, begin, in_one_line
from flows.serving.settings import address, server_environment

_LAST_REQUESTS_SECONDS = 3


def main(arguments: list[str] | None = None) -> int:
    """Serves until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m flows.serving.server", description=__doc__)
    parser.add_argument("--socket", type=int, help="file descriptor of a listening socket")
    add_parent(parser)
    chosen = parser.parse_args(arguments)
    return in_one_line(lambda: _serve(chosen))


def _serve(chosen: argparse.Namespace) -> None:
    begin(chosen.parent, server_environment)
    # Prefect reads the environment when it is imported.
    import uvicorn  # noqa: PLC0415
    from prefect.server.api.server import create_app  # noqa: PLC0415

    from flows.sqlite_writers import let_writers_wait  # noqa: PLC0415

    let_writers_wait()
    where = address()
    listening = {"fd": chosen.socket} if chosen.socket is not None else {"host": where.host, "port": where.port}
    uvicorn.run(
        create_app(final=True),
        **listening,
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=_LAST_REQUESTS_SECONDS,
    )


if __name__ == "__main__":
    sys.exit(main())
