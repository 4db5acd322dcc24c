"""Retry and time-limit presets of the steps, by kind of failure, each with its reason.

Only what passes by itself is tried again. Bad data, bad configuration, a failed gate and a broken bundle give the same
answer every time, and a repeated training costs money.

What does not belong here: what a step does, and limits that belong to the library (the training's own time limit).
"""

from typing import Any

import httpx
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from models_lib.errors import OutOfPatienceError, TransientError

_PASSING = (TransientError, ConnectionError, TimeoutError, InterruptedError, httpx.TransportError)
"""httpx's own faults of the network are no ConnectionError."""


def is_transient(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """True when the failure is of a kind that passes by itself, and nobody has waited for that already."""
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, _PASSING) and not isinstance(failure, OutOfPatienceError)


NETWORK: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=5),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_transient,
}
"""Steps that ask someone else: 5, 10, 20, 40 seconds with jitter outlast a restart and most throttling windows."""

COMPUTE: dict[str, Any] = {"retries": 0}
"""Steps that depend on their inputs only: a second try would do the same again."""

TRAINING: dict[str, Any] = {
    "retries": 1,
    "retry_delay_seconds": 10,
    "retry_condition_fn": is_transient,
}
"""Training: one more try when its machine went away; never after a non-finite loss or a time limit."""

REGISTRY: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": 1,
    "retry_jitter_factor": 1,
    "retry_condition_fn": is_transient,
}
"""Promotion: another writer may hold the lock for a moment; a lost compare-and-set is an answer, not a retry."""

FOR_THE_EYE: dict[str, Any] = {
    "retries": 1,
    "retry_delay_seconds": 2,
    "retry_condition_fn": is_transient,
}
"""What only the UI shows: one more try, and its failure changes nothing."""
