"""What the Prefect UI shows of a comparison: its tables, its sentences, a link to the page."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from models_lib.reports.three_models_pieces import comparison_pieces
from models_lib.steps.compare import Comparison
from tasks import policies
from tasks.ui.publish import publish


@task(name="show-comparison", cache_policy=NO_CACHE, **policies.FOR_THE_EYE)
def show_comparison(comparison: Comparison) -> None:
    """One artifact a piece, under keys that name the symbol."""
    for piece in comparison_pieces(comparison.study, comparison.files[1]):
        publish(piece)
