"""What the jobs of a run may cost, at the newest price that is known.

What does not belong here: what is decided about it (models_lib.steps.payment), and reserving it (models_lib.costs).
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from models_lib.config import RunConfig
from models_lib.errors import PreflightError
from models_lib.steps.payment import Quote, quote_of
from tasks.adapters.aws.clients import Aws
from tasks.adapters.sagemaker.prices import current_price
from tasks.adapters.sagemaker.tables import tables


def quote_for(config: RunConfig, *, home: Path, symbols: Sequence[str], aws: Aws, now: datetime) -> Quote:
    """The quote for one job a symbol.

    Raises:
        PreflightError: no price is known, so nobody could say what is approved.
        ConfigError: the tables of machines cannot be read.
    """
    section = config.training.sagemaker
    known = tables(section)
    price = current_price(aws, known, section.instance_type, aws.region, home=home, now=now)
    if price is None:
        raise PreflightError(
            f"what {section.instance_type} costs in {aws.region} is not in the table of {known.reviewed}, and AWS does not "
            f"say, so nobody can approve it. Allow pricing:GetProducts to the caller, or add the price to a file for "
            f"training.sagemaker.tables."
        )
    return quote_of(section, price, home=home, symbols=symbols, now=now)
