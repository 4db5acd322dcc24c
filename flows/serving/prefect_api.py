"""Prefect's API, asked without importing Prefect: by the watching process, and by commands that must not wait for it.

What does not belong here: everything that a process with Prefect can ask (standing.py, night_watch.py).
"""

import base64
import http.client
import json
import os
import urllib.request
from collections.abc import Collection
from typing import Any

from models_lib.errors import TransientError

_SECONDS = 10.0
_BUSY = 503
"""So Prefect answers when SQLite's file stayed locked; nothing was done then."""
_NOT_THERE = 404
_TRIES = 5
_WORKING = ["RUNNING", "PENDING", "CANCELLING"]
_CRASHED = {"type": "CRASHED", "message": "The worker was stopped while this run worked. Start it again."}


def has_worker(api_url: str, pool: str) -> bool:
    """Whether a worker of that pool gave a sign of life lately."""
    workers = post(api_url, f"work_pools/{pool}/workers/filter", {})
    return any(worker["status"] == "ONLINE" for worker in workers)


def crash_runs_of(api_url: str, pids: Collection[int], *, pools: Collection[str]) -> list[str]:
    """Marks the runs of processes that were ended as crashed; gives the runs' names.

    Otherwise they would stand there as running until Prefect misses their sign of life.
    """
    asked = {
        "flow_runs": {"state": {"type": {"any_": _WORKING}}},
        "work_pools": {"name": {"any_": list(pools)}},
    }
    names: list[str] = []
    for run in post(api_url, "flow_runs/filter", asked):
        if (run["infrastructure_pid"] or "").isdigit() and int(run["infrastructure_pid"]) in pids:
            post(api_url, f"flow_runs/{run['id']}/set_state", {"state": _CRASHED, "force": True})
            names.append(run["name"])
    return names


def post(api_url: str, path: str, body: dict[str, Any], *, seconds: float = _SECONDS) -> Any:
    """The answer to a POST.

    Raises:
        TransientError: there is none.
    """
    return _asked(api_url, path, json.dumps(body).encode(), seconds)


def get(api_url: str, path: str, *, seconds: float = _SECONDS) -> Any:
    """The answer to a GET.

    Raises:
        TransientError: there is none.
    """
    return _asked(api_url, path, None, seconds)


def find(api_url: str, path: str, *, seconds: float = _SECONDS) -> Any | None:
    """The answer to a GET; None where the server has nothing under that path.

    Raises:
        TransientError: there is no answer.
    """
    try:
        return _asked(api_url, path, None, seconds)
    except TransientError as error:
        if isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == _NOT_THERE:
            return None
        raise


def _asked(api_url: str, path: str, body: bytes | None, seconds: float) -> Any:
    headers = {"Content-Type": "application/json"}
    if secret := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
    request = urllib.request.Request(f"{api_url}/{path}", body, headers)  # noqa: S310  http or https (settings.py)
    for left in reversed(range(_TRIES)):
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            if error.code == _BUSY and left:
                continue
            raise _no_answer(api_url, path, error) from error
        except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
            raise _no_answer(api_url, path, error) from error
    raise AssertionError


def _no_answer(api_url: str, path: str, error: Exception) -> TransientError:
    return TransientError(
        f"{api_url}/{path}: no answer of a Prefect server ({error}). Start it (`make server`), or set PREFECT_API_URL to "
        f"where it is; a busy one answers later."
    )
