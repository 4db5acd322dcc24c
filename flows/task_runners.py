"""What runs the symbols of a local fan-out: threads of this process, or a Dask or Ray cluster.

What does not belong here: which symbols, and what a symbol's run does.
"""

from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from models_lib.config.sections import OrchestrationSection


def task_runner(section: OrchestrationSection, *, max_workers: int) -> TaskRunner[Any]:
    """The configured runner; used as a context, which starts and ends what it needs."""
    match section.task_runner:
        case "threads":
            return ThreadPoolTaskRunner(max_workers=max_workers)
        case "dask" | "ray":
            raise NotImplementedError(section.task_runner)
