"""Objects of a bucket, against a real S3 server: conditions, checksums, parts, and what goes wrong on the way."""

import concurrent.futures
import hashlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models_lib.errors import ConfigError, DataError, TransientError
from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3 import parts
from tasks.adapters.s3.objects import S3Folder
from tests.aws.weed import REGION, Weed
from tests.proxy import Proxy


@pytest.fixture
def folder(bucket: str) -> S3Folder:
    return S3Folder(Aws(REGION), f"s3://{bucket}/some/prefix")


def test_object_comes_back_as_it_was_written(folder: S3Folder) -> None:
    etag = folder.put("a/b.json", b"content")
    stored, head = folder.get("a/b.json"), folder.head("a/b.json")
    assert stored is not None
    assert head is not None
    assert (stored.content, stored.etag) == (b"content", etag)
    assert (head.key, head.size_bytes, head.etag) == ("a/b.json", 7, etag)
    assert head.sha256 == hashlib.sha256(b"content").hexdigest()
    assert abs(datetime.now(UTC) - stored.last_modified) < timedelta(minutes=1)


def test_object_lies_below_the_prefix(folder: S3Folder, weed: Weed) -> None:
    folder.put("a", b"1")
    listed = weed.client().list_objects_v2(Bucket=folder.bucket)["Contents"]
    assert [entry["Key"] for entry in listed] == ["some/prefix/a"]


def test_what_is_not_there_is_none(folder: S3Folder) -> None:
    assert folder.get("nothing") is None
    assert folder.head("nothing") is None
    assert list(folder.names()) == []
    assert folder.delete("nothing")


def test_write_if_absent_has_one_winner(folder: S3Folder) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        etags = list(threads.map(lambda n: folder.put("key", f"{n}".encode(), if_absent=True), range(8)))
    assert len([etag for etag in etags if etag is not None]) == 1
    stored = folder.get("key")
    assert stored is not None
    assert etags[int(stored.content)] == stored.etag


def test_write_over_another_content_is_lost(folder: S3Folder) -> None:
    first = folder.put("key", b"1")
    assert first is not None
    second = folder.put("key", b"2", if_match=first)
    assert second is not None
    assert folder.put("key", b"3", if_match=first) is None
    assert folder.put("absent", b"3", if_match=first) is None
    assert folder.delete("key", if_match=first) is False
    assert folder.delete("key", if_match=second) is True
    assert folder.get("key") is None


def test_names_come_in_order_over_all_pages(folder: S3Folder, weed: Weed) -> None:
    client = weed.client()
    keys = sorted(f"x/{number}" for number in range(1_005))  # a page has 1,000

    def put(key: str) -> None:
        client.put_object(Bucket=folder.bucket, Key=f"some/prefix/{key}", Body=b"")

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(put, [*keys, "y"]))
    assert list(folder.names("x/")) == keys
    assert [head.key for head in folder.heads()][-1] == "y"


