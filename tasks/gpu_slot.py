"""One training at a time on a GPU, across every process and machine that reports to the same Prefect server.

What does not belong here: which machine has a GPU (models_lib.backends.gpu).
"""

import contextlib
from collections.abc import Iterator

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from models_lib.backends import uses_gpu
from models_lib.config import RunConfig

_LEASE_SECONDS = 300.0
"""A killed holder blocks the others no longer than this; a living one renews it."""


@contextlib.contextmanager
def gpu_slot(config: RunConfig) -> Iterator[None]:
    """Holds the GPU's slot during the body when the training uses one; waits for it as long as it takes."""
    if not uses_gpu(config.training):
        yield
        return
    name = config.orchestration.gpu_limit
    ensure_limit(name)
    # Not strict about renewals: a training must not die because the server was restarted meanwhile.
    with concurrency(name, occupy=1, lease_duration=_LEASE_SECONDS, strict=True, raise_on_lease_renewal_failure=False):
        yield


def ensure_limit(name: str) -> None:
    """Makes the limit, one slot, where the server has none; one that a person has set stays as it is."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            with contextlib.suppress(ObjectAlreadyExists):  # somebody else was first
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
