"""run.json of a judged bundle, also of one that no training run has made: what the registry asks before a promotion.

What does not belong here: judging (judgement.py), and the store.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from models_lib.bundle import GateFact, RunFacts
from models_lib.config import RunConfig, identity_of_evaluation
from models_lib.steps.provenance import Provenance


def judgement_run_id(kind: Literal["repair", "compare"], *, now: datetime) -> str:
    """A fresh name for a judgement outside of training runs, as in `repair-20261121T020000Z-0a1b2c3d4e5f`."""
    return f"{kind}-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(6)}"


def run_facts_of(
    verdict: Mapping[str, Any],
    *,
    run_id: str,
    symbol: str,
    bundle: str,
    config: RunConfig,
    champion: str | None,
    data: Mapping[str, Any],
    origin: Provenance,
    started_at: datetime,
    judged_at: datetime,
    seconds: Mapping[str, float],
    cost_usd: float | None = 0.0,
) -> RunFacts:
    """The facts that lie beside a judged bundle; with them it goes into the store and through the promotion's rules.

    Args:
        verdict: gates, metrics and words, as `JudgedModel.to_json` has them.
        run_id: the run, or what stood in for one (`judgement_run_id`).
        symbol: whose model.
        bundle: its hash.
        config: the resolved configuration that it was judged with.
        champion: hash of the champion that it was judged against; None: there was none.
        data: what the checks of the candles found.
        origin: code and machine.
        started_at: of the run, aware.
        judged_at: aware.
        seconds: duration of each step.
        cost_usd: what its training was billed; 0 where nothing was paid, None where that is not known.
    """
    return RunFacts(
        run_id=run_id,
        symbol=symbol,
        bundle=bundle,
        started_at=started_at,
        judged_at=judged_at,
        host=origin.host,
        commit=origin.commit,
        uncommitted_diff=origin.uncommitted_diff,
        versions=origin.versions,
        backend=config.training.backend,
        cost_usd=cost_usd,
        champion=champion,
        gates=tuple(GateFact(**gate) for gate in verdict["gates"]),
        metrics=verdict["metrics"],
        words=tuple(verdict["words"]),
        config=_judged_with(config, verdict),
        data=dict(data),
        seconds=dict(seconds),
    )


def _judged_with(config: RunConfig, verdict: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as plain values.

    The limit of a clamp stays out where there is no clamp: it decided nothing, and a trading host with a version of
    crpbot from before it would refuse the facts of every bundle. So do the controls: they say nothing about the bundle,
    and such a host would read no test figures from its facts. The run's folder and `summary.json` have them.
    """
    tree = config.model_dump(mode="json")
    tree["evaluation"] = identity_of_evaluation(config.evaluation)
    if verdict["metrics"].get("clamped_share") is None:
        del tree["gates"]["logit_range"]["max_clamped_share"]
    return tree
