"""Progress as lines of JSON between the training process and its parent.

What does not belong here: showing progress to a person.
"""

import json
from dataclasses import asdict
from typing import Any

from models_lib.training.history import EpochRecord, StepProgress, epoch_from_json


def message_of(progress: EpochRecord | StepProgress) -> dict[str, Any]:
    """The message as JSON values, with an `event` of `epoch` or `steps`."""
    event = "epoch" if isinstance(progress, EpochRecord) else "steps"
    return {"event": event, **asdict(progress)}


def progress_of(line: str) -> EpochRecord | StepProgress | None:
    """What a line of the worker's stdout says; None for anything that is not a progress message."""
    try:
        message = json.loads(line)
        event = message.pop("event")
        return epoch_from_json(message) if event == "epoch" else StepProgress(**message)
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
