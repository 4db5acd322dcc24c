"""What AWS says before a run is paid for: whether its jobs would run, and what they may cost. boto3 is loaded when it is asked.

What does not belong here: the questions (tasks.adapters.sagemaker), and who answers for the costs (flows/paid.py).
"""

from datetime import datetime

from models_lib.preflight import Preflight
from models_lib.steps.payment import Quote
from models_lib.steps.plan import RunPlan


def preflight_of(plan: RunPlan, *, now: datetime) -> Preflight:
    """The findings for every symbol of the run."""
    from tasks.adapters.aws.clients import Aws  # noqa: PLC0415 - only where AWS is used
    from tasks.adapters.sagemaker.checks import preflight  # noqa: PLC0415

    aws = Aws.of(plan.config.aws)
    return preflight(plan.config, home=plan.home, symbols=plan.symbols, aws=aws, now=now, run_id=plan.run_id)


def quote_of(plan: RunPlan, *, now: datetime) -> Quote:
    """What the jobs of the run may cost.

    Raises:
        ConfigError: nobody knows the price.
    """
    from tasks.adapters.aws.clients import Aws  # noqa: PLC0415 - only where AWS is used
    from tasks.adapters.sagemaker.quote import quote_for  # noqa: PLC0415

    return quote_for(plan.config, home=plan.home, symbols=plan.symbols, aws=Aws.of(plan.config.aws), now=now)
