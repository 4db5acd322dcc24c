"""What a failed deployment makes of a candidate: held, and said as loudly as it must be."""

import pytest

from models_lib.errors import BusyError, CrpbotError, DeployError, RolledBackError, TransientError, UnhealthyError
from models_lib.steps.outcome import Deployment, not_deployed


@pytest.mark.parametrize(
    ("failure", "outcome", "unhealthy"),
    [
        (DeployError("x"), "failed", False),
        (TransientError("x"), "failed", False),
        (BusyError("x"), "failed", False),
        (RolledBackError("x"), "rolled_back", False),
        (UnhealthyError("x"), "failed", True),
    ],
)
def test_candidate_that_is_not_deployed_is_held(failure: CrpbotError, outcome: str, unhealthy: bool) -> None:
    promotion, deployment = not_deployed("tokyo", failure)
    assert (promotion.outcome, promotion.reason) == ("held", "held by deployment: x")
    assert deployment == Deployment.model_validate(
        {"target": "tokyo", "outcome": outcome, "release": None, "unhealthy": unhealthy}
    )
