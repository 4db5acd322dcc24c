"""Makes sure that what this installation needs stands on Prefect's server: `python -m flows.serving.ensure`.

What does not belong here: what that is (standing.py), and starting anything.
"""

import argparse
import asyncio
import sys

from flows.serving.health import wait_until_healthy
from flows.serving.one_process import add_parent, begin, in_one_line
from flows.serving.settings import address, client_environment


def main(arguments: list[str] | None = None) -> int:
    """Prints one line for each thing that it found, created or changed."""
    parser = argparse.ArgumentParser(prog="python -m flows.serving.ensure", description=__doc__)
    add_parent(parser)
    chosen = parser.parse_args(arguments)
    return in_one_line(lambda: _begin(chosen))


def _begin(chosen: argparse.Namespace) -> None:
    begin(chosen.parent, client_environment)
    wait_until_healthy(address().api_url)
    asyncio.run(_ensure())


async def _ensure() -> None:
    # Prefect reads the environment when it is imported.
    from prefect.client.orchestration import get_client  # noqa: PLC0415

    from flows.serving.standing import ensure  # noqa: PLC0415

    async with get_client() as client:
        async for line in ensure(client):
            print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
