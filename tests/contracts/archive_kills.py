"""A process that adds to an archive in S3, killed by itself before each of its requests: `python -m ... BUCKET SCRATCH`.

Prints a line of JSON for each kill: what another home reads after it, and after the killed home's next writer.
"""

import json
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

from models_lib.candles.archive.archive import CandleArchive
from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3.archive import S3Place
from tasks.adapters.s3.objects import S3Folder
from tests.archived import bars, everything, filled, page
from tests.aws.killed_requests import is_killed_before
from tests.aws.weed import REGION


def opened(aws: Aws, uri: str, home: Path) -> CandleArchive:
    return CandleArchive(S3Place(S3Folder(aws, uri), home / "copies", strays_after=timedelta(0)), home / "staging")


def killed(uri: str, home: Path, at_request: int) -> bool:
    """Whether it was; False when it came to its end before."""
    return is_killed_before(at_request, lambda aws: partial(filled, opened(aws, uri, home), page(90, 130)))


def seen(uri: str, home: Path) -> int:
    """How many minutes a reader finds; they begin at the first and have no hole."""
    found = everything(opened(Aws(REGION), uri, home))
    assert found.same_as(bars(range(len(found))))
    return len(found)


def main(bucket: str, scratch: Path) -> None:
    at_request, going_on = 0, True
    while going_on:
        uri, home = f"s3://{bucket}/{at_request}", scratch / f"home-{at_request}"
        filled(opened(Aws(REGION), uri, home), page(0, 90))
        going_on = killed(uri, home, at_request)
        after = seen(uri, scratch / f"reader-{at_request}")
        filled(opened(Aws(REGION), uri, home))
        again = seen(uri, scratch / f"reader-{at_request}")
        print(json.dumps({"at": at_request, "killed": going_on, "after": after, "again": again}), flush=True)
        at_request += 1


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
