"""What a person is shown of a judged symbol beside its page, from the same facts.

What does not belong here: what the pieces say (models_lib.reports.pieces) and where they are shown.
"""

from datetime import datetime

from models_lib.reports.pieces import Piece, symbol_pieces
from models_lib.steps.outcome import SymbolOutcome
from models_lib.steps.plan import RunPlan
from models_lib.steps.refs import Judged
from models_lib.steps.report import inputs_of


def pieces_of(plan: RunPlan, judged: Judged, outcome: SymbolOutcome, *, now: datetime) -> tuple[Piece, ...]:
    """The pieces of a symbol that was promoted or held.

    Raises:
        DataError: a file of an earlier step is gone or changed.
    """
    if outcome.outcome == "failed":
        raise ValueError(f"{outcome.symbol} failed, so there is no candidate to show")
    known = inputs_of(plan, judged, outcome=outcome.outcome, reason=outcome.reason, seconds=outcome.seconds, now=now)
    return symbol_pieces(known, judged.stored.report)
