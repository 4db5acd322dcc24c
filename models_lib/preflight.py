"""What is checked before a cent is spent, as findings: every check runs, and each answer has its remedy.

`unknown` is an answer of its own: AWS may forbid the question while it would allow the job. It is told, and stops nothing;
only `fail` does.

What does not belong here: the checks (tasks.adapters.sagemaker.checks), and drawing the table (models_lib.reports).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from models_lib.errors import PreflightError

Answer = Literal["pass", "fail", "unknown"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name, such as "image" or "quota".
        answer: pass, fail or unknown.
        fact: what was found, with the limit.
        remedy: what to do about it; empty where it passed.
        symbol: whose, where the check is about one symbol.
    """

    check: str
    answer: Answer
    fact: str
    remedy: str = ""
    symbol: str | None = None

    def __post_init__(self) -> None:
        """Whatever did not pass says what to do."""
        if (self.answer == "pass") != (not self.remedy):
            raise ValueError(f"{self.check}: a finding has a remedy when it did not pass, and only then")

    @property
    def subject(self) -> str:
        """As in "data of BTC-USD"."""
        return f"{self.check} of {self.symbol}" if self.symbol else self.check

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "check": self.check,
            "symbol": self.symbol,
            "answer": self.answer,
            "fact": self.fact,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class Preflight:
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> "Preflight":
        """The findings of every check."""
        return cls(tuple(findings))

    @property
    def failed(self) -> tuple[Finding, ...]:
        """What stops a job."""
        return tuple(finding for finding in self.findings if finding.answer == "fail")

    def refuse(self) -> None:
        """Returns when nothing failed.

        Raises:
            PreflightError: with every failed finding and its remedy.
        """
        if self.failed:
            told = "\n".join(f"  {each.subject}: {each.fact} {each.remedy}" for each in self.failed)
            count = f"{len(self.failed)} of {len(self.findings)} checks failed"
            raise PreflightError(f"preflight: {count}; no job was submitted and nothing was billed.\n{told}")