def test_object_that_is_not_what_was_stored_is_refused(folder: S3Folder, weed: Weed, tmp_path: Path) -> None:
    weed.client().put_object(Bucket=folder.bucket, Key="some/prefix/key", Body=b"other", Metadata={"sha256": "0" * 64})
    with pytest.raises(DataError, match=r"key: its content does not have the checksum"):
        folder.get("key")
    with pytest.raises(DataError, match=r"key: its content does not have the checksum"):
        folder.download("key", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_bytes", [0, 1, parts.PART_BYTES, parts.PART_BYTES + 1, 3 * parts.PART_BYTES])
def test_file_comes_back_as_it_was_uploaded(folder: S3Folder, tmp_path: Path, num_bytes: int) -> None:
    content = os.urandom(num_bytes)
    (tmp_path / "up").write_bytes(content)
    assert folder.upload(tmp_path / "up", "file")
    head = folder.head("file")
    assert head is not None
    assert (head.size_bytes, head.sha256) == (num_bytes, hashlib.sha256(content).hexdigest())
    folder.download("file", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == content


def test_large_file_is_not_written_over_another(folder: S3Folder, weed: Weed, tmp_path: Path) -> None:
    path = tmp_path / "up"
    path.write_bytes(os.urandom(parts.PART_BYTES + 1))
    folder.put("file", b"first")
    assert folder.upload(path, "file", if_absent=True) is False
    stored = folder.get("file")
    assert stored is not None
    assert stored.content == b"first"
    assert "Uploads" not in weed.client().list_multipart_uploads(Bucket=folder.bucket)
    assert folder.upload(path, "file") is True


def test_failed_upload_leaves_nothing(folder: S3Folder, weed: Weed, tmp_path: Path) -> None:
    path = tmp_path / "up"
    path.write_bytes(os.urandom(6 * parts.PART_BYTES))
    uploading = "before-call.s3.UploadPart"
    folder._client.meta.events.register(uploading, lambda **_: os.truncate(path, parts.PART_BYTES // 2))
    with pytest.raises(DataError, match="was cut off while it was uploaded"):
        folder.upload(path, "file")
    assert folder.head("file") is None
    assert "Uploads" not in weed.client().list_multipart_uploads(Bucket=folder.bucket)


def test_unfinished_upload_is_invisible_until_it_is_dropped(folder: S3Folder, weed: Weed) -> None:
    place = {"Bucket": folder.bucket, "Key": "some/prefix/file"}
    begun = weed.client().create_multipart_upload(**place)
    assert list(folder.names()) == []
    weed.client().upload_part(**place, UploadId=begun["UploadId"], PartNumber=1, Body=b"x" * 7)
    (upload,) = folder.unfinished()
    assert upload.key == "file"
    assert abs(upload.begun - datetime.now(UTC)) < timedelta(minutes=1)
    assert folder.size_of(upload) == 7
    for _ in range(2):  # the second one finds that it has ended
        folder.abort(upload)
    assert folder.size_of(upload) == 0
    assert list(folder.unfinished()) == []
    assert "Uploads" not in weed.client().list_multipart_uploads(Bucket=folder.bucket)


def test_missing_object_is_refused_with_its_name(folder: S3Folder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"some/prefix/file: there is no such object"):
        folder.download("file", tmp_path / "file")


def test_missing_bucket_is_a_fault(bucket: str, tmp_path: Path) -> None:
    folder = S3Folder(Aws(REGION), f"s3://{bucket}-absent/prefix")
    for ask in (
        lambda: folder.get("key"),
        lambda: folder.head("key"),
        lambda: folder.put("key", b""),
        lambda: list(folder.names()),
        lambda: folder.download("key", tmp_path / "file"),
    ):
        with pytest.raises(ConfigError, match="there is no such bucket"):
            ask()


def test_wrong_secret_key_is_refused_with_the_remedy(weed: Weed, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weed.use(monkeypatch, secret_key="wrong")
    with pytest.raises(ConfigError, match=r"refuses the credentials, SignatureDoesNotMatch .* Set AWS_PROFILE"):
        S3Folder(Aws(REGION), f"s3://{bucket}").put("key", b"")


def test_no_credentials_are_named(weed: Weed, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match="no credentials for AWS"):
        S3Folder(Aws(REGION), f"s3://{bucket}").head("key")


def test_server_that_is_gone_is_worth_another_try(weed: Weed, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy(weed.port) as proxy:
        weed.use(monkeypatch, port=proxy.port)
        folder = S3Folder(Aws(REGION, attempts=1), f"s3://{bucket}")
        folder.put("key", b"")
    with pytest.raises(TransientError, match="AWS does not answer"):
        folder.get("key")


def test_write_whose_answer_was_lost_is_known_as_ours(weed: Weed, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy(weed.port) as proxy:
        weed.use(monkeypatch, port=proxy.port)
        folder = S3Folder(Aws(REGION), f"s3://{bucket}")
        folder.head("key")  # connects
        proxy.lose_next_answer()
        etag = folder.put("key", b"ours", if_absent=True)
        assert proxy.happened.is_set()
        assert etag is not None
        second = folder.put("key", b"newer", if_match=etag)
        assert second is not None
        proxy.lose_next_answer()
        assert folder.put("key", b"third", if_match=second) is not None


class _TakesEverything(BaseHTTPRequestHandler):
    """Answers every request with success: a server that knows of no conditions."""

    protocol_version = "HTTP/1.1"
    refuses = frozenset[str]()

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(412 if self.refuses & {name.lower() for name in self.headers} and self._seen() else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _seen(self) -> bool:
        seen = self.path in self.server.seen  # type: ignore[attr-defined]
        self.server.seen.add(self.path)  # type: ignore[attr-defined]
        return seen

    def do_DELETE(self) -> None:
        self.server.deleted.append(self.path)  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["none", "if-none-match"])
def careless(request: pytest.FixtureRequest) -> Iterator[ThreadingHTTPServer]:
    """A server that holds to no condition, or to one of the two."""
    handler = type("Handler", (_TakesEverything,), {"refuses": frozenset({request.param})})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.seen, server.deleted = set(), []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_server_that_ignores_conditions_is_refused(
    careless: ThreadingHTTPServer, weed: Weed, monkeypatch: pytest.MonkeyPatch
) -> None:
    weed.use(monkeypatch, port=careless.server_port)
    folder = S3Folder(Aws(REGION), "s3://bucket/prefix")
    for _ in range(2):  # a refusal is not forgotten
        with pytest.raises(ConfigError, match=r"does not hold to conditions on writes .* Use AWS S3"):
            folder.refuse_unconditional()
    assert len(careless.deleted) == 2  # type: ignore[attr-defined]


def test_server_that_holds_to_conditions_is_asked_once(folder: S3Folder) -> None:
    asked: list[str] = []
    folder._client.meta.events.register("before-call.s3.PutObject", lambda **_: asked.append("put"))
    folder.refuse_unconditional()
    folder.refuse_unconditional()
    assert len(asked) == 3
    assert list(folder.names()) == []
