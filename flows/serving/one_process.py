"""How each process of the serving room begins, and how it says in one line why it cannot.

What does not belong here: what it then does.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from flows.home import crpbot_home, make_home
from models_lib.errors import CrpbotError
from models_lib.orphans import die_with_parent


def add_parent(parser: argparse.ArgumentParser) -> None:
    """`--parent`, which supervision.py gives to each child."""
    parser.add_argument("--parent", type=int, help="process id of the parent; this process ends with it")


def begin(parent: int | None, environment_of: Callable[[Path], dict[str, str]]) -> None:
    """Ends with its parent, makes the home and takes that environment on; Prefect reads it when it is imported."""
    if parent is not None:
        die_with_parent(parent)
    home = crpbot_home()
    make_home(home)
    environment = environment_of(home)
    os.environ.clear()
    os.environ.update(environment)


def in_one_line(body: Callable[[], int | None]) -> int:
    """The exit status of the body; 1 after one line on stderr for an error that says what to do."""
    try:
        return body() or 0
    except CrpbotError as error:
        print(f"crpbot: {error}", file=sys.stderr)
        return 1
