"""The dead-man switch: an address outside that raises the alarm when it is not asked for every night.

What does not belong here: deciding when a night was good enough to say so.
"""

import http.client
import os
import urllib.request
from functools import partial

from models_lib.attempts import ended_within
from models_lib.errors import NotificationError, TransientError
from tasks.adapters.addresses import check_web_address, connection_failure

DEAD_MAN_URL = "CRPBOT_DEAD_MAN_URL"


def ping(timeout_seconds: float) -> bool:
    """Asks for the address in CRPBOT_DEAD_MAN_URL, a secret; False when there is none.

    Raises:
        ConfigError: it is no address, or not encrypted.
        TransientError: it could not be reached, or is out of order.
        NotificationError: it refuses.
    """
    url = os.environ.get(DEAD_MAN_URL, "").strip()
    if not url:
        return False
    check_web_address(url, variable=DEAD_MAN_URL)
    failure = ended_within(3 * timeout_seconds, partial(_failure, url, timeout_seconds))
    if failure is not None:
        raise failure
    return True


def _failure(url: str, timeout_seconds: float) -> TransientError | NotificationError | None:
    try:
        with urllib.request.urlopen(url, timeout=timeout_seconds):  # noqa: S310 - the scheme was checked
            return None
    except urllib.error.HTTPError as error:
        with error:
            said = f"the dead-man switch answers with status {error.code}."
        return TransientError(said) if error.code >= 500 else NotificationError(f"{said} Check {DEAD_MAN_URL}.")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return connection_failure(error, whom="the dead-man switch", remedy=f"Check {DEAD_MAN_URL}.")
