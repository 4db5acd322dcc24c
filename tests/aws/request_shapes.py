"""Requests, and the stand-in's own answers, are judged by botocore's model of the service: lengths, patterns, names too.

A client checks types and required members only.

What does not belong here: what the values mean.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
from botocore.model import ServiceModel

from tests.aws.cloud_settings import AwsError

_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "boolean": bool,
    "timestamp": (int, float),
    "structure": dict,
    "map": dict,
    "list": list,
}


@functools.cache
def model(service: str) -> ServiceModel:
    """The model that botocore has of a service."""
    return botocore.session.get_session().get_service_model(service)


def refuse_misshapen(service: str, operation: str, request: dict[str, Any]) -> None:
    """Raises ValidationException when a request is not as the service's model says."""
    shape = model(service).operation_model(operation).input_shape
    found = [] if shape is None else list(_faults(shape, request, ""))
    if found:
        plural = "errors" if len(found) > 1 else "error"
        raise AwsError("ValidationException", f"{len(found)} validation {plural} detected: {'; '.join(found)}")


def assert_well_shaped(service: str, operation: str, answer: dict[str, Any]) -> None:
    """Fails when an answer is not one that AWS could give."""
    shape = model(service).operation_model(operation).output_shape
    found = list(_faults(shape, answer, "")) if shape is not None else []
    found = [
        fault for fault in found if not fault.startswith("Value null at 'modelArtifacts'")
    ]  # AWS leaves it out too
    assert not found, f"{operation} answers {found}"


def _faults(shape: Any, value: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    if not isinstance(value, _TYPES.get(kind, object)) or (isinstance(value, bool) and kind != "boolean"):
        yield f"Value at '{path}' failed to satisfy constraint: Member must be of type {kind}"
        return
    yield from _own_faults(shape, value, path)
    if kind == "structure":
        yield from _structure_faults(shape, value, path)
    elif kind == "list":
        for index, member in enumerate(value, start=1):
            yield from _faults(shape.member, member, f"{path}.{index}.member")
    elif kind == "map":
        for key, member in value.items():
            yield from _faults(shape.key, key, f"{path} key")
            yield from _faults(shape.value, member, f"{path}.{key}")


def _structure_faults(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if name not in value:
            yield f"Value null at '{_below(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, member in value.items():
        if name in shape.members:
            yield from _faults(shape.members[name], member, _below(path, name))
        else:
            yield f"Unknown member '{_below(path, name)}'"


def _own_faults(shape: Any, value: Any, path: str) -> Iterator[str]:
    said = f"Value '{str(value)[:100]}' at '{path}' failed to satisfy constraint: Member must"
    sized = isinstance(value, str | list | dict)
    size = len(value) if sized else value
    words = "have length" if sized else "have value"
    limits = shape.metadata
    if not isinstance(value, bool) and "min" in limits and size < limits["min"]:
        yield f"{said} {words} greater than or equal to {limits['min']}"
    if not isinstance(value, bool) and "max" in limits and size > limits["max"]:
        yield f"{said} {words} less than or equal to {limits['max']}"
    if not isinstance(value, str):
        return
    if shape.enum and value not in shape.enum:
        yield f"{said} satisfy enum value set: [{', '.join(shape.enum)}]"
    if "pattern" in limits and not _pattern(limits["pattern"]).fullmatch(value):
        yield f"{said} satisfy regular expression pattern: {limits['pattern']}"


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    """Java's classes in Python's words: letters, digits and blanks of every script."""
    return re.compile(pattern.replace(r"\p{L}", r"\w").replace(r"\p{Z}", r"\s").replace(r"\p{N}", r"\d"), re.DOTALL)


def _below(path: str, name: str) -> str:
    camel = name[0].lower() + name[1:]
    return f"{path}.{camel}" if path else camel
