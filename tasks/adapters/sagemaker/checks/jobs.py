"""The jobs themselves: the source archive that they will run, and names that nobody else has taken.

What does not belong here: making either (archive.py, names.py).
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from models_lib.files import sha256_file
from models_lib.preflight import Finding
from models_lib.training.channel import SPEC_FILE
from tasks.adapters.sagemaker.archive import ENTRY, build_archive, check_archive
from tasks.adapters.sagemaker.checks.asking import Check, Inquiry, failed, passed, unknown
from tasks.adapters.sagemaker.jobs import Jobs
from tasks.adapters.sagemaker.names import PREFIX, job_identity, job_name, slug
from tasks.adapters.sagemaker.orders import OF_INPUTS, hyperparameters
from tasks.adapters.sagemaker.tables import device_of_jobs

_NEWEST: Final = 5
_sound: dict[tuple[str, tuple[str, ...]], tuple[Finding, ...]] = {}
"""What was found in archives that passed, by content and hyperparameters: trying one takes seconds, and it stays what it is."""


def archive(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether the archive that will be uploaded is whole, and its entry runs and takes what the job gives it."""
    if inquiry.archive is not None:
        yield from _looked_into(inquiry, inquiry.archive)
        return
    with tempfile.TemporaryDirectory(prefix="crpbot-preflight-") as scratch:
        built = build_archive(Path(scratch), device=device_of_jobs(inquiry.config.training))
        yield from _looked_into(inquiry, built.path)


def of_each(symbols: tuple[str, ...]) -> list[Check]:
    """The checks of each symbol's job."""
    return [Check("job name", partial(_name, symbol=symbol), symbol) for symbol in symbols]


def _looked_into(inquiry: Inquiry, path: Path) -> tuple[Finding, ...]:
    given = hyperparameters(inquiry.section, inputs_sha256="0" * 64, device=inquiry.config.training.device)
    key = (sha256_file(path), tuple(given.values()))
    if key in _sound:
        return _sound[key]
    found = check_archive(path, entry=ENTRY, hyperparameters=given)
    if all(finding.answer == "pass" for finding in found):
        _sound[key] = found
    return found


def _name(inquiry: Inquiry, *, symbol: str) -> Iterator[Finding]:
    """Whether the job's name is free or the job is ours; while the name is not known, whose the newest like it are."""
    folder, image = inquiry.prepared.get(symbol), inquiry.image
    if folder is None or inquiry.archive is None or image is None:
        yield _names_like(inquiry, symbol)
        return
    trained = sha256_file(folder / SPEC_FILE)
    identity = job_identity(
        inputs_sha256=trained,
        image=image.uri,
        archive_sha256=sha256_file(inquiry.archive),
        instance_type=inquiry.section.instance_type,
        device=inquiry.config.training.device,
    )
    name = job_name(symbol, identity, 1)
    said = _hyperparameters(inquiry, name)
    if said is None:
        yield passed("job name", f"{name} is free", symbol)
    elif said.get(OF_INPUTS) == trained:
        yield passed("job name", f"{name} is a job of this very training, and is taken over", symbol)
    else:
        fact = f"{name} is taken by a job that does not train this ({OF_INPUTS} {said.get(OF_INPUTS, 'missing')})."
        remedy = "See who uses such names in this account. Change training.seed for another name."
        yield failed("job name", fact, remedy, symbol)


def _names_like(inquiry: Inquiry, symbol: str) -> Finding:
    client, start = inquiry.aws.client("sagemaker"), f"{PREFIX}-{slug(symbol)}-"
    found = client.list_training_jobs(
        NameContains=start, SortBy="CreationTime", SortOrder="Descending", MaxResults=_NEWEST
    )
    form = re.compile(rf"{re.escape(start)}[0-9a-f]{{12}}-[0-9]+")
    names = [each["TrainingJobName"] for each in found["TrainingJobSummaries"]]
    taken = [
        name for name in names if form.fullmatch(name) and OF_INPUTS not in (_hyperparameters(inquiry, name) or {})
    ]
    if not taken:
        return passed(
            "job name", f"{start}...: of {len(names)} newest jobs of such a name none is a stranger's", symbol
        )
    fact = f"{', '.join(taken)} was not made by this project, whose jobs say what they train ({OF_INPUTS})."
    remedy = "See who uses such names in this account. A job that needs this very name is refused when it is submitted."
    return unknown("job name", fact, remedy, symbol)


def _hyperparameters(inquiry: Inquiry, name: str) -> Mapping[str, str] | None:
    """Of the job of that name; None where there is none."""
    job = Jobs(inquiry.aws).describe(name)
    return None if job is None else job.hyperparameters
