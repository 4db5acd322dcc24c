"""The sets of features that a model can be trained on or judged with, by name.

`current` is what this code trains on, `raw72` what V6 and V7 files are taken to expect. A set can be joined from others
(an ensemble's members each read their own columns) or selected by names (a file with its own list). Names are unique over
both lists. All sets share the windows WARM_UP_BARS, DEPENDENCY_BARS and SERVING_BARS, so whoever keeps candles keeps one
window and one rule whatever the model.

What does not belong here: what a feature is (definitions.py, raw72.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from models_lib.errors import ConfigError
from models_lib.features.code_hash import code_hash_of
from models_lib.features.definitions import FEATURE_SET, FEATURE_SET_VERSION, FEATURES, Feature
from models_lib.features.raw72 import RAW72_FEATURES, RAW72_VERSION

SELECTED: Final = "selected"
"""Name of a set that was put together from single features."""


@dataclass(frozen=True)
class FeatureSet:
    """An ordered list of features: the columns of a model's input."""

    name: str
    """`current`, `raw72`, `selected`, or several of them with a plus between."""
    version: int
    """Grows when a name, the order or a value changes; of what is put together, the sum of the versions."""
    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(feature.name for feature in self.features)

    def code_hash(self) -> str:
        """The SHA-256, in lower-case hex, of the code that defines the values."""
        return code_hash_of(self.name, self.version, self.names)


CURRENT: Final = FeatureSet(FEATURE_SET, FEATURE_SET_VERSION, FEATURES)
"""What models are trained on."""
RAW72: Final = FeatureSet("raw72", RAW72_VERSION, RAW72_FEATURES)
"""What V6 and V7 files are taken to expect."""
FEATURE_SETS: Final[Mapping[str, FeatureSet]] = MappingProxyType({known.name: known for known in (RAW72, CURRENT)})
"""The lists that have a name of their own."""
_BY_NAME: Final = {feature.name: feature for known in FEATURE_SETS.values() for feature in known.features}
_SELECTED_VERSION: Final = sum(known.version for known in FEATURE_SETS.values())


def joined(*sets: FeatureSet) -> FeatureSet:
    """The columns of the sets one after the other; a feature of two of them has two columns."""
    return FeatureSet(
        name="+".join(part.name for part in sets),
        version=sum(part.version for part in sets),
        features=tuple(feature for part in sets for feature in part.features),
    )


def selected(names: Sequence[str]) -> FeatureSet:
    """The features of these names, in this order.

    Raises:
        ValueError: no names, an unknown one, or one twice.
    """
    if not names:
        raise ValueError("no feature is named")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"named twice: {', '.join(twice)}")
    return FeatureSet(SELECTED, _SELECTED_VERSION, _by_names(names))


def feature_set(name: str, names: Sequence[str]) -> FeatureSet:
    """The set that a bundle speaks of, as this code computes it.

    Raises:
        ValueError: this code has no such set, or its features or their order are others.
    """
    parts = name.split("+")
    if not {*parts} <= {*FEATURE_SETS, SELECTED}:
        raise ValueError(f"features.set is {name!r}, this code has {', '.join(FEATURE_SETS)} and {SELECTED}")
    if SELECTED in parts:
        version = sum(FEATURE_SETS[part].version if part in FEATURE_SETS else _SELECTED_VERSION for part in parts)
        return FeatureSet(name, version, _by_names(names))
    known = joined(*(FEATURE_SETS[part] for part in parts))
    _check_names(tuple(names), known.names)
    return known


def read_feature_list(path_or_name: str) -> FeatureSet:
    """The set of that name, or the features that a file lists: a JSON list of names, or one name a line.

    Raises:
        ConfigError: neither a set nor a readable list, an unknown name, or one twice.
    """
    if path_or_name in FEATURE_SETS:
        return FEATURE_SETS[path_or_name]
    try:
        text = Path(path_or_name).read_text(encoding="utf-8-sig")  # editors of Windows begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(
            f"--features {path_or_name}: neither {' nor '.join(FEATURE_SETS)}, and no readable file ({reason}). "
            f"Name one of these sets or a file with one name a line."
        ) from error
    try:
        return selected(_listed(text))
    except ValueError as error:
        raise ConfigError(
            f"--features {path_or_name}: {error}. Use names of {' and '.join(FEATURE_SETS)}, a JSON list or one name a line."
        ) from error


def _listed(text: str) -> list[str]:
    """The names in a file's text."""
    if not text.lstrip().startswith("["):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        names = json.loads(text)
    except ValueError as error:
        raise ValueError(f"no JSON list ({error})") from error
    if not all(isinstance(name, str) for name in names):
        raise ValueError("the list must hold names alone")
    return [str(name) for name in names]


def _by_names(names: Sequence[str]) -> tuple[Feature, ...]:
    unknown = [name for name in names if name not in _BY_NAME]
    if unknown:
        raise ValueError(f"{len(unknown)} unknown features: {_shown(unknown)}")
    return tuple(_BY_NAME[name] for name in names)


def _check_names(trained: tuple[str, ...], known: tuple[str, ...]) -> None:
    if trained == known:
        return
    strange = {*trained} ^ {*known}
    if strange or len(trained) != len(known):
        raise ValueError(
            f"{len(trained)} features where this code has {len(known)}; different: {_shown(sorted(strange))}"
        )
    place = next(k for k, (was, now) in enumerate(zip(trained, known, strict=True)) if was != now)
    raise ValueError(
        f"the features stand in another order: number {place} is {trained[place]}, this code has {known[place]}"
    )


def _shown(names: Sequence[str]) -> str:
    """At most eight of the names."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
