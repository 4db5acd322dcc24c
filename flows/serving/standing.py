"""What must stand on Prefect's server, known by its name: work pools, the GPU's limit, deployments, automations.

Doing it twice is doing it once. What an operator changed on the server stays: pools and the GPU's limit; of a deployment
its parameters, pause, schedules and limit; an automation that was switched off. What nobody changed follows the file.

What does not belong here: what the automations say (automations.py), and the environment (ensure.py).
"""

import hashlib
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import (
    DeploymentUpdate,
    GlobalConcurrencyLimitCreate,
    VariableCreate,
    VariableUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.objects import Variable
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows.serving.automations import our_automations
from flows.serving.settings import GPU_LIMIT, GPU_POOL, PARENT_POOL, SYMBOL_POOL, silent_seconds
from models_lib.errors import CrpbotError

ROOT = Path(__file__).parents[2]
_PREFECT_FILE = "deployments/prefect.yaml"
_WATCH = "night-watch/every-10-minutes"
_VARIABLE = "crpbot_deployed"
_DEPLOY_SECONDS = 300

_POOLS: dict[str, tuple[str, int | None]] = {
    PARENT_POOL: ("train-all and the night-watch. Never the symbols: parents would wait for their own places.", None),
    SYMBOL_POOL: ("One run a symbol, started by train-all.", None),
    GPU_POOL: ("Machines with a GPU, which may come and go.", 1),
}


async def ensure(client: PrefectClient) -> AsyncIterator[str]:
    """Does what is missing; gives one line for each thing."""
    for name, (description, limit) in _POOLS.items():
        yield f"work pool {name}: {await _ensure_pool(client, name, description, limit)}"
    yield f"limit {GPU_LIMIT}: {await _ensure_limit(client, GPU_LIMIT)}"
    yield f"deployments: {await _ensure_deployments(client)}"
    watch = await client.read_deployment_by_name(_WATCH)
    for automation in our_automations(watch.id, silent_seconds=silent_seconds()):
        yield f"automation {automation.name!r}: {await _ensure_automation(client, automation)}"


async def _ensure_pool(client: PrefectClient, name: str, description: str, limit: int | None) -> str:
    try:
        await client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(
            name=name, type="process", description=description, concurrency_limit=limit, base_job_template=template
        )
        await client.create_work_pool(pool)
        return "created"
    return "found"


async def _ensure_limit(client: PrefectClient, name: str) -> str:
    try:
        await client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        return "created"
    return "found"


async def _ensure_deployments(client: PrefectClient) -> str:
    """Deploys when one is missing, or something that makes them up is new."""
    fingerprint = deployments_fingerprint()
    before = await standing_deployments(client)
    variable = await client.read_variable_by_name(_VARIABLE)
    remembered = variable.value if variable is not None and isinstance(variable.value, dict) else {}
    if remembered.get("fingerprint") == fingerprint and named_in_the_file() <= set(before):
        return f"found {len(before)}"
    _deploy()
    after = await standing_deployments(client)
    deployed = {name: operators_part(deployment) for name, deployment in after.items()}
    for name in set(before) & set(after):
        chosen = operators_choices(operators_part(before[name]), remembered.get("deployed", {}).get(name, {}))
        if chosen:
            await client.update_deployment(after[name].id, DeploymentUpdate.model_validate(chosen))
    await _remember(client, {"fingerprint": fingerprint, "deployed": deployed}, variable)
    return f"created {len(set(after) - set(before))}, deployed again {len(before)}"


async def standing_deployments(client: PrefectClient) -> dict[str, DeploymentResponse]:
    """The server's deployments by flow and name, as `prefect deployment ls` shows them; two flows may share a name."""
    flows = {flow.id: flow.name for flow in await client.read_flows()}
    return {f"{flows[found.flow_id]}/{found.name}": found for found in await client.read_deployments()}


def operators_part(deployment: DeploymentResponse) -> dict[str, Any]:
    """What an operator may change in the pages; Prefect overwrites it with the file's whenever it deploys."""
    limit, options = deployment.global_concurrency_limit, deployment.concurrency_options
    return {
        "parameters": deployment.parameters,
        "paused": deployment.paused,
        "schedules": [
            schedule.model_dump(mode="json", include={"schedule", "active", "parameters", "slug"})
            for schedule in deployment.schedules
        ],
        "concurrency_limit": limit.limit if limit else None,
        "concurrency_options": options.model_dump(mode="json") if options else None,
    }


def operators_choices(standing: dict[str, Any], deployed: dict[str, Any]) -> dict[str, Any]:
    """What stood before and is not what was deployed then: an operator's, and not an older file's.

    Args:
        standing: before it was deployed again.
        deployed: as it was when it was deployed the last time; empty when that is not known, and all of it stays.
    """
    return {field: value for field, value in standing.items() if field not in deployed or value != deployed[field]}


def named_in_the_file() -> set[str]:
    """The deployments that must stand, by flow and name. A flow's name is that of its function, with hyphens."""
    deployments = yaml.safe_load((ROOT / _PREFECT_FILE).read_text())["deployments"]
    flows = [re.split("[:.]", deployment["entrypoint"])[-1].replace("_", "-") for deployment in deployments]
    return {f"{flow}/{deployment['name']}" for flow, deployment in zip(flows, deployments, strict=True)}


def deployments_fingerprint() -> str:
    """The hash of what the deployments are made of: the file, the code of their parameters, and where it lies.

    The configuration and the plan in models_lib are parameters of train-symbol.
    """
    digest = hashlib.sha256(str(ROOT).encode())
    rooms = (path for room in ("flows", "models_lib") for path in (ROOT / room).rglob("*.py"))
    for path in sorted([ROOT / _PREFECT_FILE, *rooms]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _deploy() -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", _PREFECT_FILE, "--all"]
    answer = subprocess.run(  # noqa: S603  our own interpreter and arguments
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=_DEPLOY_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    if answer.returncode:
        said = (answer.stdout + answer.stderr).strip()
        raise CrpbotError(f"{_PREFECT_FILE}: Prefect did not take the deployments. It said:\n{said}")


async def _remember(client: PrefectClient, value: dict[str, Any], variable: Variable | None) -> None:
    if variable is None:
        await client.create_variable(VariableCreate(name=_VARIABLE, value=value))
    else:
        await client.update_variable(VariableUpdate(name=_VARIABLE, value=value))


async def _ensure_automation(client: PrefectClient, wanted: AutomationCore) -> str:
    standing = await client.read_automations_by_name(wanted.name)
    for double in standing[1:]:
        await client.delete_automation(double.id)
    if not standing:
        await client.create_automation(wanted)
        return "created"
    if _meaning(standing[0]) == _meaning(wanted):
        return "found"
    # An update names every field but the owner, which the server refuses.
    fields = wanted.model_dump(exclude={"owner_resource"}) | {"enabled": standing[0].enabled}
    await client.update_automation(standing[0].id, AutomationCore.model_validate(fields))
    return "changed"


def _meaning(automation: AutomationCore) -> dict[str, Any]:
    """What counts when two are compared: not the ids that the server adds, and not whether it is switched on."""
    fields: dict[str, Any] = automation.model_dump(include={"name", "description", "trigger", "actions"})
    fields["trigger"].pop("id", None)
    for events in ("after", "expect", "for_each"):  # sets, which come in any order
        fields["trigger"][events] = sorted(fields["trigger"][events])
    return fields
