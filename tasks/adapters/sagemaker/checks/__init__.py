"""Everything that is asked before a cent is spent: every check runs, and all findings come at once.

    asking.py    how a check asks, and what becomes of a question without an answer
    account.py   credentials, one region
    image.py     the image, its end of patch, its torch, CUDA and the GPU
    machine.py   the kind of machine, the quota
    role.py      the role, its rights, handing it over
    storage.py   the bucket
    data.py      candles, files of the jobs, their disk
    costs.py     ceilings and budgets, the time limit
    jobs.py      the source archive, names of jobs

What does not belong here: creating anything that is billed; the only thing written to AWS is a probe in the bucket.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from models_lib.config import RunConfig
from models_lib.errors import ConfigError
from models_lib.preflight import Preflight
from tasks.adapters.aws.clients import Aws
from tasks.adapters.sagemaker.checks import account, costs, data, image, jobs, machine, role, storage
from tasks.adapters.sagemaker.checks.asking import Check, Inquiry, ask_all
from tasks.adapters.sagemaker.tables import tables

ATTEMPTS: Final = 2
"""Of each request of a preflight that somebody waits for: what AWS does not answer is told as such, and soon."""


def preflight(
    config: RunConfig,
    *,
    home: Path,
    symbols: Sequence[str],
    aws: Aws,
    now: datetime,
    run_id: str | None = None,
    prepared: Mapping[str, Path] | None = None,
    archive: Path | None = None,
) -> Preflight:
    """The findings of every check, in a fixed order; none stops another, and one that AWS leaves open is unknown.

    Args:
        config: the resolved configuration.
        home: the state folder: ledger of costs, kept prices.
        symbols: whose models shall be trained; those that run at once need the quota together.
        aws: gives the clients; its region is that of the jobs.
        now: aware.
        run_id: the run that pays; None: one that has no jobs yet.
        prepared: by symbol, the folder of the files that its job will read; None while they are not made.
        archive: the source archive that will be uploaded; None: it is built for the check.

    Raises:
        ConfigError: uri or role are not set, or the tables of images and machines cannot be read.
    """
    section = config.training.sagemaker
    if section.uri is None or section.role_arn is None:
        missing = " and ".join(section.missing())
        raise ConfigError(f"{missing} must be set before anything can be checked for training.backend=sagemaker.")
    inquiry = Inquiry(
        config=config,
        home=home,
        symbols=tuple(symbols),
        aws=aws,
        now=now,
        run_id=run_id,
        prepared=prepared or {},
        archive=archive,
        tables=tables(section),
    )
    return Preflight.of(ask_all(_checks(inquiry), inquiry))


def _checks(inquiry: Inquiry) -> list[Check]:
    return [
        Check("credentials", account.credentials),
        Check("region", account.region),
        Check("image", image.image),
        Check("image support", image.support),
        Check("torch", image.torch),
        Check("gpu", image.gpu),
        Check("instance", machine.kind),
        Check("quota", machine.quota),
        Check("archive", jobs.archive),
        *data.of_each(inquiry.symbols),
        Check("volume", data.volume),
        Check("role", role.role),
        Check("role rights", role.rights),
        Check("pass role", role.passing),
        Check("bucket", storage.bucket),
        Check("costs", costs.costs),
        Check("time limit", costs.time_limit),
        *jobs.of_each(inquiry.symbols),
    ]
