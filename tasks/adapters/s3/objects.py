"""Objects below one prefix of a bucket: written whole or not at all, under conditions, and verified on every read.

Every object carries the SHA-256 of its content as metadata, and a checksum that S3 itself verifies on arrival. A write
under a condition has one winner, on AWS and on every endpoint that `refuse_unconditional` lets pass; the retries of a
write whose answer was lost are told apart from another writer by a mark of the write's own.

What does not belong here: what the objects mean, and how a large file travels in parts (parts.py).
"""

import base64
import contextlib
import hashlib
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError, FlexibleChecksumError

from models_lib.errors import ConfigError, DataError, TransientError
from models_lib.files import sha256_file, whole_file
from tasks.adapters.aws.clients import Aws
from tasks.adapters.aws.faults import code_of, translated
from tasks.adapters.s3.parts import PART_BYTES, receive, send

_LOST: Final = frozenset({"PreconditionFailed", "412"})
_CONFLICT: Final = frozenset({"ConditionalRequestConflict", "409"})
_ABSENT: Final = frozenset({"NoSuchKey", "404", "NotFound"})
_GONE: Final = frozenset({"NoSuchUpload"})
"""An upload in parts that is complete, and whose last request is tried again."""
_ATTEMPTS_AT_A_CONFLICT: Final = 3
_probed: set[tuple[str, str, str]] = set()
"""Endpoint, bucket and prefix of the folders that refused a second write, in this process."""
_probing = threading.Lock()


@dataclass(frozen=True)
class ObjectHead:
    """What is known of an object without its content.

    Attributes:
        key: below the folder.
        size_bytes: of the content.
        etag: names this content for conditions; with its quotes.
        last_modified: aware UTC.
        sha256: of the content, in lower-case hex; None where nobody said, and in listings.
    """

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime
    sha256: str | None = None


@dataclass(frozen=True)
class StoredObject:
    """A small object, read and verified.

    Attributes:
        content: its bytes.
        etag: names this content for conditions; with its quotes.
        last_modified: aware UTC.
    """

    content: bytes
    etag: str
    last_modified: datetime


@dataclass(frozen=True)
class UnfinishedUpload:
    """A large object on its way, or what a killed process left of one.

    Attributes:
        key: below the folder.
        upload_id: S3's name for it.
        begun: aware UTC.
    """

    key: str
    upload_id: str
    begun: datetime


@dataclass(frozen=True)
class _Mark:
    """Tells a write's own retry from another writer: both are refused in the same way."""

    value: str = field(default_factory=lambda: secrets.token_hex(8))

    def metadata(self, sha256: str) -> dict[str, str]:
        """What travels with the content."""
        return {"sha256": sha256, "write": self.value}

    def is_on(self, answer: dict[str, Any]) -> bool:
        """Whether it was this write that made the object."""
        return bool(answer.get("Metadata", {}).get("write") == self.value)


