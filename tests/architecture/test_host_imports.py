"""What a trading host needs to import: the entry point and a whole replay, in a fresh process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.test_rules import ROOT, modules_after

TRAINERS = {
    "torch",
    "sklearn",
    "scipy",
    "prefect",
    "boto3",
    "asyncssh",
    "matplotlib",
    "rich",
    "onnx",
    "slack_sdk",
    "ccxt",
    "requests",
}
HEAVY = {"numpy", "pandas", "numba", "onnxruntime", "pydantic"}


def roots(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_entry_point_alone_is_light() -> None:
    assert not roots(modules_after("import flows.runtime_cli")) & (TRAINERS | HEAVY)


def test_everything_of_the_host_is_imported_without_the_trainer() -> None:
    """Also where none of it is installed: None in `sys.modules` is an import that fails."""
    hidden = "import sys\n" + "\n".join(
        f"sys.modules['{name}'] = None" for name in sorted(TRAINERS - {"slack_sdk", "requests"})
    )
    loaded = modules_after(
        f"{hidden}\nimport flows.runtime_cli, models_lib.runtime.engine, models_lib.runtime.proposal, "
        f"models_lib.host.command_line, models_lib.signals, tasks.adapters.http_candles, tasks.adapters.exchange_bars, "
        f"tasks.adapters.exchange.ccxt_exchange\n"
        f"for name in {sorted(TRAINERS)!r}: sys.modules.pop(name, None)"
    )
    assert not roots(loaded) & TRAINERS


@pytest.mark.long
def test_replay_runs_where_nothing_of_the_trainer_is_installed(tmp_path: Path) -> None:
    from tests.bundles import walk_candles, write_judged
    from tests.unit.runtime.host_folders import Host, write_candles

    bundle = write_judged(tmp_path / "bundle")
    host = Host(tmp_path / "host")
    host.folder.mkdir()
    host.release((tmp_path / "bundle").rename(tmp_path / bundle))
    write_candles(host.folder / "candles" / "BTC-USD.safetensors", walk_candles(1_600))
    hidden = sorted(TRAINERS | {"pyarrow"})
    script = (
        f"import sys\nfor name in {hidden!r}: sys.modules[name] = None\n"
        f"from flows.runtime_cli import main\n"
        f"sys.exit(main(['--folder', {str(host.folder)!r}, '--mode', 'replay', '--newest-minutes', '100', '--json']))"
    )
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    health = json.loads((host.folder / "health.json").read_text())
    assert health["symbols"]["BTC-USD"]["predictions"] == 100
    assert health["last_error"] is None
