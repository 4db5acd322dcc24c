"""The errors that callers can act on: each class answers "what should I do?".

    CrpbotError            the root; never raised itself
    |-- ConfigError        fix the configuration, the command line or the environment; nothing was started
    |   `-- PreflightError   a paid training would fail or cost too much: mend what the findings name; nothing was billed
    |-- DataError          refuse the data: they break a rule that no retry will mend
    |-- BundleError        do not load this model: it is damaged, incomplete or not what it says
    |-- PromotionError     the registry says no: a gate failed, or the champion is not the one judged against
    |   `-- RecordError    ledger or pointers are damaged: nothing is changed until a person has looked
    |-- TrainingError      the training gave no model: non-finite loss, a time limit, a killed process
    |-- DeployError        the trading host does not run the new release; the message says what it runs
    |   |-- RolledBackError  it ran it, and runs the earlier one again
    |   `-- UnhealthyError   it does not answer for what it runs: a person must look at once
    |-- NotificationError  the endpoint refuses the message: mend the channel's address, password or certificate
    |-- VerdictError       some symbols failed: read the summary, which the error names
    |-- TransientError     try again later: network, throttling, a busy lock
    |   |-- BusyError      somebody else is at work there; nothing was begun
    |   `-- OutOfPatienceError  tried again for as long as the configuration says; much later, not at once
    `-- StoppedError       someone stopped the run; start it again when it suits

A message is one readable sentence or two: the subject, the fact with its limit, where and when, the remedy.
Adapters translate at the edge (`raise DataError(...) from error`). Every error survives pickling, because errors
cross process borders: they carry their message as their only argument.

What does not belong here: exit statuses (flows/cli.py maps classes to them) and retry rules (tasks/policies.py).
"""

from pathlib import Path
from typing import Final

LONGEST_EXCERPT: Final = 200


def excerpt(text: object) -> str:
    """What a foreign file or library says, fit to stand in a message: one line of at most 200 characters.

    Line breaks, the control sequences of terminals and other characters that cannot be shown become question marks.
    """
    start = str(text)[: LONGEST_EXCERPT + 1]
    plain = "".join(character if character.isprintable() else "?" for character in start)
    return plain if len(plain) <= LONGEST_EXCERPT else f"{plain[:LONGEST_EXCERPT]}..."


class CrpbotError(Exception):
    """The root of every error that this system raises on purpose."""


class ConfigError(CrpbotError):
    """Fix the file, the command line or the environment; nothing was started."""


class PreflightError(ConfigError):
    """Mend what the findings name; no job was submitted and nothing was billed."""


class DataError(CrpbotError):
    """Refuse the data; trying again with the same data cannot help."""


class BundleError(CrpbotError):
    """Do not load this model."""


class PromotionError(CrpbotError):
    """The registry refuses the change of champion; the pointer stays as it was."""


class RecordError(PromotionError):
    """The record of champions is damaged: a person must look before anything is changed."""


class TrainingError(CrpbotError):
    """The training ended without a usable model."""


class DeployError(CrpbotError):
    """The trading host does not run the new release.

    Attributes:
        hold_reason: why the host put the symbol on hold; None when it did not.
    """

    hold_reason: str | None = None


class RolledBackError(DeployError):
    """The trading host ran the new release and runs the earlier one again."""


class UnhealthyError(DeployError):
    """The trading host does not answer for what it runs: a person must look at once."""


class NotificationError(CrpbotError):
    """Mend the channel (address, password, certificate): the endpoint refuses what is sent to it."""


class VerdictError(CrpbotError):
    """Some symbols of a finished run failed; `summary` is the file that tells of all of them."""

    summary: Path | None = None


class StoppedError(CrpbotError):
    """Someone stopped the run (Ctrl-C, a cancelled flow run); start it again when it suits."""


class TransientError(CrpbotError):
    """Try again later: the cause is expected to pass by itself.

    Attributes:
        retry_after_seconds: how long the other side asked to be left alone; None when it did not say.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class BusyError(TransientError):
    """Somebody else is at work there; nothing was begun."""


class OutOfPatienceError(TransientError):
    """It was tried again for as long as the configuration says: whoever hears of it does not begin anew at once."""
