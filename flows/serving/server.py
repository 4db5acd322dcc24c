"""Prefect's server with its UI and services, in this process: `python -m flows.serving.server`.

Without a socket it listens at PREFECT_API_URL itself, as the systemd unit wants it.

What does not belong here: watching over it (up.py), and the small server of one `crpbot run` (flows/prefect_server.py).
"""

import argparse
import os

from flows.home import crpbot_home, prepare_home
from flows.serving.settings import address, server_environment
from models_lib.orphans import die_with_parent

_LAST_REQUESTS_SECONDS = 3


def main(arguments: list[str] | None = None) -> None:
    """Serves until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m flows.serving.server", description=__doc__)
    parser.add_argument("--socket", type=int, help="file descriptor of a listening socket")
    parser.add_argument("--parent", type=int, help="process id of the parent; this process ends with it")
    chosen = parser.parse_args(arguments)
    if chosen.parent is not None:
        die_with_parent(chosen.parent)
    home = crpbot_home()
    prepare_home(home)
    environment = server_environment(home)
    os.environ.clear()
    os.environ.update(environment)

    # Prefect reads the environment when it is imported.
    import uvicorn  # noqa: PLC0415
    from prefect.server.api.server import create_app  # noqa: PLC0415

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
    main()
