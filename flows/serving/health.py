"""Whether Prefect's server answers, asked without importing Prefect.

What does not belong here: starting it.
"""

import http.client
import threading
import time
import urllib.error
import urllib.request

from models_lib.errors import ConfigError, CrpbotError

_START_SECONDS = 180.0
"""The first start migrates the database; on a busy machine that takes half a minute."""
_BETWEEN_SECONDS = 0.25


def answers(api_url: str, *, seconds: float) -> bool:
    """Whether Prefect's server answers there within the time.

    Raises:
        ConfigError: something else answers there.
    """
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=seconds) as answer:  # noqa: S310  http or https
            healthy: bool = answer.read().strip() == b"true"
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            return False
        raise _not_prefect(api_url) from error
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return False
    if not healthy:
        raise _not_prefect(api_url)
    return True


def _not_prefect(api_url: str) -> ConfigError:
    return ConfigError(f"{api_url}: what answers there is not a Prefect server. Correct PREFECT_API_URL, or end it.")


class Silence:
    """Counts the looks at a server that did not answer; one that hangs keeps its port, so nothing else tells."""

    def __init__(self, api_url: str, *, looks: int, seconds: float) -> None:
        self._api_url = api_url
        self._looks = looks
        self._seconds = seconds
        self._in_vain = 0

    def lasts_too_long(self) -> bool:
        """Looks once; whether that was one look in vain too many. Then counting begins anew."""
        self._in_vain = 0 if answers(self._api_url, seconds=self._seconds) else self._in_vain + 1
        if self._in_vain < self._looks:
            return False
        self._in_vain = 0
        return True


def wait_until_healthy(api_url: str, *, ended: threading.Event | None = None) -> None:
    """Returns when the server answers, or when `ended` is set.

    Raises:
        ConfigError: something else answers there.
        CrpbotError: it did not answer in time.
    """
    ended = ended or threading.Event()
    deadline = time.monotonic() + _START_SECONDS
    while not answers(api_url, seconds=max(1.0, deadline - time.monotonic())):
        if ended.wait(_BETWEEN_SECONDS):
            return
        if time.monotonic() > deadline:
            raise CrpbotError(f"{api_url}: no Prefect server answered within {_START_SECONDS:.0f} seconds.")
