"""The systemd units: systemd understands them, and they start what is there."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deployments/systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_unit_starts_a_module_that_is_there_with_the_environment_of_all(unit: Path) -> None:
    text = unit.read_text()
    (module,) = re.findall(r"^ExecStart=/opt/crpbot-training/\.venv/bin/python -m ([\w.]+)", text, flags=re.MULTILINE)
    assert importlib.util.find_spec(module) is not None
    assert "EnvironmentFile=/etc/crpbot/crpbot.env" in text
    assert "Restart=" in text


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("needs systemd-analyze (Debian package systemd): the units were NOT verified")
    copies = []
    for unit in UNITS:
        # Neither the installation nor its user is on this machine.
        text = unit.read_text().replace("/opt/crpbot-training/.venv/bin/python", "/usr/bin/env")
        text = text.replace("User=crpbot", "User=root")
        copies.append(tmp_path / unit.name)
        copies[-1].write_text(text)
        if "@" in unit.name:
            copies.append(tmp_path / unit.name.replace("@", "@crpbot"))
            copies[-1].write_text(text)
    named = [str(copy) for copy in copies if "@." not in copy.name]
    answer = subprocess.run([verify, "verify", *named], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")
