"""deployments.jsonl: every attempt to deploy, with what it came to; who is champion is the ledger's affair.

What does not belong here: the attempt itself, and what killed ones left (models_lib.steps.release).
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models_lib.errors import CrpbotError, DeployError, RolledBackError, UnhealthyError
from models_lib.files import append_line, canonical_json
from models_lib.holds import BY_THE_SYSTEM, place_hold

_NAME = "deployments.jsonl"
_LONGEST_REASON = 500


@dataclass(frozen=True)
class DeploymentRecord:
    """One attempt.

    Attributes:
        time: when it ended, ISO 8601 with zone.
        symbol: whose release.
        bundle: what was to be deployed.
        target: its name in the configuration.
        outcome: deployed, rolled_back, unhealthy, or failed: refused, or not answered.
        reason: why it is not deployed; empty when it is.
        who: user@host.
        run_id: the run that asked; None for `crpbot deploy`.
    """

    time: str
    symbol: str
    bundle: str
    target: str
    outcome: str
    reason: str
    who: str
    run_id: str | None

    def sentence(self) -> str:
        """For people, to follow the names of symbol and target."""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.outcome.replace('_', ' ')} {self.bundle[:12]} at {self.time[:16]}{why}"


@contextlib.contextmanager
def recorded(home: Path, symbol: str, bundle: str, *, target: str, who: str, run_id: str | None) -> Iterator[None]:
    """Keeps what the body's deployment came to, which is what it raises; a hold of the host holds here, too."""
    try:
        yield
    except CrpbotError as error:
        record_deployment(home, symbol, bundle, target=target, who=who, run_id=run_id, error=error)
        raise
    record_deployment(home, symbol, bundle, target=target, who=who, run_id=run_id, error=None)


def record_deployment(
    home: Path, symbol: str, bundle: str, *, target: str, who: str, run_id: str | None, error: CrpbotError | None
) -> None:
    """Keeps one attempt that came to `error`, or, without one, to the deployment."""
    now = datetime.now(UTC)
    reason = str(error) if error else ""
    attempt = DeploymentRecord(now.isoformat(), symbol, bundle, target, outcome_of(error), reason, who, run_id)
    append_line(home / _NAME, canonical_json(asdict(attempt)))
    if isinstance(error, DeployError) and error.hold_reason is not None:
        why = f"target {target}: {error.hold_reason}"[:_LONGEST_REASON]
        place_hold(home, symbol, placed_by=BY_THE_SYSTEM, reason=why, now=now)


def outcome_of(error: CrpbotError | None) -> str:
    """The word for what a deployment raised."""
    match error:
        case None:
            return "deployed"
        case RolledBackError():
            return "rolled_back"
        case UnhealthyError():
            return "unhealthy"
        case _:
            return "failed"


def deployment_records(home: Path, symbol: str | None = None) -> tuple[DeploymentRecord, ...]:
    """The attempts, oldest first; of one symbol, or of all. What a crash left of a line is left out."""
    try:
        lines = (home / _NAME).read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    found = [attempt for attempt in map(_parsed, lines) if attempt is not None]
    return tuple(attempt for attempt in found if symbol in (None, attempt.symbol))


def _parsed(line: bytes) -> DeploymentRecord | None:
    try:
        tree: dict[str, Any] = json.loads(line)
        return DeploymentRecord(**tree)
    except (ValueError, TypeError):
        return None
