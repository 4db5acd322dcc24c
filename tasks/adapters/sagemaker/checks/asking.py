"""How a check asks, and what becomes of a question that AWS does not answer.

A check yields findings. It catches what is an answer, such as "no such role". Every other fault of AWS is the answer
`unknown` with a remedy: what cannot be asked is told, and stops neither the other checks nor the job.

What does not belong here: any particular check.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, cast

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)

from models_lib.config import DataSection, RunConfig, SageMakerSection
from models_lib.errors import ConfigError, TransientError, excerpt
from models_lib.preflight import Finding
from tasks.adapters.aws.clients import Aws
from tasks.adapters.aws.faults import is_denied, translated, words_of
from tasks.adapters.sagemaker.tables import Image, Instance, Tables, image_of, instance

NO_CREDENTIALS: Final = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
_AT_ONCE: Final = 8
"""Most of a check's time is waiting for AWS."""


@dataclass(frozen=True)
class Inquiry:
    """What is asked about: the jobs of some symbols, as configured.

    Attributes:
        config: the resolved configuration; region, uri and role are set.
        home: the state folder.
        symbols: whose models shall be trained.
        aws: gives the clients.
        now: aware.
        run_id: the run that pays; None: one that has no jobs yet.
        prepared: by symbol, the folder of the files that its job will read; empty while they are not made.
        archive: the source archive; None while it is not built.
        tables: images, machines and prices.
    """

    config: RunConfig
    home: Path
    symbols: tuple[str, ...]
    aws: Aws
    now: datetime
    run_id: str | None
    prepared: Mapping[str, Path]
    archive: Path | None
    tables: Tables

    @property
    def section(self) -> SageMakerSection:
        """What a job may use and cost."""
        return self.config.training.sagemaker

    @property
    def data(self) -> DataSection:
        """Where candles come from."""
        return self.config.data

    @property
    def region(self) -> str:
        """Of the jobs."""
        return self.aws.region

    @property
    def bucket(self) -> str:
        """Name of the bucket of the jobs."""
        return bucket_of(self.uri)

    @property
    def uri(self) -> str:
        """Where inputs and models of the jobs go."""
        return cast("str", self.section.uri)

    @property
    def role_arn(self) -> str:
        """The role of the jobs."""
        return cast("str", self.section.role_arn)

    @property
    def machine(self) -> Instance | None:
        """The kind of machine; None: not in the tables."""
        return instance(self.tables, self.section.instance_type)

    @property
    def image(self) -> Image | None:
        """The image of the jobs; None: it cannot be chosen, and the check of the image says why."""
        try:
            return image_of(self.section, self.tables, self.region)
        except ConfigError:
            return None


@dataclass(frozen=True)
class Check:
    """One question.

    Attributes:
        name: as findings name it.
        ask: gives the findings; may raise faults of botocore.
        symbol: whose, where the question is about one symbol.
    """

    name: str
    ask: Callable[[Inquiry], Iterator[Finding]]
    symbol: str | None = None


def ask_all(checks: list[Check], inquiry: Inquiry) -> tuple[Finding, ...]:
    """The findings of every check, in the order of the checks, which are asked at the same time."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="preflight") as threads:
        return tuple(finding for found in threads.map(partial(_ask, inquiry), checks) for finding in found)


def _ask(inquiry: Inquiry, check: Check) -> list[Finding]:
    try:
        return list(check.ask(inquiry))
    except (ClientError, BotoCoreError) as error:
        return [_without_answer(check, error)]
    except (ConfigError, TransientError) as error:
        if not isinstance(error.__cause__, ClientError | BotoCoreError):
            raise
        return [_without_answer(check, error.__cause__)]


def _without_answer(check: Check, error: ClientError | BotoCoreError) -> Finding:
    if isinstance(error, NO_CREDENTIALS):
        return unknown(check.name, "cannot be asked without credentials.", "See credentials.", check.symbol)
    if isinstance(error, ClientError) and is_denied(error):
        action = error.operation_name
        fact = f"the caller may not ask: {action} is denied ({words_of(error)})."
        remedy = f"Allow {action} in the caller's policy to have this checked; the job itself may do without."
        return unknown(check.name, fact, remedy, check.symbol)
    try:
        with translated("asking AWS"):
            raise error
    except TransientError:
        fact, remedy = f"AWS does not answer ({excerpt(error)}).", "Try again later."
    except ConfigError:
        fact, remedy = f"AWS does not say ({excerpt(error)}).", "Look it up in AWS's console, or correct the names."
    return unknown(check.name, fact, remedy, check.symbol)


def passed(check: str, fact: str, symbol: str | None = None) -> Finding:
    """A finding that stops nothing."""
    return Finding(check, "pass", fact, symbol=symbol)


def failed(check: str, fact: str, remedy: str, symbol: str | None = None) -> Finding:
    """A finding that stops the job."""
    return Finding(check, "fail", fact, remedy, symbol)


def unknown(check: str, fact: str, remedy: str, symbol: str | None = None) -> Finding:
    """A finding that is told, and stops nothing."""
    return Finding(check, "unknown", fact, remedy, symbol)


def bucket_of(uri: str) -> str:
    """Name of the bucket in s3://bucket/prefix."""
    return uri.removeprefix("s3://").partition("/")[0]


def prefix_of(uri: str) -> str:
    """The prefix in s3://bucket/prefix with a slash at its end; empty where there is none."""
    prefix = uri.removeprefix("s3://").partition("/")[2]
    return f"{prefix}/" if prefix else ""
