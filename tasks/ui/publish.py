"""The pieces of models_lib.reports.pieces as Prefect artifacts, and what happens when one cannot be shown: a warning."""

import logging
from typing import Any, cast

from prefect import Task
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.client.schemas.objects import State
from prefect.settings import get_current_settings

from models_lib.reports.pieces import Image, Link, Piece, Table, Text

_log = logging.getLogger("models_lib")


def publish(piece: Piece) -> None:
    """Makes the artifact of the present run; the UI keeps those of earlier runs under the same key."""
    named: dict[str, Any] = {"key": piece.key, "description": piece.description}
    match piece:
        case Table():
            create_table_artifact(table=piece.rows, **named)
        case Text():
            create_markdown_artifact(markdown=piece.markdown, **named)
        case Image():
            create_image_artifact(image_url=piece.address, **named)
        case Link():
            create_link_artifact(link=piece.address, link_text=piece.text, **named)
        case _:
            raise TypeError(f"piece must be a Table, Text, Image or Link, was {type(piece).__name__}")


def for_the_eye(step: Task[..., Any], *given: object) -> None:
    """Runs a task that only the UI shows, where there is a UI; what goes wrong in it is a warning."""
    if get_current_settings().server.ui.enabled:
        harmless(step, *given)


def harmless(step: Task[..., Any], *given: object) -> None:
    """Runs a task on which no verdict depends: what goes wrong in it is a warning and changes nothing else."""
    state = cast("State[Any]", step(*given, return_state=True))
    if not state.is_completed():
        _log.warning("%s: could not be done for this run: %s", step.name, state.message)
