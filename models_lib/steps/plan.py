"""The plan of one run: which symbols, which resolved configuration, where its files go, since when.

What does not belong here: running anything, and reading the environment (flows/home.py does that).
"""

import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from models_lib.config import RunConfig, select_symbols
from models_lib.errors import ConfigError
from models_lib.files import write_text
from models_lib.steps.payment import Payment
from models_lib.steps.refs import Reference

PLAN_NAME = "plan.json"


class Approval(Reference):
    """What a person decided about one symbol's candidate of this run."""

    decision: Literal["promote", "hold"]
    bundle: str
    """The candidate that the person saw."""
    by: str
    note: str = ""


class RunPlan(Reference):
    """Everything that the steps of one run share."""

    run_id: str
    home: Path
    folder: Path
    started_at: datetime
    who: str
    symbols: tuple[str, ...]
    config: RunConfig
    approvals: dict[str, Approval] = Field(default_factory=dict)
    """By symbol; empty until a person was asked."""
    payment: Payment | None = None
    """What was decided about paying for its jobs; None before, and where nothing is paid."""

    @property
    def asks_a_person(self) -> bool:
        """Whether a candidate that passed its gates waits for a person before it is promoted and deployed."""
        approval, deploys = self.config.approval, self.config.deployment.target is not None
        return approval.promotion == "required" or (approval.deployment == "required" and deploys)

    @property
    def date(self) -> str:
        """The UTC day on which the run began, as in 2026-11-21; part of the names of its tasks."""
        return f"{self.started_at:%Y-%m-%d}"

    def symbol_folder(self, symbol: str) -> Path:
        """Where the files of one symbol go."""
        return self.folder / symbol


def plan_run(
    config: RunConfig,
    *,
    home: Path,
    symbols: Sequence[str] | None,
    who: str,
    now: datetime,
    token: str | None = None,
) -> RunPlan:
    """A plan with a fresh run folder that holds it; the plan of before when this run goes on after a pause.

    Args:
        config: the resolved configuration.
        home: where the state of this installation lives (CRPBOT_HOME).
        symbols: the requested ones, or None for all that are configured.
        who: who asked, for the ledger.
        now: the aware start time.
        token: hexadecimal digits that name this run and no other; None draws them.

    Raises:
        ConfigError: unknown symbol, a data folder that is not there, or a home that cannot be written.
    """
    chosen = select_symbols(config, symbols)
    check_data_folder(config)
    token = token or secrets.token_hex(6)
    if (begun := begun_plan(home, token)) is not None:
        return begun
    run_id = f"{now:%Y%m%dT%H%M%SZ}-{token}"
    folder = home.absolute() / "runs" / run_id
    plan = RunPlan(
        run_id=run_id, home=home.absolute(), folder=folder, started_at=now, who=who, symbols=chosen, config=config
    )
    try:
        folder.mkdir(parents=True)
        write_text(folder / "config.json", config.model_dump_json(indent=2) + "\n")
        write_text(folder / PLAN_NAME, plan.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise ConfigError(
            f"{home}: the state folder cannot be written ({error.strerror}). "
            f"Point CRPBOT_HOME to a folder that this user may write, with space left."
        ) from error
    return plan


def token_of(flow_run_id: str) -> str:
    """What names the run of this flow run, and of no other, in the names of run folders.

    The end of the id: Prefect's ids begin with the time, and a batch of nights is scheduled at one time.
    """
    return flow_run_id.replace("-", "")[-12:]


def begun_plan(home: Path, token: str) -> RunPlan | None:
    """The plan of the run that this token names, if it began before.

    Raises:
        ConfigError: it cannot be read.
    """
    path = next((home.absolute() / "runs").glob(f"*-{token}/{PLAN_NAME}"), None)
    if path is None:
        return None
    try:
        return RunPlan.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise ConfigError(
            f"{path}: the plan of the run that shall go on cannot be read by this version. Start a new run; what was "
            f"finished is kept."
        ) from error


def check_data_folder(config: RunConfig) -> None:
    """Refuses a parquet source whose folder is missing, before anything is started.

    Raises:
        ConfigError: the folder is not there.
    """
    path = config.data.path
    if config.data.source == "parquet" and path is not None and not path.is_dir():
        raise ConfigError(f"data.path={path}: no such folder. It must hold one <SYMBOL>.parquet file a symbol.")
