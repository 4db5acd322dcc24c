"""The study of the host's runtime: it measures two different runtimes, and what the README says of them holds."""

import re
from pathlib import Path

import pytest

from studies import host_runtime
from tests.bundles import write_judged


@pytest.mark.long
def test_host_is_smaller_lighter_and_quicker_than_with_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_judged(tmp_path / "bundle")
    monkeypatch.setattr("sys.argv", ["study", "--bundle", str(tmp_path / "bundle"), "--symbols", "1", "--rounds", "1"])
    host_runtime.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["onnxruntime", "torch"]
    onnx, torch = ([float(number) for number in re.findall(r"\d+(?:\.\d+)?", line)] for line in lines)
    disk, resident, _, seconds = zip(onnx, torch, strict=True)
    assert disk[0] < 0.5 * disk[1]
    assert resident[0] < 0.75 * resident[1]
    assert seconds[0] < seconds[1]


def test_runtimes_differ_in_the_engine_alone() -> None:
    onnx, torch = (
        host_runtime.distributions(host_runtime.host_requirements(engine)) for engine in host_runtime.ENGINES
    )
    assert "onnxruntime" in onnx - torch
    assert "torch" in torch - onnx
    assert {"numpy", "numba", "llvmlite", "pandas", "pydantic", "safetensors", "pyyaml"} <= onnx & torch
    assert {"torch", "sympy"} <= host_runtime.packages_beyond(onnx)
    assert not {"torch", "numpy"} & host_runtime.packages_beyond(torch)
