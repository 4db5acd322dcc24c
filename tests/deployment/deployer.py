"""A deployer that is killed: a process that forks one for each point of a release and kills it there.

    python -m tests.deployment.deployer SECTION CANDIDATES

SECTION is the target as JSON, CANDIDATES what `Candidates` holds. For each line on stdin, `POINT HOME`, it forks a deployer
that releases BTC-USD's candidate in that home, kills it when it comes to the point, and answers `killed` or `done`.

A point is a function of the product that has just returned, or a piece of a sentence that it has just been told.
"""

import json
import logging
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

from models_lib.config.targets import SshTargetSection
from tests.deployment.desk import BTC, Candidates, Desk
from tests.killed import killed_at

POINTS = (
    "Journal.write",
    "Registry.promote",
    "SshLink.send",
    "answers as recorded",
    "watched for",
    "HostTarget.order",
    "record_deployment",
    "Journal.clear",
)
"""In the order in which a release comes to them; between two of them lies one step."""


class _Ear(logging.Handler):
    def __init__(self, point: str) -> None:
        super().__init__()
        self._point = point

    def emit(self, record: logging.LogRecord) -> None:
        if self._point in record.getMessage():
            os.kill(os.getpid(), signal.SIGKILL)


def release_until(point: str, desk: Desk, bundle: Path) -> None:
    def returned(frame: types.FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code.co_qualname == point:
            os.kill(os.getpid(), signal.SIGKILL)

    logging.getLogger("models_lib").addHandler(_Ear(point))
    logging.getLogger("models_lib").setLevel(logging.INFO)
    sys.setprofile(returned)
    desk.release(bundle)


def main(section: str, candidates: str) -> None:
    target, named = SshTargetSection.model_validate_json(section), json.loads(candidates)
    made = Candidates(Path(named["home"]), {BTC: Path(named["a"])}, {BTC: Path(named["b"])}, poisoned=Path())
    for line in sys.stdin:
        point, home = line.rstrip("\n").split("\t")
        desk = Desk(Path(home), made, target)
        killed = killed_at(0, lambda point=point, desk=desk: release_until(point, desk, made.b[BTC]))
        print("killed" if killed else "done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
