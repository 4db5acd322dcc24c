"""Rules that hold for the whole source: who may import whom, what is never written, and that importing is harmless."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "models_lib")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def source_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout.splitlines()[-1]))


def test_imports_keep_the_contracts(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    answer = subprocess.run(
        [*command, "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert " kept, 0 broken" in answer.stdout


def test_every_package_is_under_the_contracts() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert set(settings["importlinter"]["root_packages"]) == set(PACKAGES)
    assert settings["hatch"]["build"]["targets"]["wheel"]["packages"] == list(PACKAGES)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=source_id)
def test_source_runs_no_foreign_code(path: Path) -> None:
    """No pickle in any form, no shell, no `eval`, no loading with code in it."""
    tree = ast.parse(
        path.read_text().replace("from pickle import UnpicklingError\n", "")
    )  # an error class reads nothing
    roots = {name.partition(".")[0] for name in imported(tree)}
    assert not roots & {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = ast.unparse(call.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert called not in {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}, called
        assert given.get("shell", "False") == "False", ast.unparse(call)
        assert given.get("allow_pickle", "False") == "False", ast.unparse(call)
        if called in {"torch.load", "np.load", "numpy.load"}:
            wanted = {"torch.load": ("weights_only", "True")}.get(called, ("allow_pickle", "False"))
            assert given.get(wanted[0]) == wanted[1], ast.unparse(call)
        exported = source_id(path) == "models_lib/bundle/export.py"  # for programs of others, which know no other form
        assert called != "torch.save" or exported, "weights are written as safetensors"


@pytest.mark.parametrize("path", SOURCES, ids=source_id)
def test_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), "a module begins with its docstring"
    assert path.stem not in {"utils", "helpers", "manager", "process", "common", "misc"}


@pytest.mark.parametrize("path", [path for path in SOURCES if "flows" in path.parts], ids=source_id)
def test_flows_do_no_arithmetic_on_data(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imported(ast.parse(path.read_text()))}
    assert not roots & {"torch", "pandas", "numpy", "sklearn", "scipy", "boto3", "asyncssh", "ccxt"}


def test_bundles_are_read_without_torch_and_without_training_code() -> None:
    loaded = modules_after("import models_lib.bundle; models_lib.bundle.verify_hashes")
    assert not loaded & {"torch", "numba", "sklearn", "prefect", "matplotlib", "pandas"}
    loaded = modules_after("from models_lib.bundle import load_bundle")
    assert not loaded & {"torch", "sklearn", "prefect", "matplotlib"}


def test_features_are_computed_without_torch_and_prefect() -> None:
    """Also without scipy, which numba looks for but does not need: None in `sys.modules` is an import that fails."""
    loaded = modules_after(
        "import sys\nsys.modules['scipy'] = None\n"
        "from models_lib.features import compute_features, FEATURE_NAMES, WARM_UP_BARS, SERVING_BARS"
    )
    assert not loaded & {"torch", "sklearn", "prefect", "matplotlib"}


@pytest.mark.parametrize(
    "module", ["models_lib", "models_lib.config", "models_lib.steps.plan", "models_lib.evaluation.gates"]
)
def test_importing_reads_no_environment(module: str) -> None:
    """The library's configuration comes in as arguments."""
    code = f"""
import os
class Watched(dict):
    def __getitem__(self, key):
        assert not str(key).startswith(("CRPBOT", "AWS")), key
        return super().__getitem__(key)
    def get(self, key, default=None):
        assert not str(key).startswith(("CRPBOT", "AWS")), key
        return super().get(key, default)
os.environ = Watched(os.environ)
import {module}
"""
    assert module in modules_after(code)


@pytest.mark.parametrize("path", [path for path in SOURCES if "models_lib" in path.parts], ids=source_id)
def test_library_reads_no_setting_from_the_environment(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {"os.getenv", "os.environ.get"}, ast.unparse(node)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            assert ast.unparse(node.value) != "os.environ", ast.unparse(node)


@pytest.mark.parametrize("path", SOURCES, ids=source_id)
def test_onnx_runtime_is_imported_where_it_is_silenced(path: Path) -> None:
    if source_id(path) != "models_lib/bundle/predictor.py":
        assert not {name for name in imported(ast.parse(path.read_text())) if name.startswith("onnxruntime")}


def test_onnx_runtime_keeps_no_device_id_and_sends_nothing(tmp_path: Path) -> None:
    """Its official builds do, from the import on: a folder below the home shows it."""
    code = "from models_lib.bundle.predictor import onnx_runtime; onnx_runtime().SessionOptions()"
    quiet = {"CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    environment["HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
