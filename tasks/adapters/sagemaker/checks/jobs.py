"""The jobs themselves: the source archive that they will run, and names that nobody else has taken.

What does not belong here: making either (archive.py, names.py).
"""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from models_lib.preflight import Finding
from tasks.adapters.sagemaker.checks.asking import Check, Inquiry, passed, unknown
from tasks.adapters.sagemaker.names import PREFIX, slug

_NEWEST: Final = 5
_OURS: Final = "inputs_sha256"
"""A hyperparameter of every job of ours: what it trains."""


def of_each(symbols: tuple[str, ...]) -> list[Check]:
    """The checks of each symbol's job."""
    return [Check("job name", partial(_name, symbol=symbol), symbol) for symbol in symbols]


def _name(inquiry: Inquiry, *, symbol: str) -> Iterator[Finding]:
    """Whether the newest jobs under such names are ours: a name is made from content, so the same one means the same job."""
    client, start = inquiry.aws.client("sagemaker"), f"{PREFIX}-{slug(symbol)}-"
    found = client.list_training_jobs(
        NameContains=start, SortBy="CreationTime", SortOrder="Descending", MaxResults=_NEWEST
    )
    form = re.compile(rf"{re.escape(start)}[0-9a-f]{{12}}-[0-9]+")
    names = [each["TrainingJobName"] for each in found["TrainingJobSummaries"]]
    taken = [name for name in names if form.fullmatch(name) and not _is_ours(client, name)]
    if taken:
        fact = f"{', '.join(taken)} was not made by this project, whose jobs say what they train ({_OURS})."
        remedy = (
            "See who uses such names in this account. A job that needs this very name is refused when it is submitted."
        )
        yield unknown("job name", fact, remedy, symbol)
    else:
        yield passed("job name", f"{start}... of {len(names)} newest jobs none is a stranger's", symbol)


def _is_ours(client: Any, name: str) -> bool:
    return _OURS in client.describe_training_job(TrainingJobName=name).get("HyperParameters", {})
