"""`crpbot preflight`: everything that a training would fail at, at once, before anything is started or billed."""

import argparse
import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.home import crpbot_home
from flows.plain_table import table_lines
from models_lib.errors import ConfigError

if TYPE_CHECKING:
    from models_lib.config import RunConfig
    from models_lib.preflight import Finding, Preflight

_HEADER = ("check", "symbol", "answer", "fact, and remedy")
_NARROWEST, _WIDEST = 60, 140
DONE, NO, LATER = 0, 1, 3


def execute(arguments: argparse.Namespace) -> int:
    """Prints every finding; 1 when one failed, 3 when AWS does not answer at all."""
    from models_lib.config import load_config, select_symbols

    settings = list(arguments.settings)
    settings += [f"training.backend={arguments.backend}"] if arguments.backend else []
    config = load_config(arguments.config, settings)
    asked = tuple(part.strip() for part in arguments.symbols.split(",")) if arguments.symbols is not None else None
    symbols, home = select_symbols(config, asked), crpbot_home()
    request = None
    if config.training.backend == "sagemaker":
        found, request = _paid(config, home, symbols, dry_run=arguments.dry_run)
    elif arguments.dry_run:
        raise ConfigError("--dry-run rehearses a paid job: add --backend sagemaker, or leave it out.")
    else:
        found = _local(config, home, symbols)
    if arguments.json:
        document: dict[str, Any] = {
            "backend": config.training.backend,
            "symbols": list(symbols),
            "passed": not found.failed,
            "counts": _counts(found),
            "findings": [finding.to_json() for finding in found.findings],
        }
        document |= {"request": request} if arguments.dry_run else {}
        print(json.dumps(document, indent=2, sort_keys=True))
    else:
        print("\n".join(_lines(found.findings)))
        if request is not None:
            print(f"the request of {symbols[0]}, which was not sent:\n{json.dumps(request, indent=2)}")
        counts = _counts(found)
        print(
            f"{len(found.findings)} checks: {counts['pass']} pass, {counts['fail']} fail, {counts['unknown']} unknown"
        )
    return _status(found)


def _paid(
    config: "RunConfig", home: Path, symbols: tuple[str, ...], *, dry_run: bool
) -> "tuple[Preflight, dict[str, Any] | None]":
    from tasks.adapters.aws.clients import Aws
    from tasks.adapters.sagemaker.checks import ATTEMPTS, preflight
    from tasks.adapters.sagemaker.dry_run import rehearse

    aws, now = Aws.of(config.aws, attempts=ATTEMPTS), datetime.now(UTC)
    if not dry_run:
        return preflight(config, home=home, symbols=symbols, aws=aws, now=now), None
    came = rehearse(config, home=home, symbols=symbols, aws=aws, now=now)
    return came.preflight, came.request


def _local(config: "RunConfig", home: Path, symbols: tuple[str, ...]) -> "Preflight":
    from models_lib.backends.checks import local_findings
    from models_lib.preflight import Preflight
    from tasks.adapters.candle_rows import data_findings

    own = local_findings(config, home=home, num_symbols=len(symbols))
    return Preflight.of((*own, *data_findings(config, symbols, home=home)))


def _counts(found: "Preflight") -> dict[str, int]:
    told = Counter(finding.answer for finding in found.findings)
    return {answer: told[answer] for answer in ("pass", "fail", "unknown")}


def _status(found: "Preflight") -> int:
    if found.failed:
        names = ", ".join(finding.subject for finding in found.failed)
        print(f"crpbot: {len(found.failed)} of {len(found.findings)} checks failed: {names}", file=sys.stderr)
        return NO
    # Nobody is forbidden to ask AWS for their own name: without an answer, AWS is away.
    away = any(finding.check == "credentials" and finding.answer == "unknown" for finding in found.findings)
    if away:
        print("crpbot: AWS does not answer; try again later", file=sys.stderr)
        return LATER
    return DONE


def _lines(findings: "Iterable[Finding]") -> list[str]:
    """A table whose last column is as wide as the terminal leaves it; what did not pass has its remedy below the fact."""
    findings = list(findings)
    names = [_HEADER[:3], *((each.check, each.symbol or "", each.answer) for each in findings)]
    left = sum(2 + max(map(len, column)) for column in zip(*names, strict=True))
    width = min(max(shutil.get_terminal_size((120, 24)).columns - left, _NARROWEST), _WIDEST)
    rows: list[tuple[str, ...]] = []
    for finding in findings:
        fact = textwrap.wrap(finding.fact, width)
        remedy = textwrap.wrap(finding.remedy, width, initial_indent="-> ", subsequent_indent="   ")
        answer = finding.answer.upper() if finding.answer == "fail" else finding.answer
        rows.append((finding.check, finding.symbol or "", answer, fact[0]))
        rows += [("", "", "", line) for line in fact[1:] + remedy]
    return table_lines(_HEADER, rows, "<<<<")
