"""The step that fetches candles: the only one that may ask somebody else, so it tries again on passing faults."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.steps import once
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import CandlesRef
from tasks import policies
from tasks.adapters.results import open_results
from tasks.adapters.sources import open_source


@task(name="fetch-candles", task_run_name="candles-{symbol}-{plan.date}", cache_policy=NO_CACHE, **policies.NETWORK)
def fetch_candles(symbol: str, plan: RunPlan) -> CandlesRef:
    """Checked and filled candles of the symbol."""
    return once.fetch_candles(
        plan, symbol, source=open_source(plan.config, home=plan.home), shared=open_results(plan.config)
    )
