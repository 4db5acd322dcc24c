"""A large file to S3 and back, in parts: several at once, in flat memory, each with a checksum of its own.

What does not belong here: what the objects are called, conditions and whole checksums (objects.py).
"""

import concurrent.futures
import contextlib
import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError, ResponseStreamingError

from models_lib.errors import DataError

PART_BYTES: Final = 16 << 20
THREADS: Final = 4
_PIECE_BYTES: Final = 256 << 10
"""Small enough for the processor's cache: with 1 MiB the same download takes twice the work."""
_ATTEMPTS: Final = 5
"""Of reading a part's content; what comes before the content is tried again by boto3 itself."""
_BROKEN_OFF = (HTTPClientError, IncompleteReadError, ResponseStreamingError)


def send(
    client: Any, path: Path, place: Mapping[str, str], *, metadata: Mapping[str, str], condition: Mapping[str, str]
) -> None:
    """Uploads a file of more than one part; the object appears when the last request, under the condition, passes.

    Whatever goes wrong, what was uploaded is dropped again, unless this process is killed.

    Args:
        client: of S3.
        path: the file.
        place: bucket and key, as arguments of the requests.
        metadata: of the object.
        condition: on which it appears, as arguments of the last request.

    Raises:
        DataError: the file was cut off meanwhile.
    """
    begun = client.create_multipart_upload(**place, ChecksumAlgorithm="SHA256", Metadata=dict(metadata))
    upload = {**place, "UploadId": begun["UploadId"]}
    try:
        parts = _all_parts(client, path, upload)
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, **condition)
    except BaseException:
        with contextlib.suppress(BotoCoreError, ClientError):  # what went wrong before is what must be told
            client.abort_multipart_upload(**upload)
        raise


def receive(client: Any, path: Path, place: Mapping[str, str], *, size_bytes: int) -> str:
    """Downloads an object to a file; the SHA-256 of its content, in lower-case hex.

    Args:
        client: of S3.
        path: the new file.
        place: bucket, key and the content's ETag, as arguments of the requests.
        size_bytes: of the object.
    """
    digest = hashlib.sha256()
    with path.open("wb+") as stream, _Threads() as threads:
        descriptor = stream.fileno()

        def part(start: int) -> int:
            end = min(start + PART_BYTES, size_bytes)
            _read(client, {**place, "Range": f"bytes={start}-{end - 1}"}, descriptor, start=start, end=end)
            return end

        position = 0
        for end in threads.map(part, range(0, size_bytes, PART_BYTES)):  # hashed in order, while the next ones come
            while position < end:
                piece = os.pread(descriptor, min(_PIECE_BYTES, end - position), position)
                digest.update(piece)
                position += len(piece)
            _begin_to_write(descriptor, end)
    return digest.hexdigest()


def _begin_to_write(descriptor: int, end: int) -> None:
    """Has the system write to the disk what is there so far: the sync at the end finds little left to wait for."""
    if sys.platform == "linux":
        os.posix_fadvise(descriptor, 0, end, os.POSIX_FADV_DONTNEED)


def _all_parts(client: Any, path: Path, upload: Mapping[str, str]) -> list[dict[str, Any]]:
    """Uploads every part; what the last request must say of each."""
    size_bytes = path.stat().st_size
    with path.open("rb") as stream, _Threads() as threads:

        def part(number: int) -> dict[str, Any]:
            start = (number - 1) * PART_BYTES
            content = os.pread(stream.fileno(), PART_BYTES, start)
            if len(content) != min(PART_BYTES, size_bytes - start):
                raise DataError(f"{path} was cut off while it was uploaded. Write it again, under a new name.")
            answer = client.upload_part(**upload, PartNumber=number, Body=content, ChecksumAlgorithm="SHA256")
            return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": answer["ChecksumSHA256"]}

        return list(threads.map(part, range(1, -(-size_bytes // PART_BYTES) + 1)))


def _read(client: Any, request: Mapping[str, str], descriptor: int, *, start: int, end: int) -> None:
    """One range of an object, into its place in the file; tried again where the content breaks off."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            position = start
            for piece in client.get_object(**request)["Body"].iter_chunks(_PIECE_BYTES):
                position += os.pwrite(descriptor, piece, position)
        except _BROKEN_OFF:
            if attempt == _ATTEMPTS:
                raise
        else:
            assert position == end, "botocore compares it with the length that was announced"
            return


class _Threads(concurrent.futures.ThreadPoolExecutor):
    """A few threads; leaving the context by an error, they begin nothing more."""

    def __init__(self) -> None:
        super().__init__(THREADS, thread_name_prefix="s3")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(wait=True, cancel_futures=kind is not None)
