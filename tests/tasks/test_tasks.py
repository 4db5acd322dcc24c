"""The steps as Prefect sees them: names, policies, no caching; read without a server."""

import ast
import importlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import tasks
from models_lib.errors import (
    BundleError,
    ConfigError,
    DataError,
    DeployError,
    PromotionError,
    StoppedError,
    TrainingError,
    TransientError,
)

FOLDER = Path(tasks.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in {"__init__", "policies", "gpu_slot"})
RUN_LEVEL = {
    "summary_table",
    "notify",
    "dead_man",
    "clean",
    "tell_verdicts",
    "live",
    "deploy_champions",
    "compare",
    "preflight",
    "quote",
    "show_preflight",
    "show_costs",
    "show_comparison",
}
"""Steps of the whole run or of no run, which no symbol and day names."""


def tasks_of(module: str) -> list[Any]:
    """The tasks that a module defines."""
    from prefect import Task

    members = vars(importlib.import_module(f"tasks.{module}")).values()
    return [member for member in members if isinstance(member, Task)]


@pytest.mark.parametrize("module", MODULES)
def test_each_module_is_one_task_with_a_name_and_without_cache(module: str) -> None:
    from prefect.cache_policies import NO_CACHE

    (task,) = tasks_of(module)
    assert task.cache_policy == NO_CACHE, "a large value is never hashed, and a re-run never takes a stale one"
    assert task.name == task.name.lower()
    if module not in RUN_LEVEL:
        assert "symbol}" in task.task_run_name
        assert task.task_run_name.endswith("{plan.date}")


@pytest.mark.parametrize("module", MODULES)
def test_a_task_is_at_most_ten_statements(module: str) -> None:
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
        assert len(statements) <= 11, f"tasks/{module}.py {function.name}: keep the work in models_lib.steps"


@pytest.mark.parametrize(
    ("module", "retries"),
    [
        ("candles", 4),
        ("summary_table", 1),
        ("notify", 1),
        ("dead_man", 1),
        ("train", 1),
        ("promote", 3),
        ("features", 0),
        ("judge", 4),
        ("store", 4),
    ],
)
def test_only_steps_that_can_fail_in_passing_are_tried_again(module: str, retries: int) -> None:
    from tasks.policies import is_transient

    (task,) = tasks_of(module)
    assert task.retries == retries
    if retries:
        assert task.retry_condition_fn is is_transient


def test_tries_again_after_5_10_20_and_40_seconds_with_jitter() -> None:
    (task,) = tasks_of("candles")
    assert task.retry_delay_seconds == [5, 10, 20, 40]
    assert task.retry_jitter_factor == 0.5


@pytest.mark.parametrize(
    ("failure", "passes_by_itself"),
    [
        (TransientError("busy"), True),
        (ConnectionResetError("reset"), True),
        (TimeoutError("slow"), True),
        (DataError("bad"), False),
        (ConfigError("wrong"), False),
        (BundleError("damaged"), False),
        (TrainingError("not finite"), False),
        (PromotionError("another champion"), False),
        (DeployError("rolled back"), False),
        (StoppedError("Ctrl-C"), False),
        (FileNotFoundError("gone"), False),
        (MemoryError(), False),
    ],
)
def test_kind_of_failure_decides_whether_to_try_again(failure: Exception, *, passes_by_itself: bool) -> None:
    from prefect.states import Failed

    from tasks.policies import is_transient

    assert is_transient(None, None, Failed(data=failure)) is passes_by_itself


def test_run_names_can_be_filled_in(tmp_path: Path) -> None:
    from models_lib.config import RunConfig
    from models_lib.steps.plan import plan_run

    now = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
    plan = plan_run(RunConfig(), home=tmp_path, symbols=None, who="test", now=now)
    (task,) = tasks_of("candles")
    assert task.task_run_name.format(symbol="BTC-USD", plan=plan) == "candles-BTC-USD-2026-11-21"
