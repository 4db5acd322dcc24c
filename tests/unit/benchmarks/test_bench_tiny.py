"""`make bench` with next to nothing to measure: every benchmark runs, and every goal finds its figure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import BENCHMARKS

ROOT = Path(__file__).parents[3]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("names", [("features", "archive", "training"), ("orchestration",), ("run",)], ids="-".join)
def test_benchmark_measures_what_its_goals_ask(names, tmp_path):
    file = tmp_path / "now.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--tiny", "--json", str(file)]
    command += [word for name in names for word in ("--only", name)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(file.read_text())
    assert {*told["measured"]} == {*names} <= {*BENCHMARKS}
    assert {goal: one["measured"] for goal, one in told["goals"].items() if one["measured"] is None} == {}
    assert {one["figure"][0] for one in told["goals"].values()} == {*names}
    assert told["machine"]["cores"] >= 1
    assert ended.stdout.endswith("tiny: it runs; nothing was judged\n")
    if "run" in names:
        (one,) = told["measured"]["run"]["symbols"].values()
        assert {"candles", "features", "train", "judge"} <= {*one["seconds"]}
        assert one["outcome"] in {"promoted", "held"}
        assert one["epochs"] == 1
