"""What a night leaves behind it: old runs, results of steps and bundles that nothing needs are removed.

What does not belong here: what may be removed (models_lib.retention).
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from models_lib.deployment.known import known_targets
from models_lib.deployment.target import SshOpener
from models_lib.registry import Store
from models_lib.retention import Leavings, clean_home, deployed_bundles
from models_lib.steps.plan import RunPlan

_log = logging.getLogger(__name__)


def clean_up(plan: RunPlan, *, store: Store, elsewhere: Sequence[Leavings], now: datetime, ssh: SshOpener) -> None:
    """Removes by the plan's retention; what cannot be removed is a warning."""
    deployed = deployed_bundles(known_targets(plan.home, plan.config.deployment, ssh=ssh, who=plan.who))
    cleaned = clean_home(plan.home, plan.config.retention, store=store, now=now, elsewhere=elsewhere, deployed=deployed)
    for fault in cleaned.faults:
        _log.warning("%s", fault)
    if cleaned.removed:
        _log.info("cleaned: %d old items, %.1f MiB", len(cleaned.removed), cleaned.freed_bytes / 2**20)
