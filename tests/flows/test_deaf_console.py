"""A process whose output was a pipe to a worker that died."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import logging, sys
import prefect
from prefect.logging.configuration import setup_logging
setup_logging()
if sys.argv[1] == "outlives":
    from flows.deaf_console import outlive_the_reader
    outlive_the_reader()
logger = logging.getLogger("models_lib.steps")
print("ready", flush=True)
sys.stdin.readline()
for number in range(3):
    logger.warning("line %d", number)
open(sys.argv[2], "w").write("reached its end")
"""


@pytest.mark.parametrize(("how", "reached"), [("outlives", True), ("as it is", False)])
def test_run_outlives_the_worker_that_reads_its_lines(tmp_path: Path, how: str, reached: bool) -> None:
    """The second case is Prefect without us: when it changes, the module can go."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, how, str(tmp_path / "end")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_LOGGING_TO_API_ENABLED": "false"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    process.stdout.close()
    process.stdin.write("go on\n")
    process.stdin.close()
    status = process.wait(timeout=60)
    assert (tmp_path / "end").exists() == reached
    assert (status == 0) == reached
