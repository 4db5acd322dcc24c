"""Runs that wait for a person, as Prefect's server knows them, and the answer to one. Prefect is not imported.

What does not belong here: the form that the server checks an answer by, and what an answer changes (approval.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flows.serving.prefect_api import find, post
from models_lib.errors import ConfigError, CrpbotError

_FLOW = {"flows": {"name": {"any_": ["train-all"]}}}
_SECONDS = 10.0
ASKS, FOR_SYMBOLS = "x-asks", "x-symbols"
"""In the schema of a form about costs, in `decision`: what shall be paid, and for whose models."""


@dataclass(frozen=True)
class WaitingRun:
    """One suspended run.

    Attributes:
        id: of the flow run.
        name: of the flow run.
        symbols: whose candidates wait, or whose models shall be paid for.
        until: when the answer is no without one.
        costs: what shall be paid; None where candidates wait.
    """

    id: str
    name: str
    symbols: tuple[str, ...]
    until: datetime
    costs: str | None = None

    def line(self) -> str:
        """For a list."""
        about = f"payment of {self.costs}" if self.costs else ", ".join(self.symbols)
        return f"{self.name}  {self.id}  {about}  until {self.until.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def waiting_runs(api_url: str, *, seconds: float = _SECONDS) -> list[WaitingRun]:
    """What waits for an answer, the oldest first.

    Prefect suspends a run a moment before it stores the run's form: until then there is nothing to answer.

    Raises:
        TransientError: the server does not answer within `seconds`.
    """
    asked = _FLOW | {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}, "sort": "START_TIME_ASC"}
    found = []
    for run in post(api_url, "flow_runs/filter", asked, seconds=seconds):
        details = run["state"]["state_details"]
        keys = details["run_input_keyset"]  # None where a person paused it
        form = keys and find(api_url, f"flow_runs/{run['id']}/input/{keys['schema']}", seconds=seconds)
        if form:
            asked_for = form["properties"]
            costs = asked_for["decision"].get(ASKS)
            symbols = tuple(asked_for["decision"][FOR_SYMBOLS] if costs else asked_for["symbols"]["items"]["enum"])
            until = datetime.fromisoformat(details["pause_timeout"])
            found.append(WaitingRun(run["id"], run["name"], symbols, until, costs))
    return found


def the_one(api_url: str, name: str) -> WaitingRun:
    """The waiting run of that name or id.

    Raises:
        CrpbotError: it waits no longer, or does not ask anything.
        ConfigError: there is none, or there are several.
    """
    waiting = waiting_runs(api_url)
    found = [run for run in waiting if name in (run.name, run.id)]
    if len(found) == 1:
        return found[0]
    if not found and (state := _state_of(api_url, name)):
        if state["type"] == "PAUSED":
            raise CrpbotError(
                f"{name} is paused, but asks nothing: a person paused it (resume it in Prefect's page), or "
                f"its question is not at the server yet (ask again in a moment)."
            )
        raise _waits_no_longer(name, state)
    known = "; ".join(run.line() for run in waiting) or "none"
    raise ConfigError(f"{name!r} names {len(found)} of the runs that wait for approval; they are: {known}.")


def answer_run(api_url: str, run: WaitingRun, answer: dict[str, Any]) -> None:
    """Hands the answer to the server, which schedules the run again.

    Raises:
        CrpbotError: it waits no longer.
        ConfigError: the answer breaks a rule of the form.
    """
    told = post(api_url, f"flow_runs/{run.id}/resume", {"run_input": answer})
    if told["status"] == "ACCEPT":
        return
    state = _state_of(api_url, run.id)
    if state is None or state["type"] != "PAUSED":
        raise _waits_no_longer(run.name, state or {})
    raise ConfigError(f"{run.name}: the answer is refused. {told['details']['reason']}")


def _state_of(api_url: str, name: str) -> dict[str, Any] | None:
    """The state of the newest run of that name or id; None when there is none."""
    by = {"id": {"any_": [name]}} if _is_id(name) else {"name": {"any_": [name]}}
    asked = _FLOW | {"flow_runs": by, "sort": "START_TIME_DESC", "limit": 1}
    runs: Sequence[dict[str, Any]] = post(api_url, "flow_runs/filter", asked)
    return runs[0]["state"] if runs else None


def _is_id(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True


def _waits_no_longer(name: str, state: dict[str, Any]) -> CrpbotError:
    fact = ": ".join(part for part in (state.get("name"), state.get("message")) if part) or "it is gone"
    rest = "" if state.get("type") == "COMPLETED" else " What nobody approved is held, or not paid; start a new run."
    return CrpbotError(f"{name} waits no longer ({fact}).{rest}")
