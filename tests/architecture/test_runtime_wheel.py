"""The trading host's distribution: the same version and pins as the project's, and exactly what can work on a host."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from studies.host_runtime import distributions, host_requirements, packages_beyond

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "deployments/runtime"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOST = tomllib.loads((RUNTIME / "pyproject.toml").read_text())
OURS = ("flows", "tasks", "models_lib")
LEFT_OUT = {
    "models_lib.bundle": {  # by name, when they are asked for
        "models_lib.bundle.export",
        "models_lib.bundle.kinds",
        "models_lib.bundle.write",
    },
    "models_lib.bundle.predictor": {
        "models_lib.networks",
        "torch",
    },  # of bundles without model.onnx, which no host serves
}
"""What a module of the wheel imports only where the whole project is installed."""

WITH_AN_EXTRA = {"tasks.adapters.slack_webhook", "tasks.adapters.exchange.speaker"}
"""Modules that are imported only where an extra is installed."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def wheel_files() -> dict[str, Path]:
    """Path in the wheel -> source, as hatchling expands force-include."""
    files: dict[str, Path] = {}
    for source, target in HOST["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].items():
        path = (RUNTIME / source).resolve(strict=True)
        for found in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            files[f"{target}/{found.relative_to(path)}" if path.is_dir() else target] = found
    return files


MODULES = {module_name(path): path for path in wheel_files().values()}


def pinned(table: dict) -> dict[str, str]:
    """Distribution -> its requirement, of every list in a [project] table."""
    lists = [table["dependencies"], *table.get("optional-dependencies", {}).values()]
    requirements = [Requirement(entry) for entries in lists for entry in entries]
    return {requirement.name: str(requirement.specifier) for requirement in requirements}


def test_pins_and_python_are_the_projects() -> None:
    ours, theirs = pinned(PROJECT["project"]), pinned(HOST["project"])
    assert theirs == {name: ours[name] for name in theirs}
    assert len(theirs) == 11
    assert HOST["project"]["requires-python"] == PROJECT["project"]["requires-python"]
    assert HOST["build-system"] == PROJECT["build-system"]


def test_version_is_read_from_the_project() -> None:
    source = HOST["tool"]["hatch"]["version"]
    found = re.findall(source["pattern"], (RUNTIME / source["path"]).read_text())
    assert found == [PROJECT["project"]["version"]]


def test_files_keep_their_place_in_the_tree() -> None:
    files = wheel_files()
    assert len(files) > 30
    assert {target: path.relative_to(ROOT).as_posix() for target, path in files.items()} == {
        name: name for name in files
    }
    packages = {name.rpartition(".")[0] for name in MODULES} - {""}
    assert packages <= MODULES.keys(), "a package without its __init__.py"


HOST_DISTRIBUTIONS = distributions(host_requirements())
ELSEWHERE = packages_beyond(HOST_DISTRIBUTIONS) - set(OURS)
"""Top-level names that a host without extras has not."""
EXTRAS = distributions(
    Requirement(entry) for extra in HOST["project"]["optional-dependencies"].values() for entry in extra
)
NOWHERE = packages_beyond(HOST_DISTRIBUTIONS | EXTRAS) - set(OURS)
"""Top-level names that no host has."""


ON_A_HOST = """
import importlib, json, sys

modules, at_once, elsewhere = json.loads(sys.argv[1])


class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in elsewhere or (root in ("flows", "tasks", "models_lib") and name not in modules):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, NotInstalled())
for name in at_once:
    importlib.import_module(name)
"""


def test_every_module_can_be_imported_on_a_host() -> None:
    """With the packages that pip installs there, and without any module of ours that is not in the wheel."""
    assert {
        "torch",
        "scipy",
        "sklearn",
        "prefect",
        "pyarrow",
        "slack_sdk",
        "onnx",
        "rich",
        "ccxt",
        "requests",
    } <= ELSEWHERE
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            ON_A_HOST,
            json.dumps([sorted(MODULES), sorted(MODULES.keys() - WITH_AN_EXTRA), sorted(ELSEWHERE)]),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr


def imports(tree: ast.AST) -> Iterator[str]:
    """Everything that is imported anywhere in a module, also inside functions: module names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if is_ours(name) else node.module for name in inside)


def is_ours(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return name.partition(".")[0] in OURS and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_what_a_module_imports_later_is_there_too(name: str) -> None:
    for wanted in set(imports(ast.parse(MODULES[name].read_text()))) - LEFT_OUT.get(name, set()):
        if wanted.partition(".")[0] in OURS:
            assert wanted in MODULES, f"{name} needs {wanted}: name it in deployments/runtime/pyproject.toml"
        else:
            assert wanted.partition(".")[0] not in NOWHERE, f"{name} needs {wanted}, which no host has"
