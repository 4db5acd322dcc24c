"""A process that puts a bundle into S3, killed by itself before each of its requests: `python -m ... BUCKET SCRATCH`.

The bundle is SCRATCH/candidate. Prints a line of JSON for each kill: what another home sees after it, and after the put was tried again.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from models_lib.bundle import load_bundle, verify_hashes
from models_lib.errors import BundleError
from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3.objects import S3Folder
from tasks.adapters.s3.store import S3Store
from tests.aws.killed_requests import is_killed_before
from tests.aws.weed import REGION


def killed(uri: str, home: Path, candidate: Path, at_request: int) -> bool:
    """Whether it was; False when it came to its end before."""
    return is_killed_before(at_request, lambda aws: partial(S3Store(S3Folder(aws, uri), home).put, candidate))


def seen(store: S3Store, bundle: str) -> dict[str, Any]:
    """What a reader finds."""
    try:
        sound = verify_hashes(store.bundle(bundle)) == bundle
    except BundleError:
        sound = False
    return {"found": list(store.find("")), "sound": sound, "verdicts": len(store.verdicts(bundle))}


def main(bucket: str, scratch: Path) -> None:
    bundle = load_bundle(scratch / "candidate").hash  # the forks find its code compiled
    at_request, going_on = 0, True
    while going_on:
        uri, home = f"s3://{bucket}/{at_request}", scratch / f"home-{at_request}"
        going_on = killed(uri, home, scratch / "candidate", at_request)
        reader = S3Store(S3Folder(Aws(REGION), uri), scratch / f"reader-{at_request}")
        after = seen(reader, bundle)
        reader.put(scratch / "candidate")
        told = {"at": at_request, "killed": going_on, "after": after, "again": seen(reader, bundle)}
        print(json.dumps(told), flush=True)
        at_request += 1


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
