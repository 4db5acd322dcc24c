"""deployments/runtime on this machine: the wheel, its installation as on a bare host, an upgrade that fails, a replay."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

from models_lib.bundle.tensors import encode
from models_lib.candles.schema import VALUE_COLUMNS, epoch_ms
from models_lib.files import write_bytes
from models_lib.locks import locked
from studies.host_runtime import distributions, host_requirements
from tests.architecture.test_runtime_wheel import wheel_files
from tests.bundles import walk_candles, write_judged
from tests.flows.running import ROOT

RUNTIME = ROOT / "deployments/runtime"
INSTALL = RUNTIME / "install.sh"
UNIT = RUNTIME / "crpbot-runtime.service"

pytestmark = [
    pytest.mark.xdist_group("runtime install"),  # one installation for all of them
    pytest.mark.skipif(sys.platform != "linux", reason="scripts for Debian and Ubuntu"),
]


def install(home: Path, *words: str, script: Path = INSTALL, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", str(script), *words],
        env={**os.environ, "HOME": str(home), **variables},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_script_is_sound() -> None:
    subprocess.run(["bash", "-n", str(INSTALL)], check=True)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, str(INSTALL)], check=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--allow-root"], "crpbot_runtime-*.whl: no such file"),
        (["--allow-root", "absent.whl"], "absent.whl: no such file"),
        (["--allow-root", str(UNIT)], "is no wheel of crpbot-runtime"),
        (["--allow-root", "crpbot_runtime-1-py3-none-any.whl"], "constraints.txt: no such file"),
        (["--allow-root", "a.whl", "b.whl"], "b.whl is one wheel too many"),
        (["--folder"], "--folder needs a value"),
        (["--frobnicate"], "--frobnicate is not an option"),
    ],
    ids=" ".join,
)
def test_what_cannot_work_is_refused_before_anything_is_written(words: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "crpbot_runtime-1-py3-none-any.whl").write_bytes(b"")
    answer = install(tmp_path, *words)
    assert answer.returncode == 2
    assert told in answer.stderr.splitlines()[0]
    assert len(answer.stderr.splitlines()) == 2  # fact and remedy
    assert [path.name for path in tmp_path.iterdir()] == ["crpbot_runtime-1-py3-none-any.whl"]


@pytest.mark.skipif(os.geteuid() != 0, reason="asks as root")
def test_root_is_refused(tmp_path: Path) -> None:
    answer = install(tmp_path)
    assert answer.returncode == 2
    assert "this is root" in answer.stderr


def test_folder_or_python_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "crpbot_runtime-1-py3-none-any.whl"
    wheel.write_bytes(b"")
    words = [str(wheel), "--allow-root", "--constraints", str(ROOT / "constraints.txt")]
    answer = install(tmp_path, *words, "--folder", "/tmp/with a blank")
    assert "/tmp/with a blank: a unit of systemd cannot name this path" in answer.stderr
    answer = install(tmp_path, *words, "--python", "/bin/false")
    assert "/bin/false is no Python 3.11 or newer with venv" in answer.stderr


def unit_settings() -> dict[str, str]:
    lines = [line for line in UNIT.read_text().splitlines() if line and not line.startswith(("#", "["))]
    return dict(line.split("=", 1) for line in lines)


def test_unit_is_hardened_and_starts_what_is_installed(tmp_path: Path) -> None:
    settings = unit_settings()
    assert settings["ProtectSystem"] == "strict"
    assert settings["ReadWritePaths"] == "%h/crpbot-runtime"
    assert settings["ExecStart"].startswith("%h/crpbot-runtime/venv/bin/crpbot-runtime --mode live ")
    assert settings["EnvironmentFile"] == "-%h/crpbot-runtime/secrets.env"
    assert {
        "NoNewPrivileges",
        "PrivateTmp",
        "RestrictAddressFamilies",
        "MemoryMax",
        "StartLimitBurst",
    } <= settings.keys()
    if analyze := shutil.which("systemd-analyze"):
        command = tmp_path / "crpbot-runtime/venv/bin/crpbot-runtime"
        command.parent.mkdir(parents=True)
        command.write_text("#!/bin/sh\n")
        command.chmod(0o755)
        answer = subprocess.run(
            [analyze, "verify", "--user", str(UNIT)],
            env={**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (answer.returncode, answer.stderr) == (0, "")


def test_example_configuration_is_understood(tmp_path: Path) -> None:
    from models_lib.runtime.configuration import RuntimeConfig, read_runtime_config

    shutil.copy(RUNTIME / "runtime.yaml", tmp_path)
    config = read_runtime_config(tmp_path)
    assert config.runtime.url is not None
    told = RuntimeConfig.model_validate(yaml.safe_load(uncommented((RUNTIME / "runtime.yaml").read_text())))
    assert "levels" in told.signals.model_fields_set
    chosen = {"source", "url", "health_port"}
    assert told.runtime.model_dump(exclude=chosen) == RuntimeConfig().runtime.model_dump(exclude=chosen)
    assert told.signals == RuntimeConfig().signals


def uncommented(text: str) -> str:
    """The example with the keys that stand there with their default, behind a sign."""
    return "\n".join(line.replace("  # ", "  ", 1) if line.startswith("  # ") else line for line in text.splitlines())


# The rest needs a package registry, as `make install` does.


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make runtime-wheel` puts together."""
    folder = tmp_path_factory.mktemp("shipped") / "runtime"
    answer = subprocess.run(
        ["make", "runtime-wheel", f"RUNTIME_DIST={folder}", f"BIN={Path(sys.executable).parent}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return folder


@pytest.fixture(scope="module")
def host(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a host's user, with an older installation, after the new one."""
    home = tmp_path_factory.mktemp("host")
    for old in ("venv-0.0.1-older", "venv-0.0.2-old"):
        (home / "crpbot-runtime" / old).mkdir(parents=True)
    (home / "crpbot-runtime/venv").symlink_to("venv-0.0.2-old")
    answer = install(
        home, "--allow-root", script=shipped / "install.sh", PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    )
    assert answer.returncode == 0, answer.stderr
    assert "kernels compiled in" in answer.stdout
    assert "The way back: ln -sfn venv-0.0.2-old " in answer.stdout
    assert not list(home.glob(".cache/Microsoft")), "ONNX Runtime was not silenced"
    return home


def on_host(home: Path, *command: str) -> str:
    """What a program of the host's environment prints."""
    program, *words = command
    answer = subprocess.run(
        [str(home / "crpbot-runtime/venv/bin" / program), *words],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.long
def test_wheel_holds_what_is_named_and_nothing_else(shipped: Path) -> None:
    (wheel,) = shipped.glob("*.whl")
    with zipfile.ZipFile(wheel) as parts:
        named = {name: parts.read(name) for name in parts.namelist() if ".dist-info/" not in name}
    assert named == {target: source.read_bytes() for target, source in wheel_files().items()}
    assert sorted(path.name for path in shipped.iterdir() if path != wheel) == [
        "constraints.txt",
        "crpbot-runtime.service",
        "install.sh",
        "runtime.yaml",
    ]


@pytest.mark.long
def test_host_has_what_it_needs_and_no_torch(host: Path) -> None:
    listed = json.loads(on_host(host, "python", "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"))
    found = {canonicalize_name(entry["name"]) for entry in listed} - {"pip", "setuptools"}
    assert found == {"crpbot-runtime", *distributions(host_requirements())}
    folder = host / "crpbot-runtime"
    made = [path for path in folder.iterdir() if path.is_dir() and path.name not in {"venv", "venv-0.0.2-old"}]
    assert {path.stat().st_mode & 0o777 for path in (folder, *made)} == {0o700}
    assert {"releases", "current", "shadow", "holds", "state", "logs", "candles"} <= {path.name for path in made}
    assert (folder / "venv").resolve().parent == folder
    assert (folder / "venv-0.0.2-old").is_dir()
    assert not (folder / "venv-0.0.1-older").exists()
    assert (folder / "runtime.yaml").read_text() == (RUNTIME / "runtime.yaml").read_text()


@pytest.mark.long
def test_host_replays_a_release_with_kernels_that_are_compiled_already(host: Path) -> None:
    folder, candles = host / "crpbot-runtime", walk_candles()
    bundle = write_judged(folder / "releases/BTC-USD/candidate")
    (folder / "releases/BTC-USD/candidate").rename(folder / f"releases/BTC-USD/{bundle}")
    (folder / "current/BTC-USD").symlink_to(f"../releases/BTC-USD/{bundle}")
    arrays = {"timestamps": epoch_ms(candles), "ohlcv": candles[list(VALUE_COLUMNS)].to_numpy()}
    write_bytes(folder / "candles/BTC-USD.safetensors", encode(arrays))
    on_host(host, "crpbot-runtime", "--mode", "replay", "--newest-minutes", "300")
    health = json.loads((folder / "health.json").read_text())
    symbol = health["symbols"]["BTC-USD"]
    assert (symbol["bundle"], symbol["bars"], symbol["predictions"]) == (bundle, 300, 300)
    assert (symbol["errors"], symbol["non_finite"]) == (0, 0)
    misses = (
        "from models_lib.runtime.warm import warm_up; from models_lib.features import kernels; import models_lib.labels as "
        "labels; warm_up(); every = [*vars(kernels).values(), *vars(labels).values()]; "
        "print(sum(sum(k.stats.cache_misses.values()) for k in every if hasattr(k, 'stats')))"
    )
    assert on_host(host, "python", "-I", "-c", misses) == "0\n"


@pytest.mark.long
def test_second_installation_does_nothing_twice_and_a_failed_one_leaves_the_first(
    host: Path, shipped: Path, tmp_path: Path
) -> None:
    folder = host / "crpbot-runtime"
    (folder / "runtime.yaml").write_text("signals: {max_leverage: 3}\n")
    before = sorted(path.name for path in folder.iterdir())
    linked = (folder / "venv").readlink()
    again = install(host, "--allow-root", script=shipped / "install.sh")
    assert again.returncode == 0, again.stderr
    assert "installing" not in again.stdout
    (good,) = shipped.glob("*.whl")
    broken = tmp_path / good.name
    broken.write_bytes(good.read_bytes()[:-100])
    failed = install(host, "--allow-root", str(broken), script=shipped / "install.sh")
    assert failed.returncode != 0
    assert f"nothing was changed: {linked} stays installed" in failed.stderr
    assert (folder / "venv").readlink() == linked
    assert sorted(path.name for path in folder.iterdir()) == before
    assert (folder / "runtime.yaml").read_text() == "signals: {max_leverage: 3}\n"
    on_host(host, "crpbot-runtime", "--help")


@pytest.fixture
def with_systemctl(tmp_path: Path) -> str:
    """PATH with a played one: there is no user's service manager on a machine that runs tests."""
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n')
    (tmp_path / "systemctl").chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


@pytest.mark.long
def test_switch_and_restart_wait_for_the_deployment_under_way(
    host: Path, shipped: Path, tmp_path: Path, with_systemctl: str
) -> None:
    with locked(host / "crpbot-runtime/lock", within_seconds=0.0, otherwise="the test's own lock"):
        installing = subprocess.Popen(
            ["bash", str(shipped / "install.sh"), "--allow-root"],
            env={**os.environ, "HOME": str(host), "PATH": with_systemctl},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert installing.stdout is not None
        assert installing.stdout.readline() == "a deployment is at work on this host; waiting for its end ...\n"
        assert not (tmp_path / "asked").exists()
    with installing:
        assert "is installed in" in installing.stdout.read()
    assert installing.returncode == 0
    assert "try-restart" in (tmp_path / "asked").read_text()


@pytest.mark.long
def test_unit_is_installed_for_this_folder_and_a_running_runtime_restarted(
    host: Path, shipped: Path, tmp_path: Path, with_systemctl: str
) -> None:
    answer = install(host, "--allow-root", script=shipped / "install.sh", PATH=with_systemctl)
    assert answer.returncode == 0, answer.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [
        "--user show-environment",
        "--user daemon-reload",
        "--user enable --quiet crpbot-runtime.service",
        "--user try-restart crpbot-runtime.service",
    ]
    unit = (host / ".config/systemd/user/crpbot-runtime.service").read_text()
    assert (
        f"ExecStart={host}/crpbot-runtime/venv/bin/crpbot-runtime --mode live --folder {host}/crpbot-runtime\n" in unit
    )
    assert "%h/crpbot-runtime" not in unit
    assert "loginctl enable-linger" in answer.stdout
