"""What SageMaker moves between S3 and a job's folder: channels, checkpoints, the model, the output.

What does not belong here: when.
"""

import functools
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.aws.cloud_settings import Settings


class JobFailedError(Exception):
    """The job ends as Failed; the message is its FailureReason."""


class JobStorage:
    """S3, with the permissions of a job's role.

    Args:
        settings: what is denied, and where buckets are.
        region: of the job.
        role: its ARN.
    """

    def __init__(self, settings: Settings, region: str, role: str) -> None:
        self._settings, self._region, self._role = settings, region, role
        self._s3 = _client(region)
        self._copied: dict[str, tuple[int, int]] = {}
        self._seen: dict[str, tuple[int, int]] = {}

    def fetch_channel(self, uri: str, folder: Path) -> None:
        """All objects whose key begins as the URI says, into a folder, the prefix removed."""
        self._refuse("s3:ListBucket", uri, "Data download failed")
        bucket, prefix = _parts(uri)
        keys = self._keys(bucket, prefix, uri)
        if not keys:
            raise JobFailedError(
                f'ClientError: Data download failed: No S3 objects found under S3 URL "{uri}" given in input data source. '
                f"Please ensure that the bucket exists in the selected region ({self._region}), that objects exist under "
                f'that S3 prefix, and that the role "{self._role}" has "s3:ListBucket" permissions on bucket "{bucket}".'
            )
        self._refuse("s3:GetObject", uri, "Data download failed")
        self._fetch(bucket, prefix, keys, folder)

    def fetch_checkpoints(self, uri: str, folder: Path) -> None:
        """What earlier attempts left; nothing is nothing."""
        self._refuse("s3:GetObject", uri, "Checkpoint download failed")
        bucket, prefix = _parts(uri)
        self._fetch(bucket, prefix, self._keys(bucket, prefix, uri), folder)
        self._copied = self._seen = _state(folder)

    def sync_checkpoints(self, uri: str, folder: Path, *, last: bool = False) -> int:
        """Copies what is new and has not changed since the call before; returns how many files.

        Args:
            uri: where to.
            folder: where from.
            last: nothing writes any more: everything new is copied.
        """
        now = _state(folder)
        fresh = [name for name, mark in now.items() if self._copied.get(name) != mark]
        ready = [name for name in fresh if last or self._seen.get(name) == now[name]]
        self._seen = now
        copied = 0
        for name in ready:
            try:
                content = (folder / name).read_bytes()
            except FileNotFoundError:
                continue  # renamed or removed meanwhile
            self._put(uri, name, content, "Checkpoint upload failed")
            self._copied[name] = now[name]
            copied += 1
        return copied

    def store_archive(self, folder: Path, uri: str, name: str, scratch: Path) -> str:
        """The folder as NAME.tar.gz at the URI, which is returned with the name."""
        self._refuse("s3:PutObject", uri, "Artifact upload failed")
        archive = scratch / name
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, arcname=path.name)
        bucket, prefix = _parts(uri)
        try:
            self._s3.upload_file(str(archive), bucket, _joined(prefix, name))
        except Exception as error:
            raise JobFailedError(f"ClientError: Artifact upload failed: {error}") from error
        finally:
            archive.unlink()
        return f"{uri.rstrip('/')}/{name}"

    def fetch_object(self, uri: str, path: Path) -> None:
        """One object into a file."""
        bucket, key = _parts(uri)
        try:
            self._s3.download_file(bucket, key, str(path))
        except ClientError as error:
            raise JobFailedError(f"AlgorithmError: Framework Error: \n{error}, exit code: 1") from error

    def _keys(self, bucket: str, prefix: str, uri: str) -> list[str]:
        try:
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchBucket":
                return []
            raise JobFailedError(f'ClientError: Data download failed: "{uri}": {error}') from error

    def _fetch(self, bucket: str, prefix: str, keys: list[str], folder: Path) -> None:
        for key in keys:
            below = PurePosixPath(key).name if key == prefix else key.removeprefix(prefix).lstrip("/")
            if below and not key.endswith("/"):
                path = folder / below
                path.parent.mkdir(parents=True, exist_ok=True)
                self._s3.download_file(bucket, key, str(path))

    def _put(self, uri: str, name: str, content: bytes, doing: str) -> None:
        self._refuse("s3:PutObject", uri, doing)
        bucket, prefix = _parts(uri)
        try:
            self._s3.put_object(Bucket=bucket, Key=_joined(prefix, name), Body=content)
        except ClientError as error:
            raise JobFailedError(f"ClientError: {doing}: {error}") from error

    def _refuse(self, action: str, uri: str, doing: str) -> None:
        bucket = _parts(uri)[0]
        where = self._settings.bucket_regions.get(bucket, self._region)
        if where != self._region:
            raise JobFailedError(
                f"ClientError: {doing}: PermanentRedirect (301): The bucket is in this region: {where}. Please use this "
                f"region to retry the request"
            )
        if self._settings.is_denied(action, self._role.rpartition("/")[2]):
            raise JobFailedError(
                f"ClientError: {doing}: S3 error: AccessDenied (403): User: {self._role} is not authorized to perform: "
                f'{action} on resource: "arn:aws:s3:::{bucket}"'
            )


@functools.cache
def _client(region: str) -> Any:
    return boto3.session.Session(region_name=region).client(
        "s3", config=Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=5, read_timeout=30)
    )


def _parts(uri: str) -> tuple[str, str]:
    url = urlsplit(uri)
    return url.netloc, url.path.lstrip("/")


def _joined(prefix: str, name: str) -> str:
    return f"{prefix.rstrip('/')}/{name}" if prefix else name


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    state = {}
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file():
                stat = path.stat()
                state[path.relative_to(folder).as_posix()] = (stat.st_size, stat.st_mtime_ns)
        except FileNotFoundError:
            continue
    return state
