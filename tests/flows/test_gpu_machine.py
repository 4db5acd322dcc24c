"""deployments/gpu_worker/join.sh on this machine: it installs, joins the pool of a real server, works, and switches off."""

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.flows.running import ROOT, wait_for

JOIN = ROOT / "deployments" / "gpu_worker" / "join.sh"
FLOW = """
import pathlib, sys, time
from prefect import flow
import models_lib

@flow
def nap(folder: str, seconds: float):
    here = pathlib.Path(folder)
    (here / "began").write_text(f"{sys.prefix} {models_lib.__file__}")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.05)
    (here / "done").write_text("")
"""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="a script for Debian and Ubuntu")


def join(environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", str(JOIN), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_script_is_sound() -> None:
    subprocess.run(["bash", "-n", str(JOIN)], check=True)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, str(JOIN)], check=True)


@linux_only
@pytest.mark.parametrize(
    ("without", "words", "told"),
    [
        ("PREFECT_API_URL", [], "PREFECT_API_URL is not set"),
        ("CRPBOT_HOME", [], "CRPBOT_HOME is not set"),
        ("", [], "nvidia-smi finds no GPU"),
        ("", ["--without-gpu", "--constraints"], "--constraints needs a value"),
        ("", ["--without-gpu", "--gpu"], "--gpu is not an option"),
        ("folder", ["--without-gpu"], "cannot be written"),
        ("server", ["--without-gpu"], "no Prefect server answers there"),
    ],
)
def test_joining_without_what_it_needs_is_refused_in_one_message_before_anything_is_installed(
    tmp_path: Path, without: str, words: list[str], told: str
) -> None:
    home = tmp_path / ("missing" if without == "folder" else ".")
    environment = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:1/api", "CRPBOT_HOME": str(home)}
    environment.pop(without, None)
    if not words:  # where the machine that runs this test has a GPU
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
        (programs / "nvidia-smi").chmod(0o700)
        environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    of_worker = [] if words[-1:] == ["--constraints"] else ["--", "--switch-off", "true"]
    answer = join(environment, "--project", "/no/such/project", "--venv", sys.prefix, *words, *of_worker)
    assert answer.returncode == 2, answer.stdout + answer.stderr
    assert told in answer.stderr
    assert len(answer.stderr.splitlines()) == 2, "the fact and the remedy"


@pytest.fixture(scope="module")
def machine(prefect: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine that may join: the session's server, a shared folder, a home of its own."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    assert url
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return ours | {
        "PREFECT_API_URL": url,
        "PREFECT_HOME": str(tmp_path_factory.mktemp("gpu-prefect")),
        "CRPBOT_HOME": str(tmp_path_factory.mktemp("shared")),
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that sees the packages of this one, but not this project."""
    folder = tmp_path_factory.mktemp("machine") / "venv"
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    seen = [path for path in sys.path if path.endswith("site-packages")] or [sysconfig.get_paths()["purelib"]]
    (packages / "packages_of_the_tests.pth").write_text("\n".join(seen) + "\n")
    return folder


async def order(folder: Path, seconds: float) -> Any:
    """A run of the flow on the pool `gpu`; its id."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    (folder / "nap_flow.py").write_text(FLOW)
    async with get_client() as client:
        try:
            await client.create_work_pool(WorkPoolCreate(name="gpu", type="process"))
        except ObjectAlreadyExists:
            assert (await client.read_work_pool("gpu")).type == "process"
        flow_id = await client.create_flow_from_name("nap")
        deployment = await client.create_deployment(
            flow_id=flow_id,
            name=folder.name,
            entrypoint="nap_flow.py:nap",
            path=str(folder),
            work_pool_name="gpu",
            enforce_parameter_schema=False,
        )
        run = await client.create_flow_run_from_deployment(
            deployment, parameters={"folder": str(folder), "seconds": seconds}
        )
    return run.id


async def state_of(run: Any) -> str:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        state = (await client.read_flow_run(run)).state
    assert state
    return str(state.type.value)


@linux_only
@pytest.mark.long
@pytest.mark.prefect
@pytest.mark.xdist_group("prefect")
@pytest.mark.timeout(300)
def test_machine_joins_carries_out_a_run_and_switches_itself_off(
    machine: dict[str, str], installed: Path, tmp_path: Path
) -> None:
    run = asyncio.run(order(tmp_path, seconds=3.0))
    words = ["--project", str(ROOT), "--venv", str(installed), "--without-gpu", "--"]
    limits = ["--idle-minutes", "0.35", "--switch-off", f"cp {tmp_path}/done {tmp_path}/off"]
    answer = join(machine, *words, *limits)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert asyncio.run(state_of(run)) == "COMPLETED"
    assert (tmp_path / "off").exists(), "its copy of `done` proves that the run was over"
    assert (tmp_path / "began").read_text().split()[0] == str(installed)
    assert str(ROOT) not in (tmp_path / "began").read_text(), "the wheel was installed, not the folder"
    assert "leaving: no flow run was at work for 0.35 minutes; the server answers" in answer.stderr


@linux_only
@pytest.mark.long
@pytest.mark.prefect
@pytest.mark.xdist_group("prefect")
@pytest.mark.timeout(300)
def test_run_that_the_machine_leaves_behind_is_recorded_as_crashed_at_once(
    machine: dict[str, str], tmp_path: Path
) -> None:
    run = asyncio.run(order(tmp_path, seconds=600.0))
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.gpu_worker", "--switch-off-on-stop", "--switch-off", f"touch {tmp_path}/off"],
        cwd=ROOT,
        env=machine,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(tmp_path, "began")
        process.terminate()
        assert process.wait(timeout=100) == 0
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "off").exists()
    assert not (tmp_path / "done").exists()
    assert asyncio.run(state_of(run)) == "CRASHED"