class S3Folder:
    """Everything below s3://bucket/prefix. Safe to share between threads.

    Every method raises TransientError where S3 does not answer and ConfigError where it refuses: no bucket, no
    credentials, no right.

    Args:
        aws: gives the client.
        uri: s3://bucket or s3://bucket/prefix.
    """

    def __init__(self, aws: Aws, uri: str) -> None:
        self.uri = uri.rstrip("/")
        bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
        self.bucket: Final = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = aws.client("s3")
        self._bucket_was_seen = False

    def put(self, key: str, content: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str | None:
        """Writes a small object; its new ETag, or None when the condition does not hold: another writer was first.

        Args:
            key: below the folder.
            content: at most a few megabytes.
            if_absent: only where there is no object of this name.
            if_match: only over the content with this ETag.
        """
        condition = _condition(if_absent=if_absent, if_match=if_match)
        place, digest, mark = f"{self.uri}/{key}", hashlib.sha256(content).digest(), _Mark()
        for _ in range(_ATTEMPTS_AT_A_CONFLICT):
            try:
                with _asked(place):
                    answer = self._client.put_object(
                        **self._place(key),
                        Body=content,
                        Metadata=mark.metadata(digest.hex()),
                        ChecksumSHA256=base64.b64encode(digest).decode(),
                        **condition,
                    )
                return str(answer["ETag"])
            except _ConditionFailedError as lost:
                if lost.after_retries and (written := self._written_as(key, mark)) is not None:
                    return written.etag
                if not lost.in_conflict:
                    return None
        return None

    def get(self, key: str) -> StoredObject | None:
        """A small object, its content verified; None when there is none.

        Raises:
            DataError: the content is not what was stored.
        """
        place = f"{self.uri}/{key}"
        with translated(place):
            try:
                answer = self._client.get_object(**self._place(key), ChecksumMode="ENABLED")
                content = answer["Body"].read()
            except FlexibleChecksumError as error:
                raise _damaged(place) from error
            except ClientError as error:
                if code_of(error) in _ABSENT:
                    return None
                raise
        said = _sha256_of(answer)
        if said is not None and hashlib.sha256(content).hexdigest() != said:
            raise _damaged(place)
        return StoredObject(content, str(answer["ETag"]), answer["LastModified"])

    def head(self, key: str) -> ObjectHead | None:
        """What is known of an object without its content; None when there is none."""
        answer = self._head(key)
        return None if answer is None else _head_of(key, answer)

    def heads(self, prefix: str = "") -> Iterator[ObjectHead]:
        """The objects whose keys begin with `prefix`, in order, without a request for each; a listing knows no SHA-256."""
        with translated(f"{self.uri}/{prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield ObjectHead(
                        entry["Key"].removeprefix(self._prefix),
                        int(entry["Size"]),
                        str(entry["ETag"]),
                        entry["LastModified"],
                    )

    def names(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, relative to the folder, in order."""
        return (head.key for head in self.heads(prefix))

    def upload(self, path: Path, key: str, *, if_absent: bool = False) -> bool:
        """Writes a file of any size, visible only when all of it arrived; False: not written, as there is one already.

        Args:
            path: the file; it must not change meanwhile.
            key: below the folder.
            if_absent: only where there is no object of this name.
        """
        if path.stat().st_size <= PART_BYTES:
            return self.put(key, path.read_bytes(), if_absent=if_absent) is not None
        place, mark = f"{self.uri}/{key}", _Mark()
        try:
            with _asked(place):
                send(
                    self._client,
                    path,
                    self._place(key),
                    metadata=mark.metadata(sha256_file(path)),
                    condition=_condition(if_absent=if_absent, if_match=None),
                )
        except _ConditionFailedError as error:
            if error.after_retries and self._written_as(key, mark) is not None:
                return True
            if if_absent and self.head(key) is not None:
                return False
            raise TransientError(f"{place}: another writer interfered with the upload. Try again.") from error
        return True

    def download(self, key: str, path: Path) -> None:
        """Reads an object of any size to `path`, which appears when all of its content was found to be right.

        Raises:
            DataError: there is no such object, or its content is not what was stored.
        """
        place = f"{self.uri}/{key}"
        head = self.head(key)
        if head is None:
            raise DataError(f"{place}: there is no such object. Put it there, or correct the name.")
        try:
            with whole_file(path) as fresh, _asked(place):
                only_this = {**self._place(key), "IfMatch": head.etag}
                sha256 = receive(self._client, fresh, only_this, size_bytes=head.size_bytes)
                if head.sha256 not in {None, sha256}:
                    raise _damaged(place)
        except _ConditionFailedError as error:
            raise TransientError(f"{place}: it changed while it was read. Try again.") from error

    def delete(self, key: str, *, if_match: str | None = None) -> bool:
        """Removes an object; False when the condition does not hold. One that is not there counts as removed.

        Args:
            key: below the folder.
            if_match: only while its content is the one with this ETag.
        """
        try:
            with _asked(f"{self.uri}/{key}"):
                self._client.delete_object(**self._place(key), **_condition(if_absent=False, if_match=if_match))
        except _ConditionFailedError as lost:
            return lost.after_retries and self.head(key) is None
        return True

    def unfinished(self) -> Iterator[UnfinishedUpload]:
        """The uploads below this folder that were begun and not completed: invisible, but AWS charges for their parts."""
        with translated(self.uri):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=self._prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    key = upload["Key"].removeprefix(self._prefix)
                    yield UnfinishedUpload(key, upload["UploadId"], upload["Initiated"])

    def size_of(self, upload: UnfinishedUpload) -> int:
        """Bytes of the parts that arrived; 0 for one that came to its end meanwhile."""
        sizes: list[int] = []
        with translated(f"{self.uri}/{upload.key}"), _unless_ended():
            pages = self._client.get_paginator("list_parts").paginate(
                **self._place(upload.key), UploadId=upload.upload_id
            )
            sizes.extend(part["Size"] for page in pages for part in page.get("Parts", ()))
        return sum(sizes)

    def abort(self, upload: UnfinishedUpload) -> None:
        """Drops an upload that nobody will finish, with its parts; one that came to its end meanwhile stays as it is."""
        with translated(f"{self.uri}/{upload.key}"), _unless_ended():
            self._client.abort_multipart_upload(**self._place(upload.key), UploadId=upload.upload_id)

    def refuse_unconditional(self) -> None:
        """Makes sure, once in this process, that writes under a condition have one winner here.

        Two conditional writes that must be refused are tried on an object of their own, which is removed again.

        Raises:
            ConfigError: this endpoint lets one of them pass; it would lose updates without a word.
        """
        place = (str(self._client.meta.endpoint_url), self.bucket, self._prefix)
        with _probing:
            if place in _probed:
                return
            key = f".probe-{secrets.token_hex(8)}"
            try:
                first = self._probe(key, if_absent=True)
                again = self._probe(key, if_absent=True)
                over_another = self._probe(key, if_match=f'"{"0" * 32}"')
            finally:
                self.delete(key)
            if first is None or again is not None or over_another is not None:
                raise ConfigError(
                    f"{self.uri}: {place[0]} does not hold to conditions on writes (If-None-Match, If-Match), so two "
                    f"writers at once would lose updates. Use AWS S3, or a server that answers 412, such as SeaweedFS."
                )
            _probed.add(place)

    def _probe(self, key: str, *, if_absent: bool = False, if_match: str | None = None) -> str | None:
        """As `put`; one that calls conditions unknown counts as written."""
        try:
            return self.put(key, b"probe", if_absent=if_absent, if_match=if_match)
        except ConfigError as error:
            if isinstance(error.__cause__, ClientError) and code_of(error.__cause__) == "NotImplemented":
                return "not implemented"
            raise

    def _written_as(self, key: str, mark: _Mark) -> ObjectHead | None:
        """The object that lies there, if it was this write that made it: its answer was lost, and a retry refused."""
        answer = self._head(key)
        return _head_of(key, answer) if answer is not None and mark.is_on(answer) else None

    def _head(self, key: str) -> dict[str, Any] | None:
        with translated(f"{self.uri}/{key}"):
            try:
                answer: dict[str, Any] = self._client.head_object(**self._place(key), ChecksumMode="ENABLED")
            except ClientError as error:
                if code_of(error) not in _ABSENT:
                    raise
                self._see_the_bucket()  # the answer has no body: no object, or no bucket?
                return None
        return answer

    def _see_the_bucket(self) -> None:
        if self._bucket_was_seen:
            return
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if code_of(error) not in _ABSENT:
                raise
            raise ConfigError(
                f"{self.uri}: there is no such bucket. Make it in aws.region, or correct the name."
            ) from error
        self._bucket_was_seen = True

    def _place(self, key: str) -> dict[str, str]:
        """The object, as every request names it."""
        return {"Bucket": self.bucket, "Key": self._prefix + key}


class _ConditionFailedError(Exception):
    """The condition of a request does not hold: an answer, and no fault.

    Attributes:
        in_conflict: another write to the object goes on at this moment; which of the two wins is open.
        after_retries: an earlier try of the same request may have been the one that won.
    """

    def __init__(self, error: ClientError) -> None:
        super().__init__(str(error))
        self.in_conflict = code_of(error) in _CONFLICT
        self.after_retries = int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)) > 0


@contextlib.contextmanager
def _asked(place: str) -> Iterator[None]:
    """Faults within the body become ours; a condition that does not hold becomes _ConditionFailedError."""
    with translated(place):
        try:
            yield
        except ClientError as error:
            if code_of(error) in _LOST | _CONFLICT | _ABSENT | _GONE:
                raise _ConditionFailedError(error) from error
            raise


@contextlib.contextmanager
def _unless_ended() -> Iterator[None]:
    """Leaves the body where the upload that it asks about is completed or dropped."""
    try:
        yield
    except ClientError as error:
        if code_of(error) not in _GONE:
            raise


def _condition(*, if_absent: bool, if_match: str | None) -> dict[str, str]:
    assert not (if_absent and if_match is not None), "absent, or with this content"
    if if_match is not None:
        return {"IfMatch": if_match}
    return {"IfNoneMatch": "*"} if if_absent else {}


def _head_of(key: str, answer: dict[str, Any]) -> ObjectHead:
    return ObjectHead(
        key, int(answer["ContentLength"]), str(answer["ETag"]), answer["LastModified"], _sha256_of(answer)
    )


def _sha256_of(answer: dict[str, Any]) -> str | None:
    """What the writer said, else what S3 measured; of an upload in parts S3 knows only a hash of hashes."""
    said = answer.get("Metadata", {}).get("sha256")
    if said is not None:
        return str(said)
    measured = answer.get("ChecksumSHA256")
    return None if measured is None or "-" in measured else base64.b64decode(measured).hex()


def _damaged(place: str) -> DataError:
    return DataError(f"{place}: its content does not have the checksum that it was stored with. Put it there again.")
