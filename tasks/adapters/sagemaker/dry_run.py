"""A paid training up to the moment of payment: everything checked, the request made, one epoch trained through the archive.

Inputs are made from the symbol's candles as a run makes them; nothing of it is kept, uploaded or submitted.

What does not belong here: the checks (checks), and the rehearsal of the container (rehearsal.py).
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from models_lib.config import RunConfig
from models_lib.errors import ConfigError, CrpbotError
from models_lib.preflight import Finding, Preflight
from models_lib.steps.prepare import prepare_training
from models_lib.training.channel import ChannelFiles, pack_inputs
from models_lib.training.container import METRIC_DEFINITIONS
from models_lib.training.spec import TrainingSpec
from tasks.adapters.aws.clients import Aws
from tasks.adapters.sagemaker.archive import Archive, build_archive
from tasks.adapters.sagemaker.checks import preflight
from tasks.adapters.sagemaker.names import Keys, job_identity, job_name
from tasks.adapters.sagemaker.orders import order_of
from tasks.adapters.sagemaker.rehearsal import MOST_ROWS, dry_run
from tasks.adapters.sagemaker.request import check_request, training_request
from tasks.adapters.sagemaker.tables import device_of_jobs, image_of, tables
from tasks.adapters.sources import open_source

_RUN_ID: Final = "dry-run"


@dataclass(frozen=True)
class DryRun:
    """What came of it.

    Attributes:
        preflight: every finding, those of the request and the rehearsal last.
        request: the parameters of CreateTrainingJob for the first symbol; None where it could not be made.
    """

    preflight: Preflight
    request: dict[str, Any] | None


@dataclass(frozen=True)
class _Made:
    """The files of one job, on this machine."""

    spec: TrainingSpec
    sent: ChannelFiles
    folder: Path
    archive: Archive


def rehearse(config: RunConfig, *, home: Path, symbols: Sequence[str], aws: Aws, now: datetime) -> DryRun:
    """The findings of the preflight, the request for the first symbol, and what one epoch of it came to.

    Args:
        config: the resolved configuration.
        home: the state folder.
        symbols: whose models shall be trained; the first one is rehearsed.
        aws: gives the clients.
        now: aware.

    Raises:
        ConfigError: as `preflight` does.
    """
    with tempfile.TemporaryDirectory(prefix="crpbot-dry-run-") as scratch:
        made = _make(config, home, symbols[0], Path(scratch), now)
        if isinstance(made, Finding):
            found = preflight(config, home=home, symbols=symbols, aws=aws, now=now)
            return DryRun(Preflight.of((*found.findings, made)), None)
        found = preflight(
            config,
            home=home,
            symbols=symbols,
            aws=aws,
            now=now,
            prepared={symbols[0]: made.folder},
            archive=made.archive.path,
        )
        finding, request = _request(config, made, aws)
        findings = (*found.findings, finding, _epoch(made, Path(scratch)))
    return DryRun(Preflight.of(findings), request)


def _make(config: RunConfig, home: Path, symbol: str, scratch: Path, now: datetime) -> _Made | Finding:
    """The files that the symbol's job would be given; a finding where they cannot be made."""
    try:
        spec = prepare_training(config, symbol, scratch / "made", source=open_source(config, home=home), now=now)
    except CrpbotError as error:
        fact = f"its inputs cannot be made: {error}"
        return Finding("rehearsal", "fail", fact, "Mend the data, then rehearse again.", symbol)
    sent = pack_inputs(spec, scratch / "channel")
    archive = build_archive(scratch / "code", device=device_of_jobs(config.training))
    return _Made(spec, sent, scratch / "channel", archive)


def _request(config: RunConfig, made: _Made, aws: Aws) -> tuple[Finding, dict[str, Any] | None]:
    section, symbol = config.training.sagemaker, made.spec.symbol
    try:
        image = image_of(section, tables(section), aws.region)
        content = {"inputs_sha256": made.sent.sha256, "archive_sha256": made.archive.sha256}
        identity = job_identity(
            **content, image=image.uri, instance_type=section.instance_type, device=made.spec.training.device
        )
        order = order_of(
            job_name(symbol, identity, 1),
            made.spec,
            section=section,
            run_id=_RUN_ID,
            image=image.uri,
            entry=made.archive.entry,
            inputs_sha256=made.sent.sha256,
            keys=Keys.of(**content, identity=identity),
            metrics=METRIC_DEFINITIONS,
        )
        request = training_request(order, section)
        check_request(request, aws.client("sagemaker"))
    except ConfigError as error:
        return Finding("request", "fail", str(error), "Correct training.sagemaker.", symbol), None
    return Finding("request", "pass", f"{order.name}: as AWS describes CreateTrainingJob", symbol=symbol), request


def _epoch(made: _Made, scratch: Path) -> Finding:
    symbol = made.spec.symbol
    try:
        came = dry_run(made.archive, made.spec, scratch / "rehearsal")
    except CrpbotError as error:
        return Finding("rehearsal", "fail", str(error), "Mend what it says, then rehearse again.", symbol)
    fact = (
        f"1 epoch on {came.rows:,} rows (at most {MOST_ROWS:,}) through the archive in {came.seconds:.1f} s, "
        f"validation NLL {came.validation_nll:.3f}; torch {came.versions['torch']} here"
    )
    return Finding("rehearsal", "pass", fact, symbol=symbol)
