"""Clients of AWS's services: one region, time limits, boto3's standard retries, one pool of connections each.

A client is safe to share between threads, a session is not: each `Aws` makes its clients from a session of its own.

What does not belong here: what is asked of a service.
"""

import functools
import threading
from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from models_lib.config import AwsSection
from tasks.adapters.aws.faults import translated

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 60.0
ATTEMPTS: Final = 5
CONNECTIONS: Final = 16
"""Four symbols with four parts each at once."""


class Aws:
    """The services of one region, with the credentials of the environment.

    Args:
        region: as in eu-central-1.
        attempts: of each request, the first included.

    Raises:
        ConfigError: AWS_PROFILE names a profile that does not exist, or AWS's configuration file cannot be read.
    """

    def __init__(self, region: str, *, attempts: int = ATTEMPTS) -> None:
        self.region = region
        with translated("AWS"):
            core = botocore.session.get_session()
            core.register_component("data_loader", _descriptions())
            self._session = boto3.session.Session(botocore_session=core, region_name=region)
        self._config = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
        )
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}

    @classmethod
    def of(cls, section: AwsSection, *, attempts: int = ATTEMPTS) -> "Aws":
        """The services of the configured region, for whoever is configured to use AWS."""
        assert section.region is not None, "RunConfig refuses a use of AWS without a region"
        return cls(section.region, attempts=attempts)

    def client(self, service: str, *, region: str | None = None) -> Any:
        """The client of a service; made once.

        Args:
            service: as boto3 names it.
            region: another one, for services that live in one place (prices: us-east-1).

        Raises:
            ConfigError: AWS cannot be asked with what the environment says.
        """
        key = (service, region or self.region)
        with self._lock:
            if key not in self._clients:
                with translated(f"AWS {service}"):
                    self._clients[key] = self._session.client(
                        service,  # type: ignore[call-overload]  # one name of many, each with a type of its own
                        region_name=key[1],
                        config=self._config,
                    )
            return self._clients[key]


@functools.cache
def _descriptions() -> Any:
    """Botocore's descriptions of the services, read once: each session would read its own, for most of what a client costs."""
    return botocore.session.get_session().get_component("data_loader")


__all__ = ["ATTEMPTS", "Aws", "BotoCoreError", "ClientError"]
