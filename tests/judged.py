"""Judged candidates for the registry's tests, made once a session: bundles A, B, C of BTC-USD and one of ETH-USD."""

import functools
import shutil
import tempfile
from datetime import datetime, timedelta
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from models_lib.bundle import add_run_facts, verify_hashes
from tests.bundles import T0, example_facts, write_example

CANDIDATES = {"A": ("BTC-USD", 1), "B": ("BTC-USD", 2), "C": ("BTC-USD", 3), "E": ("ETH-USD", 4), "S": ("SOL-USD", 5)}


def at(minutes: int) -> datetime:
    """A time of the tests' own clock."""
    return T0 + timedelta(minutes=minutes)


@functools.cache
def _unjudged(name: str) -> Path:
    scratch = Path(tempfile.mkdtemp(prefix="crpbot-test-"))
    # At the end of the process that made it, also where that is a fork; not of its own forks.
    Finalize(None, shutil.rmtree, (scratch,), {"ignore_errors": True}, exitpriority=0)
    folder = scratch / name
    symbol, seed = CANDIDATES[name]
    write_example(folder, symbol=symbol, seed=seed)
    return folder


def unjudged(name: str, folder: Path) -> str:
    """A copy of that candidate without run facts; returns its hash."""
    shutil.copytree(_unjudged(name), folder)
    return verify_hashes(folder)


def judged(name: str, folder: Path, **facts: Any) -> str:
    """A copy of that candidate with run facts (see `example_facts`); returns its hash."""
    bundle = unjudged(name, folder)
    symbol, _ = CANDIDATES[name]
    add_run_facts(folder, facts=example_facts(bundle, symbol=symbol, **facts), reports={"report.html": b"report"})
    return bundle
