"""Work on a bucket that kills itself before one of its requests, and the process that plays all of these kills.

boto3 is not to be forked with its threads at work: so each test plays its kills in a process of its own, by `python -m`.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.adapters.aws.clients import Aws
from tests.aws.weed import REGION, Weed


def is_killed_before(at_request: int, work: Callable[[Aws], Callable[[], object]]) -> bool:
    """Whether the work was, in a fork; False when it came to its end before.

    Args:
        at_request: the first request is 0.
        work: opens what it needs, whose requests do not count, and gives the rest of it.
    """
    child = os.fork()
    if child == 0:
        aws = Aws(REGION)
        rest = work(aws)
        _die_at(aws, at_request)
        rest()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _die_at(aws: Aws, at_request: int) -> None:
    asked = 0

    def count(**_: Any) -> None:
        nonlocal asked
        if asked == at_request:
            os.kill(os.getpid(), signal.SIGKILL)
        asked += 1

    aws.client("s3").meta.events.register("before-send.s3", count)


def kills_told_by(module: str, weed: Weed, bucket: str, scratch: Path) -> list[dict[str, Any]]:
    """What the module told of each kill, one line of JSON each."""
    answer = subprocess.run(
        [sys.executable, "-m", module, bucket, str(scratch)],
        capture_output=True,
        text=True,
        env=os.environ | weed.environment(),
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]
