"""`compare`: a repaired model, V8 and their ensemble on the same rows, and which of them is to be used, as `crpbot compare` does.

In order: the comparison with the promotion that was asked for, then its artifacts. That no model may be used, or that the
registry refuses the winner, is a result: the run ends as Held. It is not deployed here.
"""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.home import config_file, crpbot_home, operator, prepare_home
from flows.parameters import CompareParams
from models_lib.config import load_config
from models_lib.steps.compare_inputs import ComparisonRequest
from tasks.compare import compare_models
from tasks.show_comparison import show_comparison
from tasks.ui.log_lines import hear_the_library
from tasks.ui.publish import harmless

_STATES = {
    "compared": "Compared",
    "promoted": "Promoted",
    "already_champion": "AlreadyChampion",
    "held": "Held",
}


@flow(name="compare", flow_run_name="compare-{params.symbol}", validate_parameters=True)
def compare(params: CompareParams) -> State[Any]:
    """Compares three models of one symbol.

    Args:
        params: symbol, bundles, candles, and whether the winner is promoted.

    Returns:
        A completed state named Compared, Promoted, AlreadyChampion or Held that carries the two files, JSON and page.
    """
    hear_the_library()
    home = crpbot_home()
    prepare_home(home)
    config = load_config(config_file(params.config), params.settings)
    request = ComparisonRequest(
        symbol=params.symbol,
        repaired=params.repaired,
        v8=params.v8,
        candles=params.candles,
        promote=params.promote,
        who=operator(),
    )
    comparison = compare_models(home, config, request)
    harmless(show_comparison, comparison)
    choice, *others = comparison.study.sentences()
    message = f"{choice} {others[0]}" if params.promote else choice
    return Completed(name=_STATES[comparison.outcome], message=message, data=comparison.files)
