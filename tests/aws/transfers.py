"""One transfer in a process of its own, so that its memory is its own: `python -m tests.aws.transfers upload ours FILE URI KEY`.

It prints by how many MB the process's largest size grew over what it was before.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig

from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3.objects import S3Folder
from tasks.adapters.s3.parts import PART_BYTES, THREADS
from tests.aws.weed import REGION


def transfer(direction: str, who: str, path: Path, uri: str, key: str) -> Callable[[], Any]:
    """The transfer, with everything opened that it needs."""
    aws = Aws(REGION)
    folder, client = S3Folder(aws, uri), aws.client("s3")
    same = TransferConfig(multipart_threshold=PART_BYTES + 1, multipart_chunksize=PART_BYTES, max_concurrency=THREADS)
    bucket = folder.bucket
    ways: dict[tuple[str, str], Callable[[], Any]] = {
        ("upload", "ours"): lambda: folder.upload(path, key),
        ("upload", "plain"): lambda: client.upload_file(
            str(path), bucket, key, ExtraArgs={"ChecksumAlgorithm": "SHA256"}, Config=same
        ),
        ("download", "ours"): lambda: folder.download(key, path),
        ("download", "plain"): lambda: client.download_file(bucket, key, str(path), Config=same),
    }
    client.head_bucket(Bucket=bucket)  # connects
    return ways[direction, who]


def peak_mb() -> float:
    """The largest size of this process; getrusage would count that of the process which started it, too."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def main() -> None:
    direction, who, path, uri, key = sys.argv[1:]
    act = transfer(direction, who, Path(path), uri, key)
    before = peak_mb()
    act()
    print(peak_mb() - before)


if __name__ == "__main__":
    main()
