"""Names by which runs are found in the UI: tags, states of our own, addresses of the runs below the present one."""

from collections.abc import Iterable
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

RETRAIN = "retrain"
MANUAL = "manual"
NIGHTLY = "nightly"
REFUSED = "Refused"
TOO_LATE = "TooLate"
"""Names of the states of a run that was not admitted."""
PREFLIGHT_FAILED = "PreflightFailed"
"""Name of the state of a run that would have failed, or cost too much, on rented machines; people were told of it."""
NOT_PAID = "NotPaid"
"""Name of the state of a run whose costs a person refused."""
NOT_DEPLOYED = "NotDeployed"
"""Name of the state of a deployment of champions that failed, for one symbol at least, and told people of it."""
_PAGE = 200
"""The most that Prefect gives at once."""


def symbol_tags(symbol: str, of_run: Iterable[str]) -> tuple[str, ...]:
    """`retrain`, `symbol:BTC-USD`, and what the run above it is tagged with, such as `nightly`.

    Args:
        symbol: the one that is trained.
        of_run: tags of the run that trains it among others.
    """
    how = set(of_run) or {MANUAL}
    return tuple(sorted({RETRAIN, f"symbol:{symbol}", *how}))


def addresses_of_symbols() -> dict[str, str]:
    """Symbol -> address in the UI, of every run that the present flow run started; the newest one of a symbol."""
    below = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[UUID(flow_run.id)]))
    found: list[FlowRun] = []
    with get_client(sync_client=True) as client:
        while page := client.read_flow_runs(
            flow_run_filter=below, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=_PAGE, offset=len(found)
        ):
            found += page
    return {
        str(run.parameters["symbol"]): address
        for run in found
        if "symbol" in run.parameters and (address := url_for(run)) is not None
    }
