"""The environment of Prefect's server, of the workers and of whatever else speaks to that server.

What the operator set in the environment stays. PostgreSQL is one setting, CRPBOT_DATABASE_URL; it holds a password, so
only the server's process gets it, and no message repeats it.

What does not belong here: starting processes.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flows import prefect_environment
from flows.home import CONFIG, config_file
from models_lib.errors import ConfigError

PARENT_POOL = "crpbot"
SYMBOL_POOL = "crpbot-symbols"
GPU_POOL = "gpu"
GPU_LIMIT = "crpbot-gpu"

API_URL = "PREFECT_API_URL"
DATABASE_URL = "CRPBOT_DATABASE_URL"
SILENT_SECONDS = "CRPBOT_SILENT_SECONDS"
_DEFAULT_API_URL = "http://127.0.0.1:4200/api"
_PREFECT_DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
_SERVERS_ONLY = (DATABASE_URL, _PREFECT_DATABASE, "PREFECT_API_DATABASE_CONNECTION_URL")
_DAY_SECONDS = 86_400
_USUAL_SILENT_SECONDS = 150
"""Five heartbeats: a machine under load misses one or two, and a run that works must not be called dead."""
_LEAST_SILENT_SECONDS = 60


@dataclass(frozen=True)
class Address:
    """Where Prefect's API is."""

    api_url: str
    host: str
    port: int

    @property
    def ui_url(self) -> str:
        """The page for people."""
        return self.api_url.removesuffix("/api")

    @property
    def is_here(self) -> bool:
        """Whether it is this machine's loopback, so that a server may be started for it."""
        return self.host in {"127.0.0.1", "localhost"}


def address() -> Address:
    """PREFECT_API_URL, or the usual port of this machine.

    Raises:
        ConfigError: it is no address of an API.
    """
    given = (os.environ.get(API_URL) or _DEFAULT_API_URL).rstrip("/")
    parts = urlsplit(given)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port or not given.endswith("/api"):
        raise ConfigError(
            f"{API_URL} must be the address of an API such as {_DEFAULT_API_URL}, was {given!r}. Correct or unset it."
        )
    return Address(given, parts.hostname, port)


def silent_seconds() -> int:
    """CRPBOT_SILENT_SECONDS: a run that gave no sign of life for so long is taken for dead.

    Raises:
        ConfigError: it is no number, or too small for a heartbeat of 30 seconds.
    """
    given = os.environ.get(SILENT_SECONDS) or str(_USUAL_SILENT_SECONDS)
    if not given.isdecimal() or int(given) < _LEAST_SILENT_SECONDS:
        raise ConfigError(
            f"{SILENT_SECONDS} must be a number of seconds, at least {_LEAST_SILENT_SECONDS} because runs give a sign of "
            f"life every 30, was {given!r}. Correct or unset it."
        )
    return int(given)


def client_environment(home: Path) -> dict[str, str]:
    """Of workers, the ensure-script and everything else that asks the server."""
    environment = _with_defaults({**prefect_environment.everywhere(home), API_URL: address().api_url})
    for secret in _SERVERS_ONLY:
        environment.pop(secret, None)
    if (file := config_file()) is not None:
        environment[CONFIG] = str(file)  # absolute: a run works in another folder
    return environment | {"CRPBOT_HOME": str(home)}


def server_environment(home: Path) -> dict[str, str]:
    """Of the server.

    Raises:
        ConfigError: CRPBOT_DATABASE_URL names no PostgreSQL.
    """
    where = address()
    defaults = prefect_environment.everywhere(home) | {
        API_URL: where.api_url,
        "PREFECT_SERVER_API_HOST": where.host,
        "PREFECT_SERVER_API_PORT": str(where.port),
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # Not among the installed files, which the server's user may not be allowed to write.
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "prefect" / "ui"),
        # Prefect keeps them in memory otherwise: after a restart of the server a running run could not renew its place
        # under the deployment's limit, and Prefect would end it.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # Events are vacuumed after 7 days by default, runs are not.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(90 * _DAY_SECONDS),
    }
    environment = _with_defaults(defaults) | {"CRPBOT_HOME": str(home)}
    if database := environment.pop(DATABASE_URL, None):
        environment[_PREFECT_DATABASE] = _for_asyncpg(database)
    return environment


def _with_defaults(defaults: dict[str, str]) -> dict[str, str]:
    return defaults | {name: value for name, value in os.environ.items() if value or name not in defaults}


def _for_asyncpg(database: str) -> str:
    scheme, _, rest = database.partition("://")
    if scheme not in {"postgresql", "postgres", "postgresql+asyncpg"} or not rest:
        raise ConfigError(
            f"{DATABASE_URL} must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE (its value is not shown). "
            f"Correct it, or unset it for the SQLite file in CRPBOT_HOME."
        )
    return f"postgresql+asyncpg://{rest}"
