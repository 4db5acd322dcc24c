"""The step that shows the run's verdicts as a table in the Prefect UI."""

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from models_lib.steps.summary import RunSummary, table_rows
from tasks import policies
from tasks.ui.runs import addresses_of_symbols


@task(name="publish-summary", task_run_name="summary-{summary.run_id}", cache_policy=NO_CACHE, **policies.FOR_THE_EYE)
def publish_summary(summary: RunSummary) -> None:
    """One row a symbol under the key `retrain-summary`."""
    rows = table_rows(summary, addresses_of_symbols())
    create_table_artifact(key="retrain-summary", table=rows, description=summary.headline)
