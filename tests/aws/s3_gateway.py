"""The S3 server with what it lacks: buckets have a region, and permissions can be taken from the caller.

Requests go on to the server as they are (the signature stays valid); big transfers should not come this way.

What does not belong here: what is stored.
"""

import http.client
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from tests.aws.cloud_settings import CALLER, REGION, Settings

_OURS: Final = frozenset({"connection", "expect", "keep-alive", "transfer-encoding"})


class S3Gateway:
    """Answers requests to S3.

    Args:
        settings: regions of buckets, and what is denied.
        server: URL of the S3 server.
    """

    def __init__(self, settings: Settings, server: str) -> None:
        self._settings = settings
        url = urlsplit(server)
        self._host, self._port = url.hostname or "127.0.0.1", url.port or 80

    def __call__(self, environ: dict[str, Any], start: Any, *, signed_for: str) -> Iterable[bytes]:
        """One request, signed for a region."""
        bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
        region = self._settings.bucket_regions.get(bucket, REGION)
        action = _action(environ["REQUEST_METHOD"], environ.get("QUERY_STRING", ""), key)
        here = [("x-amz-bucket-region", region)]
        self._settings.count(action)
        if self._settings.is_denied(action, CALLER):
            return _refused(start, "403 Forbidden", "AccessDenied", "Access Denied", environ, here)
        if bucket in self._settings.bucket_regions and signed_for != region:
            words = f"The bucket you are attempting to access must be addressed using the endpoint of {region}."
            return _refused(start, "301 Moved Permanently", "PermanentRedirect", words, environ, here)
        if action == "s3:GetBucketLocation":
            place = "" if region == "us-east-1" else region
            body = f'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{place}</LocationConstraint>'
            return _answered(start, "200 OK", body.encode(), here)
        return self._forward(environ, start, here if action == "s3:HeadBucket" else [])

    def _forward(self, environ: dict[str, Any], start: Any, more: list[tuple[str, str]]) -> Iterable[bytes]:
        headers = {
            name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")
        }
        headers |= {
            name.replace("_", "-").lower(): environ[name]
            for name in ("CONTENT_TYPE", "CONTENT_LENGTH")
            if environ.get(name)
        }
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
        try:
            connection.putrequest(
                environ["REQUEST_METHOD"], environ["RAW_URI"], skip_host=True, skip_accept_encoding=True
            )
            for name, value in headers.items():
                if name not in _OURS:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            content = response.read()
            answer = [(name, value) for name, value in response.getheaders() if name.lower() not in _OURS]
            start(f"{response.status} {response.reason}", answer + more)
            return [content]
        finally:
            connection.close()


def _action(method: str, query: str, key: str) -> str:
    if not key:
        if "location" in query.split("&"):
            return "s3:GetBucketLocation"
        if method == "POST":
            return "s3:DeleteObject"
        return {"HEAD": "s3:HeadBucket", "GET": "s3:ListBucket"}.get(method, "s3:CreateBucket")
    return {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "DELETE": "s3:DeleteObject"}.get(method, "s3:PutObject")


def _refused(
    start: Any, status: str, code: str, words: str, environ: dict[str, Any], more: list[tuple[str, str]]
) -> Iterable[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{words}</Message></Error>'
    return _answered(start, status, b"" if environ["REQUEST_METHOD"] == "HEAD" else body.encode(), more)


def _answered(start: Any, status: str, body: bytes, more: list[tuple[str, str]]) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body))), *more])
    return [body]
