"""JSON files of a bundle and of the registry: read strictly, refused with every fault named.

What does not belong here: what the files say.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from models_lib.errors import BundleError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PartT = TypeVar("PartT", bound=BaseModel)


def parse_json(content: bytes, *, name: str) -> dict[str, Any]:
    """The object in a JSON file; duplicate keys, NaN and anything but an object are refused.

    Raises:
        BundleError: the file is damaged.
    """
    try:
        tree = json.loads(content.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name} is damaged: {error}. Take the bundle from the store again.") from error
    if not isinstance(tree, dict):
        raise BundleError(
            f"{name} must hold an object, was a {type(tree).__name__}. Take the bundle from the store again."
        )
    return tree


def parse_part(part: type[PartT], content: bytes, *, name: str) -> PartT:
    """The checked value in a JSON file.

    Raises:
        BundleError: naming every fault.
    """
    try:
        return part.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(f"{name} is damaged: {faults_in(error)}. Take the bundle from the store again.") from error


def faults_in(error: ValidationError) -> str:
    """The first few faults, each with its key."""
    return "; ".join(_fault(fault) for fault in error.errors(include_url=False)[:5])


def _fault(fault: Mapping[str, Any]) -> str:
    key = ".".join(str(step) for step in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key stands twice")
    return tree


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
