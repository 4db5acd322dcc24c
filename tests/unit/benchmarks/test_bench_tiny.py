"""`make bench` with next to nothing to measure: every benchmark runs, and every goal finds its figure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import BENCHMARKS

ROOT = Path(__file__).parents[3]


@pytest.mark.long
@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_measures_what_its_goals_ask(name, tmp_path):
    file = tmp_path / "now.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--tiny", "--only", name, "--json", str(file)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(file.read_text())
    assert list(told["measured"]) == [name]
    assert {goal: one["measured"] for goal, one in told["goals"].items() if one["measured"] is None} == {}
    assert told["goals"]
    assert told["machine"]["cores"] >= 1
    assert ended.stdout.endswith("tiny: it runs; nothing was judged\n")
    if name == "run":
        (one,) = told["measured"]["run"]["symbols"].values()
        assert {"candles", "features", "train", "judge"} <= {*one["seconds"]}
        assert one["outcome"] in {"promoted", "held"}
        assert one["epochs"] == 1
