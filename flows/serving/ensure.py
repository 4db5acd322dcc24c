"""Makes sure that what this installation needs stands on Prefect's server: `python -m flows.serving.ensure`.

What does not belong here: what that is (standing.py), and starting anything.
"""

import argparse
import asyncio
import os
import sys

from flows.home import crpbot_home, prepare_home
from flows.serving.health import wait_until_healthy
from flows.serving.settings import address, client_environment
from models_lib.errors import CrpbotError
from models_lib.orphans import die_with_parent


def main(arguments: list[str] | None = None) -> int:
    """Prints one line for each thing that it found, created or changed."""
    parser = argparse.ArgumentParser(prog="python -m flows.serving.ensure", description=__doc__)
    parser.add_argument("--parent", type=int, help="process id of the parent; this process ends with it")
    chosen = parser.parse_args(arguments)
    if chosen.parent is not None:
        die_with_parent(chosen.parent)
    try:
        home = crpbot_home()
        prepare_home(home)
        environment = client_environment(home)
        os.environ.clear()
        os.environ.update(environment)
        wait_until_healthy(address().api_url)
        asyncio.run(_ensure())
    except CrpbotError as error:
        print(f"crpbot: {error}", file=sys.stderr)
        return 1
    return 0


async def _ensure() -> None:
    # Prefect reads the environment when it is imported.
    from prefect.client.orchestration import get_client  # noqa: PLC0415

    from flows.serving.standing import ensure  # noqa: PLC0415

    async with get_client() as client:
        async for line in ensure(client):
            print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
