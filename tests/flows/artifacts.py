"""What the Prefect UI shows of a flow run, read from its server."""

import asyncio
from typing import Any
from uuid import UUID


def artifacts_of(flow_run_id: UUID) -> dict[str, Any]:
    """The newest artifact under each key of a flow run."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    async def ask() -> dict[str, Any]:
        async with get_client() as client:
            only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
            return {item.key: item for item in await client.read_artifacts(artifact_filter=only) if item.key}

    return asyncio.run(ask())
