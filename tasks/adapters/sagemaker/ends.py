"""What the end of a job means, as an error that says what to do; the container's own words come with it.

    Completed                                       no error
    Failed, our own failure text                    the class that the training raised
    Failed, InternalServerError or CapacityError    TransientError: AWS's side; the next attempt is another job
    Failed, anything else                           TrainingError with AWS's reason
    Stopped, MaxRuntimeExceeded                     TrainingError: training.sagemaker.max_runtime_seconds
    Stopped, MaxWaitTimeExceeded                    TransientError: no spare machine in time
    Stopped, anything else                          TrainingError: a person stopped it. It is never a success, also when
                                                    it left a part of a model

A TransientError is tried again without anybody's answer, so it becomes a TrainingError where something was billed:
nothing pays a second time by itself.

A reason alone does not say that a script is missing, or why a process was killed: the end of the log does.

What does not belong here: reading the log (logs.py), and what the job cost (models_lib.costs).
"""

import re
from collections.abc import Sequence
from typing import Final

from models_lib.errors import ConfigError, CrpbotError, DataError, TrainingError, TransientError
from tasks.adapters.sagemaker.state import JobState

TAIL_LINES: Final = 20
_LONGEST_LINE: Final = 160
_LONGEST_TAIL: Final = 2_000
_LONGEST_REASON: Final = 1_024
"""AWS's own limit."""
_OF_THE_TRAINING: Final[dict[str, type[CrpbotError]]] = {
    "ConfigError": ConfigError,
    "DataError": DataError,
    "TrainingError": TrainingError,
}
_OURS: Final = re.compile(rf"^(?:AlgorithmError: )?({'|'.join(_OF_THE_TRAINING)}): (.*)$", re.DOTALL)
_EXIT_CODE: Final = re.compile(r",? exit code: (\d+)\s*$")
_KILLED: Final = "137"
"""As docker says SIGKILL."""
_AWS_SIDE: Final = ("InternalServerError", "CapacityError")


def printable(line: str, longest: int = _LONGEST_LINE) -> str:
    """One line of a foreign log: no control characters, bounded."""
    plain = "".join(character if character.isprintable() else " " for character in line.rstrip()[: longest + 1])
    return plain if len(plain) <= longest else f"{plain[:longest]}..."


def told_tail(lines: Sequence[str]) -> str:
    """The last lines as a block for a message; of too much text the newest lines stay."""
    kept: list[str] = []
    room = _LONGEST_TAIL
    for line in reversed([printable(each) for each in lines if each.strip()][-TAIL_LINES:]):
        room -= len(line) + 5
        if room < 0:
            break
        kept.append(f"  | {line}")
    if not kept:
        return "Its log is empty."
    return "\n".join(["The end of its log:", *reversed(kept)])


def end_error(symbol: str, state: JobState, *, cost: str, tail: Sequence[str]) -> CrpbotError | None:
    """The error of a job that is over; None when it has a model.

    Args:
        symbol: whose.
        state: of a job that is over.
        cost: what it cost, as a sentence.
        tail: the last lines of its log, oldest first.
    """
    if state.status == "Completed":
        return None
    kind, fact, remedy = _told(state)
    if kind is TransientError and (state.billed_seconds or state.training_seconds):
        kind = TrainingError
    said = " ".join(part for part in (f"{symbol}: the SageMaker job {state.name} {fact}.", remedy, cost) if part)
    return kind(f"{said}\n{told_tail(tail)}")


def _told(state: JobState) -> tuple[type[CrpbotError], str, str]:
    """The class, the fact without its full stop, and the remedy."""
    if state.status == "Failed":
        return _failed(state.reason)
    match state.secondary:
        case "MaxRuntimeExceeded":
            return (
                TrainingError,
                "was stopped by its time limit (training.sagemaker.max_runtime_seconds)",
                "Raise the limit, or lower training.max_epochs; the next attempt goes on from the last checkpoint.",
            )
        case "MaxWaitTimeExceeded":
            return (
                TransientError,
                "got no spare machine, or lost it, within training.sagemaker.max_wait_seconds",
                "Try again later, raise the limit, or set training.sagemaker.spot=false.",
            )
        case _:
            return (
                TrainingError,
                "was stopped by somebody before it was done, and has no model",
                "Start the run again when it suits: the next attempt goes on from the last checkpoint.",
            )


def _failed(reason: str) -> tuple[type[CrpbotError], str, str]:
    said = _EXIT_CODE.sub("", reason[: 2 * _LONGEST_REASON])
    ours = _OURS.match(said)
    if ours:
        message = printable(ours[2], _LONGEST_REASON).rstrip(".")
        return _OF_THE_TRAINING[ours[1]], f"ended with {ours[1]}: {message}", ""  # it has its own remedy
    code = _EXIT_CODE.search(reason)
    if code and code[1] == _KILLED:
        remedy = (
            "Most often it needed more memory than the machine has: take a bigger one, or lower training.batch_size."
        )
        return TrainingError, f"was killed (exit code {_KILLED})", remedy
    quoted = printable(said, _LONGEST_REASON).strip(" .") or "AWS gives no reason"
    if quoted == "AlgorithmError:" and code:
        quoted = f"exit code {code[1]}, without a word of its own"
    if reason.startswith(_AWS_SIDE):
        return TransientError, f"failed on AWS's side: {quoted}", "Try again later: the next attempt is another job."
    return TrainingError, f"failed: {quoted}", "Mend what the reason or the log below names, then start the run again."
