"""From a YAML file and `dotted.key=value` settings to a checked `RunConfig`.

Precedence: `--set` over the file over the defaults of sections.py. Nothing is read from the environment.

What does not belong here: the meaning of the values (sections.py).
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from models_lib.config.run_config import RunConfig
from models_lib.errors import ConfigError

_PLAIN = {
    "tuple_type": "must be a list, such as [A, B]",
    "model_type": "must be a section of keys, such as `days: 50` under `data:`",
    "model_attributes_type": "must be a section of keys, such as `days: 50` under `data:`",
}
"""Faults that pydantic names in the words of the code."""


def load_config(path: Path | None = None, settings: Sequence[str] = ()) -> RunConfig:
    """The checked configuration of `path` (None: the defaults) with `settings` laid over it.

    Args:
        path: a YAML file of sections, or None.
        settings: `dotted.key=value` strings; values are read as YAML scalars or lists.

    Raises:
        ConfigError: unreadable file, unknown key, value of the wrong type or outside its limits.
    """
    tree = read_sections(path, remedy="Check the path in --config or CRPBOT_CONFIG.") if path is not None else {}
    for setting in settings:
        _apply_setting(tree, setting)
    try:
        return RunConfig.model_validate(_laid_over(tree, RunConfig().model_dump()))
    except ValidationError as error:
        raise ConfigError(explain(error, origin=str(path) if path else "the configuration")) from error


def read_sections(path: Path, *, remedy: str) -> dict[str, Any]:
    """The sections in a YAML file, unchecked; an empty file has none.

    Args:
        path: the file.
        remedy: what to do when it cannot be read.

    Raises:
        ConfigError: unreadable, no YAML, a key that stands twice, or no sections at the top.
    """
    try:
        tree = _parsed(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the configuration file cannot be read ({error}). {remedy}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {_one_line(error)}. Correct the file at that place.") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must hold sections such as `data:` at the top, was a {type(tree).__name__}.")
    return tree


def explain(error: ValidationError, *, origin: str, of: type[BaseModel] = RunConfig) -> str:
    """One line a fault: the dotted key, the fact, and near names for an unknown key.

    Args:
        error: what pydantic found.
        origin: the file, named first.
        of: the whole that was validated; names that may have been meant are its.
    """
    lines = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"]) or "configuration"
        if fault["type"] == "extra_forbidden":
            near = _near_keys(fault["loc"], of)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            lines.append(f"{key}: unknown key.{hint}")
        else:
            message = _PLAIN.get(fault["type"], fault["msg"].removeprefix("Value error, "))
            was = "" if isinstance(fault["input"], Mapping | BaseModel) else f", was {fault['input']!r}"
            lines.append(f"{key}: {message}{was}.")
    return f"{origin}: " + " ".join(lines)


def select_symbols(config: RunConfig, requested: Sequence[str] | None) -> tuple[str, ...]:
    """The requested symbols in their given order, or all configured ones.

    Raises:
        ConfigError: for a symbol that the configuration does not list.
    """
    if requested is None:
        return config.symbols
    for symbol in requested:
        if symbol not in config.symbols:
            raise ConfigError(
                f"{symbol!r} is not a configured symbol; configured are {', '.join(config.symbols)}. "
                f"Add it to `symbols` in the configuration file, or ask for one of these."
            )
    if not requested:
        raise ConfigError(
            "no symbol was asked for. Name at least one after --symbols, or leave the option out for all."
        )
    return tuple(dict.fromkeys(requested))


class _EachKeyOnce(yaml.SafeLoader):
    """YAML as `safe_load` reads it, but a key that stands twice in a section is refused: one of the two would be lost."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return node


def _parsed(text: str) -> Any:
    loader = _EachKeyOnce(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _apply_setting(tree: dict[str, Any], setting: str) -> None:
    """Writes one `a.b.c=value` into the tree of sections."""
    key, separator, text = setting.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set {setting!r}: must be dotted.key=value, such as data.days=50.")
    try:
        value = _parsed(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {setting!r}: the value is not valid YAML ({_one_line(error)}). Quote it.") from error
    branch = tree
    for part in parts[:-1]:
        if branch.get(part) is None:
            branch[part] = {}
        child = branch[part]
        if not isinstance(child, dict):
            raise ConfigError(f"--set {setting!r}: {part!r} is a value, not a section.")
        branch = child
    branch[parts[-1]] = value


def _laid_over(tree: Any, defaults: Any) -> Any:
    """`tree` with what it leaves out taken from `defaults`, section by section: a severity alone keeps its gate's limit.

    An empty section (`training:` with nothing below it) leaves out everything. A section of another `kind` than the
    default's takes nothing from it: a target that is named as the embedded one may be behind SSH.
    """
    if not isinstance(defaults, dict):
        return tree
    if tree is None:
        return defaults
    if not isinstance(tree, dict) or tree.get("kind", defaults.get("kind")) != defaults.get("kind"):
        return tree
    merged = {key: _laid_over(tree[key], value) if key in tree else value for key, value in defaults.items()}
    return {**tree, **merged}


def _near_keys(location: tuple[int | str, ...], whole: type[BaseModel]) -> list[str]:
    """Dotted keys that may have been meant: similar ones of the same section, or else of that name in any section."""
    *section, name = (str(part) for part in location)
    siblings = {key.rpartition(".")[2]: key for key in _all_keys(whole) if key.rpartition(".")[0] == ".".join(section)}
    near = [siblings[key] for key in difflib.get_close_matches(name, siblings, n=3, cutoff=0.6)]
    return near or [key for key in _all_keys(whole) if key.rpartition(".")[2] == name]


def _all_keys(section: Any, prefix: str = "") -> list[str]:
    """Every dotted key of the sections below `section`, sections themselves included."""
    keys = []
    for name, field in getattr(section, "model_fields", {}).items():
        keys += [prefix + name, *_all_keys(field.annotation, f"{prefix}{name}.")]
    return keys


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
