"""The step of the flow `compare`: the comparison as of `crpbot compare`."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.config import RunConfig
from models_lib.steps import compare as step
from models_lib.steps.compare_inputs import ComparisonRequest
from tasks import policies
from tasks.adapters.sources import open_source
from tasks.adapters.stores import configured_registry


@task(name="compare-models", task_run_name="compare-{request.symbol}", cache_policy=NO_CACHE, **policies.COMPUTE)
def compare_models(home: Path, config: RunConfig, request: ComparisonRequest) -> step.Comparison:
    """The three models on the same rows; files and ensemble lie in a folder of their own below the home."""
    now = datetime.now(UTC)
    out = step.comparison_folder(home, request.symbol, now)
    return step.compare(
        request,
        config,
        open_source=partial(open_source, home=home),
        home=home,
        registry=configured_registry(home, config),
        out=out,
        now=now,
    )
