"""The way of a release to a trading host: three symbols at once, and a model that lies.

sshd, supervisord and the runtime are real. What else can go wrong is in the long tests beside this.
"""

import time

import pytest

from models_lib.holds import held
from tests.deployment.desk import BTC, SYMBOLS, Candidates, Desk
from tests.deployment.trading_host import TradingHost

pytestmark = pytest.mark.xdist_group("deployment")


def test_three_symbols_are_deployed_with_one_restart(host: TradingHost, desk: Desk, candidates: Candidates) -> None:
    before = host.served().started_at
    began = time.monotonic()
    outcome = desk.target().order(desk.releases(candidates.b))
    took = time.monotonic() - began
    # Told and not asserted: what else the machine does would decide. The goal is 15 s on loopback.
    print(f"three symbols deployed over SSH in {took:.1f} s (goal: 15 s): {outcome.seconds}")
    assert [(fate.symbol, fate.outcome) for fate in outcome.fates] == [(symbol, "deployed") for symbol in SYMBOLS]
    host.speaks_with({symbol: bundle.name for symbol, bundle in candidates.b.items()})
    assert host.served().started_at > before
    assert host.outcomes() == [outcome]


def test_poisoned_model_is_refused_by_the_rehearsal_and_held(
    host: TradingHost, desk: Desk, candidates: Candidates
) -> None:
    told = desk.release(candidates.poisoned)
    assert "answers are above 99 % confidence (at most 30% allowed)" in told.events["failed"]
    assert "held by deployment" in told.events["held"]
    desk.nothing_moved(candidates.poisoned.name)
    for folder in (desk.home, host.folder):
        hold = held(folder, BTC)
        assert hold is not None
        assert "above 99 % confidence" in hold.reason
    host.speaks_with(candidates.champions())
