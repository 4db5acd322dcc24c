"""`crpbot data check`: every file or archive of a folder of candles, judged as training would."""

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.plain_table import table_lines
from models_lib.config import DataSection

if TYPE_CHECKING:
    from models_lib.candles.folder import FileFinding


def execute(arguments: argparse.Namespace) -> int:
    """Prints one line a file, then what is worth knowing; 1 when a file breaks a rule."""
    from models_lib.candles.folder import check_folder

    findings = check_folder(arguments.folder, rules=DataSection(), now=datetime.now(UTC))
    broken = [finding for finding in findings if not finding.passed]
    if arguments.json:
        document = {
            "folder": str(arguments.folder),
            "passed": not broken,
            "files": [finding.to_json() for finding in findings],
        }
        print(json.dumps(document, indent=2, sort_keys=True))
    else:
        _print_findings(findings)
    if broken:
        print(f"crpbot: {len(broken)} of {len(findings)} files break a rule:", file=sys.stderr)
        for finding in broken:
            print(f"  {finding.error}", file=sys.stderr)
    return 1 if broken else 0


def _print_findings(findings: "list[FileFinding]") -> None:
    header = ("symbol", "verdict", "rows", "first", "last", "missing", "filled", "warnings")
    print("\n".join(table_lines(header, [_cells(finding) for finding in findings], "<<><<>>>")))
    for finding in findings:
        for warning in finding.report.warnings if finding.report else ():
            print(f"{finding.symbol}: warning: {warning}")


def _cells(finding: "FileFinding") -> tuple[str, ...]:
    report = finding.report
    if report is None:
        return (finding.symbol, "refused", *[""] * 6)
    return (
        finding.symbol,
        "ok",
        f"{report.rows:,}",
        f"{report.first:%Y-%m-%d %H:%M}",
        f"{report.last:%Y-%m-%d %H:%M}",
        f"{report.missing_share:.2%}",
        f"{report.filled_minutes:,}",
        str(len(report.warnings)),
    )
