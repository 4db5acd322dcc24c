"""What answers in a bundle: one network, an old network that was repaired, or two of those together.

    NetworkSection         a network that was trained here
    RepairedArchitecture   an old network behind a scaler and a clamp, in double precision
    EnsembleArchitecture   the weighted mean of two members' logits (a log-linear pool)

An ensemble's tensors are its members', named `members.<k>.<name>`, each with its own temperature; the scaler of all
columns, one member's after the other's, stands once on top, and so does the temperature of the whole.

What does not belong here: the arithmetic (models_lib.networks) and where the weights come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from models_lib.config import NetworkSection
from models_lib.errors import BundleError

DEFAULT_CLAMP: Final = 15.0
"""Largest |raw logit| of a repaired network, before the temperature."""
SCALER_PARTS: Final = ("scaler_mean", "scaler_scale")
OWN_TEMPERATURE: Final = "temperature"

Tensors = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class RepairedArchitecture:
    """An old network with what it lacked.

    The input is scaled, (x - mean) / scale, and clipped only where a v7 was trained so (`network.input_clip_std`); the raw
    logits are clamped to +-`clamp`. All of it in float64: unscaled inputs drive activations to 1e4 and beyond, where the
    rounding of float32 would reach the logits, differently in each engine.
    """

    network: NetworkSection
    clamp: float

    @classmethod
    def of(
        cls, family: Literal["v6", "v7"], *, clamp: float = DEFAULT_CLAMP, input_clip_std: float | None = None
    ) -> Self:
        """A repaired network of the old family; nothing but what is said here is clipped."""
        return cls(NetworkSection(family=family, input_clip_std=input_clip_std), clamp)


class Member(NamedTuple):
    """One of the two models of an ensemble."""

    architecture: NetworkSection | RepairedArchitecture
    num_features: int
    weight: float


@dataclass(frozen=True)
class EnsembleArchitecture:
    """Members side by side: each sees its own columns; their logits are weighed and added."""

    members: tuple[Member, ...]

    def columns(self) -> tuple[slice, ...]:
        """The columns that each member sees."""
        ends = accumulate((member.num_features for member in self.members), initial=0)
        return tuple(slice(first, last) for first, last in pairwise(ends))


Architecture = NetworkSection | RepairedArchitecture | EnsembleArchitecture


def member_prefix(place: int) -> str:
    """What the names of a member's tensors start with in its ensemble."""
    return f"members.{place}."


def member_tensors(ensemble: EnsembleArchitecture, tensors: Tensors) -> tuple[dict[str, npt.NDArray[np.float32]], ...]:
    """Each member's tensors under its own names, with its part of the scaler.

    Raises:
        BundleError: a tensor that belongs to no member, a scaler of a member alone, or one of another length
            than the members' columns.
    """
    prefixes = [member_prefix(place) for place in range(len(ensemble.members))]
    on_top, twice = {*SCALER_PARTS, OWN_TEMPERATURE}, {prefix + part for prefix in prefixes for part in SCALER_PARTS}
    unknown = sorted(
        name for name in tensors if name in twice or not (name in on_top or name.startswith(tuple(prefixes)))
    )
    if unknown:
        raise BundleError(f"the ensemble's tensors are not those of its members: unknown {unknown}. It is damaged.")
    columns = ensemble.columns()
    for name in SCALER_PARTS:
        if name not in tensors or tensors[name].shape != (columns[-1].stop,):
            raise BundleError(
                f"the ensemble needs {name} of all its members' {columns[-1].stop} columns. It is damaged."
            )
    return tuple(
        {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        | {name: tensors[name][part] for name in SCALER_PARTS}
        for prefix, part in zip(prefixes, columns, strict=True)
    )


def tensors_of_members(members: tuple[Tensors, ...], temperature: float) -> dict[str, npt.NDArray[np.float32]]:
    """The ensemble's tensors: the inverse of `member_tensors`, with a temperature of the whole.

    Args:
        members: each with scaler and its own temperature.
        temperature: absolute, > 0; it is rounded to float32.
    """
    joined = {
        member_prefix(place) + name: array
        for place, tensors in enumerate(members)
        for name, array in tensors.items()
        if name not in SCALER_PARTS
    }
    scaler = {name: np.concatenate([tensors[name] for tensors in members]) for name in SCALER_PARTS}
    return joined | scaler | {OWN_TEMPERATURE: np.array([temperature], dtype=np.float32)}
